"""Common parts of the tasks of integers: log-uniform integers, sampling in passes, lists of random lengths."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.array_types import Ints, Mask


def log_uniform(rng: np.random.Generator, largest: Ints) -> Ints:
    """Integers k in 1..largest with P(k) proportional to log(1 + 1/k): the floor of exp(U(0, log(largest + 1)))."""
    values = np.exp(rng.random(largest.shape) * np.log(largest + 1.0)).astype(np.int64)
    return np.asarray(np.clip(values, 1, largest))


def random_lengths(rng: np.random.Generator, n: int, smallest: int, largest: int) -> Ints:
    """(n,) lengths, uniform in smallest..largest."""
    return rng.integers(smallest, largest, n, endpoint=True)


def inside(lengths: Ints) -> Mask:
    """(n, longest): the positions below each length."""
    return np.asarray(np.arange(int(lengths.max(initial=0))) < lengths[:, None])
