"""The matrix tokenizer: round trips, and every way in which a prediction can be undecodable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.decimal_grid import compose
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.number_encodings import ENCODINGS
from mathpipe.datasets.tokenizers.tokenizer import END, PAD, DecodeStatus

grid_values = st.builds(
    lambda s, m, e: float(compose(s, m, e)), st.booleans(), st.integers(100, 999), st.integers(-9, 6)
) | st.just(0.0)
matrix = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda shape: st.lists(grid_values, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda values: np.array(values).reshape(shape)
    )
)


def terminate(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    tokens = np.pad(tokens, ((0, 0), (0, 1)), constant_values=PAD)
    tokens[np.arange(len(tokens)), lengths] = END
    return tokens


@pytest.mark.parametrize("name", ENCODINGS)
@given(matrices=st.lists(matrix, min_size=1, max_size=6))
def test_round_trip(name: str, matrices: list[np.ndarray]) -> None:
    tokenizer = MatrixTokenizer.named(name)
    batch = Matrices.from_list(matrices)
    tokens, lengths = tokenizer.encode(batch)
    assert lengths.tolist() == [tokenizer.length(*m.shape) for m in matrices]
    decoded, status = tokenizer.decode(terminate(tokens, lengths))
    assert (status == DecodeStatus.OK).all()
    assert np.array_equal(decoded.values, batch.values)
    assert decoded.same_shape(batch).all()


@pytest.mark.parametrize("name", ENCODINGS)
def test_batched_encoding_matches_single_matrices(name: str) -> None:
    tokenizer = MatrixTokenizer.named(name)
    matrices = [np.array([[1.5, -20.0]]), np.array([[0.0]]), np.array([[3.14], [2.5], [-0.001]])]
    tokens, lengths = tokenizer.encode(Matrices.from_list(matrices))
    for row, length, m in zip(tokens, lengths, matrices, strict=True):
        alone, _ = tokenizer.encode(Matrices.from_list([m]))
        assert row[:length].tolist() == alone[0].tolist()
        assert (row[length:] == PAD).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("V1 V2 + 314 E-2 - 500 E-4 <s>", DecodeStatus.OK),
        ("V1 V2 + 314 E-2 - 500 E-4", DecodeStatus.UNTERMINATED),
        ("V1 V2 + 314 E-2 - 500 E-4 <s> + + +", DecodeStatus.OK),
        ("V1 V2 + 314 E-2 - 500 E-4 + 100 E0 <s>", DecodeStatus.MALFORMED),
        ("V1 V2 + 314 E-2 <s>", DecodeStatus.MALFORMED),
        ("V1 V2 + 314 E-2 - 500 <s>", DecodeStatus.MALFORMED),
        ("V1 V2 314 + E-2 - 500 E-4 <s>", DecodeStatus.MALFORMED),
        ("V1 V2 + 314 E-2 - <pad> E-4 <s>", DecodeStatus.MALFORMED),
        ("V1 V2 + 314 E-2 - V5 E-4 <s>", DecodeStatus.MALFORMED),
        ("V1 <s>", DecodeStatus.MALFORMED),
        ("V3 <s>", DecodeStatus.MALFORMED),
        ("<s>", DecodeStatus.MALFORMED),
        ("V1", DecodeStatus.UNTERMINATED),
        ("T V1 V1 + 314 E-2 <s>", DecodeStatus.MALFORMED),
        ("V2 V1 + 314 E-2 - 500 E-4 <s>", DecodeStatus.OK),
    ],
)
def test_decode_statuses(text: str, expected: DecodeStatus) -> None:
    tokenizer = MatrixTokenizer.named("P1000")
    matrices, status = tokenizer.decode(np.array([tokenizer.tokens_to_ids(text.split())]))
    assert status.tolist() == [expected]
    assert bool(matrices.sizes[0]) == (expected == DecodeStatus.OK)


def test_published_short_zeros_are_decoded() -> None:
    """P10 files write zero as ``+ 0 E0``; ours as ``+ 0 0 0 E0``: both are zero, also in one sequence."""
    tokenizer = MatrixTokenizer.named("P10")
    texts = [
        "V1 V3 + 0 E0 - 3 1 4 E-2 + 0 E0 <s>",
        "V1 V3 + 0 0 0 E0 - 3 1 4 E-2 + 0 E0 <s>",
        "V1 V3 + 1 0 0 E0 - 3 1 4 E-2 + 0 0 0 E0 <s>",
        "V1 V3 + 0 E0 - 3 1 4 E-2 + 0 E0",
        "V1 V3 + 0 E0 - 3 1 4 E-2 + 0 <s>",
    ]
    rows = [tokenizer.tokens_to_ids(t.split()) for t in texts]
    tokens = np.array([r + [PAD] * (18 - len(r)) for r in rows])
    matrices, status = tokenizer.decode(tokens)
    assert status.tolist() == [
        DecodeStatus.OK,
        DecodeStatus.OK,
        DecodeStatus.OK,
        DecodeStatus.UNTERMINATED,
        DecodeStatus.MALFORMED,
    ]
    assert [m.tolist() for m in matrices][:3] == [[[0.0, -3.14, 0.0]], [[0.0, -3.14, 0.0]], [[100.0, -3.14, 0.0]]]


@pytest.mark.parametrize("name", ENCODINGS)
@given(data=st.data())
def test_decoding_never_raises(name: str, data: st.DataObject) -> None:
    """Any integers of any width, including none; one row never affects another."""
    tokenizer = MatrixTokenizer.named(name)
    size = len(tokenizer.vocabulary)
    likely = st.sampled_from(
        [END, PAD, 9, 10, 11, *tokenizer.tokens_to_ids(tokenizer.encoding.vocabulary[:14]), size - 1]
    )
    ids = likely | st.integers(-3, size + 3) | st.integers(-(2**62), 2**62)
    width = data.draw(st.integers(0, 14))
    rows = data.draw(st.lists(st.lists(ids, min_size=width, max_size=width), max_size=5))
    tokens = np.array(rows, dtype=np.int64).reshape(len(rows), width)
    matrices, status = tokenizer.decode(tokens)
    assert len(matrices) == len(status) == len(rows)
    for i in range(len(rows)):
        alone, alone_status = tokenizer.decode(tokens[i : i + 1])
        assert alone_status[0] == status[i]
        assert np.array_equal(alone[0], matrices[i])


def test_tokens_and_ids() -> None:
    tokenizer = MatrixTokenizer.named("P10")
    assert tokenizer.ids_to_tokens([END, PAD, 2, 9, 108, 109, -1, 10**6]) == [
        "<s>",
        "<pad>",
        "T",
        "V1",
        "V100",
        "+",
        "<-1>",
        "<1000000>",
    ]
    with pytest.raises(UserError, match="is not a token of P10"):
        tokenizer.tokens_to_ids(["V101"])


def test_format_describes_the_structure() -> None:
    tokenizer = MatrixTokenizer.named("B1999")
    form = tokenizer.format
    assert tokenizer.vocabulary[form.first_dimension] == "V1"
    assert tokenizer.vocabulary[form.first_dimension + form.max_dimension - 1] == "V100"
    assert (form.vocabulary_size, form.tokens_per_number) == (len(tokenizer.vocabulary), 2)


def test_too_large_matrix_raises() -> None:
    with pytest.raises(UserError, match="too large to tokenize"):
        MatrixTokenizer.named("FP15").encode(Matrices.from_dense(np.ones((1, 1, 101))))


def test_an_empty_batch() -> None:
    tokens, lengths = MatrixTokenizer.named("P10").encode(Matrices.empty())
    assert tokens.shape == (0, 0) and lengths.shape == (0,)


@pytest.mark.parametrize("name", ENCODINGS)
def test_cotraining_starts_with_the_task_token(name: str) -> None:
    tokenizer = MatrixTokenizer.named(name, has_task_tokens=True)
    task_ids = np.array([6, 0, 3], dtype=np.uint8)
    batch = Matrices.from_list([[[1.5]], [[2.0, -3.0]], [[0.0], [4.0]]]).with_task_ids(task_ids)
    tokens, lengths = tokenizer.encode(batch)
    assert [tokenizer.ids_to_tokens(row[:3]) for row in tokens] == [
        ["I", "V1", "V1"],
        ["T", "V1", "V2"],
        ["M", "V2", "V1"],
    ]
    assert tokenizer.format.header == 3 and lengths.tolist() == [tokenizer.length(*m.shape) for m in batch]
    decoded, status = tokenizer.decode(terminate(tokens, lengths))
    assert (status == DecodeStatus.OK).all() and np.array_equal(decoded.values, batch.values)
    assert decoded.task_ids is not None and decoded.task_ids.tolist() == [6, 0, 3]
    assert decoded.same_shape(batch).all() and not decoded.same_shape(batch.with_task_ids(task_ids[::-1].copy())).all()
    tokens[0, 0], tokens[1, 0] = tokenizer.tokens_to_ids(["V1", "<pad>"])
    assert tokenizer.decode(terminate(tokens, lengths))[1].tolist() == [
        DecodeStatus.MALFORMED,
        DecodeStatus.MALFORMED,
        DecodeStatus.OK,
    ]
