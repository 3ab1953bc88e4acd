"""Tokenizers whose token ids are the stored ids, shifted: expressions, and sequences over any alphabet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.sequence_tokenizer import SequenceTokenizer
from mathpipe.datasets.tokenizers.stored_ids import StoredIdTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, PAD, DecodeStatus

BITS = SequenceTokenizer(("0", "1", "?"), 3)
OK, BAD, ENDLESS = DecodeStatus.OK, DecodeStatus.MALFORMED, DecodeStatus.UNTERMINATED


def test_bits_are_encoded_after_the_framing_tokens() -> None:
    tokens, lengths = BITS.encode(Sequences.from_list([[0, 1, 2], [1]]))
    assert tokens.tolist() == [[2, 3, 4], [3, PAD, PAD]] and lengths.tolist() == [3, 1]
    assert BITS.ids_to_tokens([*tokens[0], 7]) == ["0", "1", "?", "<7>"]
    assert BITS.tokens_to_ids(["0", "1", "?"]) == [2, 3, 4]
    assert (BITS.format.vocabulary_size, BITS.format.solution_length) == (5, 3)


def test_predictions_are_decoded_up_to_the_first_end() -> None:
    predicted = [[2, 3, END, 9], [2, 3, 2, 2], [2, PAD, END, 2], [9, END, 2, 2], [END, 2, 2, 2]]
    sequences, status = BITS.decode(np.array(predicted))
    assert sequences.to_list() == [b"\x00\x01", b"", b"", b"", b""]
    assert status.tolist() == [OK, ENDLESS, BAD, BAD, OK]


def test_expressions_keep_their_published_ids() -> None:
    tokenizer = ExpressionTokenizer()
    expression = bytes([IDS["mul"], IDS["x"], IDS["INT+"], IDS["2"]])
    tokens, lengths = tokenizer.encode(Sequences.from_list([expression, expression[1:2]]))
    assert tokens.tolist() == [list(expression), [IDS["x"], PAD, PAD, PAD]] and lengths.tolist() == [4, 1]
    sequences, status = tokenizer.decode(np.array([[*expression, END], [len(TOKENS), END, 0, 0, 0]]))
    assert sequences.to_list() == [expression, b""] and status.tolist() == [OK, BAD]
    assert tokenizer.format.arity[IDS["mul"]] == 2 and tokenizer.format.solution_length is None


@given(st.integers(1, 250), st.lists(st.lists(st.integers(0, 249), max_size=6), max_size=5))
def test_decoding_inverts_encoding(size: int, values: list[list[int]]) -> None:
    tokenizer = SequenceTokenizer(tuple(f"t{k}" for k in range(size)))
    sequences = Sequences.from_list([[k % size for k in ids] for ids in values])
    tokens, lengths = tokenizer.encode(sequences)
    framed = np.pad(tokens, ((0, 0), (0, 1)), constant_values=PAD)
    framed[np.arange(len(framed)), lengths] = END
    decoded, status = tokenizer.decode(framed)
    assert decoded.to_list() == sequences.to_list() and (status == OK).all()


@pytest.mark.parametrize(
    "alphabet",
    [(), ("a", "a"), ("a", "<pad>"), ("a b",), ("",), tuple(map(str, range(251)))],
    ids=["empty", "repeated", "framing", "space", "nothing", "too large"],
)
def test_invalid_alphabets_are_rejected(alphabet: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="alphabet of a sequence task is invalid"):
        SequenceTokenizer(alphabet)


@pytest.mark.parametrize(
    ("tokenizer", "token", "message"),
    [
        (ExpressionTokenizer(), "sine", r"'sine' is not a token of expressions.*did you mean sin\?"),
        (BITS, "x", "'x' is not a token of the alphabet"),
    ],
)
def test_unknown_tokens_are_errors(tokenizer: StoredIdTokenizer, token: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tokenizer.tokens_to_ids([token])
