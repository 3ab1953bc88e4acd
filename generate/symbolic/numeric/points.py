"""Fixed test points for expressions: real and complex, on both sides of zero, inside and outside the unit circle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

REAL = np.array([0.3137, 0.7411, 1.3719, 2.4337, -0.2893, -0.6673, -1.4231, -2.3911])
COMPLEX = np.array(
    [
        *(0.4139 + 0.3271j, 1.2713 + 0.6157j, -0.5171 + 0.7433j, -1.6337 + 0.4513j),
        *(0.7919 - 0.5483j, 1.8757 - 1.1173j, -0.3617 - 0.9221j, -1.1939 - 0.2719j),
    ]
)
POINTS = np.concatenate([REAL, COMPLEX])
REGIONS = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7])
"""The region of each point: (0, 1), (1, inf), (-1, 0), (-inf, -1), and the four quadrants."""
IS_REAL = np.arange(len(POINTS)) < len(REAL)
_SIZES = np.geomspace(0.0171, 5311.0, 28)
WIDE = np.concatenate([_SIZES, -_SIZES]).astype(np.complex128)
"""Real points on both sides of zero, from near it to far away."""

MIN_POINTS = 8
MIN_REGIONS = 2


def has_enough_points(usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows (n,) of usable points (n, K) have at least 8 points in at least 2 regions."""
    regions = np.zeros(len(usable), dtype=np.int64)
    for region in range(REGIONS.max() + 1):
        regions += usable[:, region == REGIONS].any(axis=1)
    return np.asarray((usable.sum(axis=1) >= MIN_POINTS) & (regions >= MIN_REGIONS))
