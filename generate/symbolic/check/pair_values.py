"""Values of integrands, primitives and their derivatives at points, in double precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mathpipe.generate.symbolic.numeric.taylor import Complex

Mask = NDArray[np.bool_]

TINY, HUGE = 1e-200, 1e200


@dataclass(frozen=True)
class Comparison:
    """f (n, K), F' (n, K) and F (n, K) at the fixed points, NaN where malformed."""

    integrand: Complex
    derivative: Complex
    primitive: Complex
    well_formed: Mask

    def both_finite(self) -> Mask:
        return can_be_compared(self.integrand) & can_be_compared(self.derivative)

    def relative_error(self) -> NDArray[np.float64]:
        """|F' - f| relative to the larger; infinite where only F' is undefined."""
        with np.errstate(all="ignore"):
            absolute = np.abs(self.derivative - self.integrand)
            size = np.maximum(np.abs(self.integrand), np.abs(self.derivative))
            relative = np.where(absolute == 0, 0.0, absolute / size)
        return np.where(np.isfinite(relative), relative, np.inf)


def can_be_compared(values: Complex) -> Mask:
    """Which values are finite and of a size that double precision can compare."""
    with np.errstate(all="ignore"):
        size = np.abs(values)
        return np.asarray(np.isfinite(values) & (size > TINY) & (size < HUGE))
