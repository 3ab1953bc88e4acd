"""Ragged batches of matrices behave like lists of matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_per_matrix

shapes = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=12)


def ragged_batch(matrix_shapes: list[tuple[int, int]]) -> Matrices:
    return Matrices.from_list([np.arange(r * c).reshape(r, c) + 100 * i for i, (r, c) in enumerate(matrix_shapes)])


@given(shapes, st.data())
def test_take_and_concatenate_match_lists(matrix_shapes: list[tuple[int, int]], data: st.DataObject) -> None:
    batch = ragged_batch(matrix_shapes)
    index = data.draw(st.lists(st.integers(0, len(matrix_shapes) - 1), max_size=8)) if matrix_shapes else []
    selected = batch.take(np.array(index, dtype=np.int64))
    assert all(np.array_equal(selected[k], batch[i]) for k, i in enumerate(index))
    mask = np.zeros(len(matrix_shapes), dtype=bool)
    mask[index] = True
    partitioned = Matrices.concatenate([batch.take(mask), batch.take(~mask)])
    assert sorted(m[0, 0] for m in partitioned) == sorted(m[0, 0] for m in batch)


@given(shapes)
def test_map_preserves_order(matrix_shapes: list[tuple[int, int]]) -> None:
    batch = ragged_batch(matrix_shapes)
    transposed = batch.map(lambda a: a.transpose(0, 2, 1))
    assert len(transposed) == len(batch)
    assert all(np.array_equal(t, m.T) for t, m in zip(transposed, batch, strict=True))


@given(shapes)
def test_reduce_per_matrix(matrix_shapes: list[tuple[int, int]]) -> None:
    batch = ragged_batch(matrix_shapes)
    assert reduce_per_matrix(batch.values, batch, np.add).tolist() == [m.sum() for m in batch]
    assert reduce_per_matrix(batch.values, batch, np.maximum).tolist() == [m.max() for m in batch]


def test_empty_matrices_reduce_to_zero() -> None:
    batch = Matrices(np.array([3.0, 4.0]), np.array([0, 1, 0]), np.array([0, 2, 0]))
    assert reduce_per_matrix(batch.values, batch, np.add).tolist() == [0, 7, 0]


def test_dense_form() -> None:
    batch = Matrices.from_dense(np.arange(12).reshape(2, 2, 3))
    assert batch.shape == (2, 3)
    assert np.array_equal(batch.dense(), np.arange(12).reshape(2, 2, 3))
    assert batch[-1][1, 2] == 11
    with pytest.raises(ValueError, match="dense"):
        ragged_batch([(1, 2), (2, 1)]).dense()


def test_values_must_fill_the_shapes() -> None:
    with pytest.raises(ValueError, match="do not fill"):
        Matrices(np.zeros(5), np.array([2]), np.array([3]))
