"""Positions in ragged batches: which entries of a padded array belong to their row, and where the rows of a flat array lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.array_types import Ints, Mask

_LARGEST_TABLE = 256  # longest rows for which a table of all masks, 64 KiB, is faster than a comparison


def inside(lengths: NDArray[Any]) -> Mask:
    """(n, longest): the positions below each length."""
    longest = int(lengths.max(initial=0))
    if longest > _LARGEST_TABLE or longest >= len(lengths):
        return np.asarray(np.arange(longest) < lengths[:, None])
    return np.tri(longest + 1, longest, -1, dtype=np.bool_).take(lengths, axis=0)


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """(sum of lengths,): starts[k], starts[k] + 1, ..., ``lengths[k]`` integers for each k, one range after the other."""
    filled = lengths > 0
    if not filled.all():
        starts, lengths = starts[filled], lengths[filled]
    ends = np.cumsum(lengths)
    if not len(ends):
        return np.empty(0, dtype=np.int64)
    steps = np.ones(int(ends[-1]), dtype=np.int64)
    steps[0] = starts[0]
    steps[ends[:-1]] = starts[1:] - starts[:-1] - lengths[:-1] + 1
    return np.asarray(np.cumsum(steps, out=steps))
