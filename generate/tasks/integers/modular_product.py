"""Modular multiplication: a, b -> a b mod m."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.array_types import Ints
from mathpipe.generate.tasks.integers.modular import ModularTask


class ModularProduct(ModularTask):
    """a b mod m."""

    name = "modular-product"
    solution = "a b mod m"

    def combine(self, a: Ints, b: Ints, modulus: int) -> Ints:
        return np.asarray(a * b % modulus)


TASK = ModularProduct()
