"""Common parts of the tasks of integers: log-uniform integers."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.array_types import Ints


def log_uniform(rng: np.random.Generator, largest: Ints) -> Ints:
    """Integers k in 1..largest with P(k) proportional to log(1 + 1/k): the floor of exp(U(0, log(largest + 1)))."""
    values = np.exp(rng.random(largest.shape) * np.log(largest + 1.0)).astype(np.int64)
    return np.asarray(np.clip(values, 1, largest))
