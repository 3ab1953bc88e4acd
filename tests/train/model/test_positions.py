"""Structured positions, compared with tables written by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenFormat, MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END
from mathpipe.train.model.positions import LearnedPositions, StructuredPositions, column_count, matrix_coordinates

pytestmark = pytest.mark.processor


def test_coordinates_of_2_by_3_matrix_in_p1000() -> None:
    tokenizer = MatrixTokenizer.named("P1000")
    token_array, _ = tokenizer.encode(Matrices.from_list([[[1.0, -2.0, 3.0], [4.0, 5.0, 0.06]]]))
    tokens = torch.from_numpy(token_array).long()
    row, column, place = matrix_coordinates(
        torch.arange(20), column_count(tokens[:, 1:2], tokenizer.format), tokenizer.format
    )
    assert row.tolist() == [[0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2]]
    assert column.tolist() == [[0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 1, 1, 1, 2, 2, 2, 3, 3, 3]]
    assert place.tolist() == [[0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 4, 2, 3, 4, 2, 3, 4, 2, 3, 4]]


def test_coordinates_of_batch_with_different_columns() -> None:
    form = MatrixTokenFormat(vocabulary_size=10, tokens_per_number=1)
    row, column, _ = matrix_coordinates(torch.arange(6), torch.tensor([[1], [2]]), form)
    assert row.tolist() == [[0, 0, 1, 2, 3, 4], [0, 0, 1, 1, 2, 2]]
    assert column.tolist() == [[0, 0, 1, 1, 1, 1], [0, 0, 1, 2, 1, 2]]


@given(second=st.integers(0, 5000), index=st.integers(0, 100_000), k=st.integers(1, 7))
def test_positions_are_defined_for_any_second_token(second: int, index: int, k: int) -> None:
    form = MatrixTokenFormat(vocabulary_size=5001, tokens_per_number=k)
    vectors = StructuredPositions(form, 4)(torch.tensor([index]), column_count(torch.tensor([second]), form))
    assert vectors.shape == (1, 1, 4) and bool(vectors.isfinite().all())


def test_column_count_is_clamped() -> None:
    form = MatrixTokenFormat(vocabulary_size=400, tokens_per_number=5)
    tokens = torch.tensor([END, form.first_dimension, form.first_dimension + 99, 399])
    assert column_count(tokens, form).tolist() == [1, 1, 100, 100]


def test_learned_positions_check_length() -> None:
    table = LearnedPositions(8, 4)
    assert table(torch.arange(8)).shape == (1, 8, 4)
    table.check(8)
    with pytest.raises(UserError, match="at most 8 tokens"):
        table.check(9)
