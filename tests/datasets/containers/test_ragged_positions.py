"""Positions in ragged batches, against plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.containers.ragged_positions import inside, ranges


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 9))))
def test_ranges(pairs: list[tuple[int, int]]) -> None:
    starts, lengths = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    assert ranges(starts, lengths).tolist() == [s + k for s, length in pairs for k in range(length)]


@pytest.mark.parametrize("lengths", [[], [0], [0, 0], [3], [2, 0, 5, 1], [*range(7), *[6] * 20], [300, *[1] * 400]])
def test_inside(lengths: list[int]) -> None:
    """By a table of masks, and by a comparison where rows are long or few."""
    longest = max(lengths, default=0)
    mask = inside(np.array(lengths, dtype=np.int64))
    assert mask.shape == (len(lengths), longest) and mask.dtype == np.bool_
    assert mask.tolist() == [[k < length for k in range(longest)] for length in lengths]
