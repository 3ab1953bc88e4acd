"""Structured positions of every word, against tables made by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, SequenceFormat
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer as Writer
from mathpipe.train.model.positions import Learned, Structured, columns, structure

pytestmark = pytest.mark.processor


def test_every_word_of_a_2_by_3_matrix_in_p1000() -> None:
    tokenizer = Writer.named("P1000")
    written, _ = tokenizer.encode(Matrices.from_list([[[1.0, -2.0, 3.0], [4.0, 5.0, 0.06]]]))
    words = torch.from_numpy(written).long()
    row, column, place = structure(torch.arange(20), columns(words[:, 1:2], tokenizer.format), tokenizer.format)
    assert row.tolist() == [[0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2]]
    assert column.tolist() == [[0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 1, 1, 1, 2, 2, 2, 3, 3, 3]]
    assert place.tolist() == [[0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 4, 2, 3, 4, 2, 3, 4, 2, 3, 4]]


def test_matrices_of_one_batch_have_their_own_columns() -> None:
    form = SequenceFormat(vocabulary_size=10, words_per_number=1)
    row, column, _ = structure(torch.arange(6), torch.tensor([[1], [2]]), form)
    assert row.tolist() == [[0, 0, 1, 2, 3, 4], [0, 0, 1, 1, 2, 2]]
    assert column.tolist() == [[0, 0, 1, 1, 1, 1], [0, 0, 1, 2, 1, 2]]


@given(second=st.integers(0, 5000), index=st.integers(0, 100_000), k=st.integers(1, 7))
def test_whatever_the_second_word_says_positions_stay_in_their_tables(second: int, index: int, k: int) -> None:
    form = SequenceFormat(vocabulary_size=5001, words_per_number=k)
    vectors = Structured(form, 4)(torch.tensor([index]), columns(torch.tensor([second]), form))
    assert vectors.shape == (1, 1, 4) and bool(vectors.isfinite().all())


def test_framing_and_dimension_words_as_columns() -> None:
    form = SequenceFormat(vocabulary_size=400, words_per_number=5)
    words = torch.tensor([END, form.first_dimension, form.first_dimension + 99, 399])
    assert columns(words, form).tolist() == [1, 1, 100, 100]


def test_learned_positions_end_somewhere() -> None:
    table = Learned(8, 4)
    assert table(torch.arange(8)).shape == (1, 8, 4)
    table.check(8)
    with pytest.raises(UserError, match="at most 8 words"):
        table.check(9)
