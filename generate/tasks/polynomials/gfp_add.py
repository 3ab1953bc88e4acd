"""Sum of two polynomials over GF(p)."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.array_types import Ints
from mathpipe.generate.tasks.polynomials.gfp import FieldTask


class GfpAdd(FieldTask):
    """a + b over GF(p)."""

    name = "gfp-add"
    solution = "their sum"

    def combine(self, a: Ints, b: Ints, prime: int) -> Ints:
        return np.asarray((a + b) % prime)


TASK = GfpAdd()
