"""Product of two polynomials over GF(p)."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.array_types import Ints
from mathpipe.generate.tasks.polynomials.gfp import FieldTask


class GfpMultiply(FieldTask):
    """a b over GF(p)."""

    name = "gfp-multiply"
    solution = "their product"

    def combine(self, a: Ints, b: Ints, prime: int) -> Ints:
        """c_k = sum_i a_i b_{k - i} mod p, one shifted row of b for each coefficient of a."""
        n, width = a.shape
        product = np.zeros((n, max(2 * width - 1, 0)), dtype=np.int64)
        for i in range(width):
            product[:, i : i + width] = (product[:, i : i + width] + a[:, i : i + 1] * b) % prime
        return product


TASK = GfpMultiply()
