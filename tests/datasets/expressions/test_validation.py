"""The batched check agrees with the strict parser; the expression tokenizer decodes what it encoded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import Malformed, parse
from mathpipe.datasets.expressions.validation import prevalidate
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, TOKENS
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, PAD, DecodeStatus

NUMBERS = st.builds(
    lambda sign, digits: bytes([IDS[sign], *(IDS[d] for d in digits)]),
    st.sampled_from(["INT+", "INT-"]),
    st.integers(0, 10**4).map(str),
)
LEAVES = NUMBERS | st.sampled_from([bytes([IDS[w]]) for w in ("x", "a8", "pi", "Y'", "I")])
TREES = st.recursive(
    LEAVES,
    lambda below: (
        st.builds(lambda w, a: bytes([IDS[w]]) + a, st.sampled_from(["sin", "pow2"]), below)
        | st.builds(lambda w, a, b: bytes([IDS[w]]) + a + b, st.sampled_from(["add", "pow"]), below, below)
    ),
    max_leaves=12,
)
LIKELY = [IDS[w] for w in ("add", "sin", "x", "INT+", "INT-", "0", "1", "<s>", "f")]
ANY = st.lists(st.sampled_from(LIKELY), max_size=9).map(bytes) | st.binary(max_size=6)


def parses(ids: bytes) -> bool:
    try:
        parse(ids)
    except Malformed:
        return False
    return True


@given(st.lists(TREES | ANY, max_size=8))
def test_prevalidation_matches_parser(sequences: list[bytes]) -> None:
    assert prevalidate(Sequences.from_list(sequences)).tolist() == [parses(s) for s in sequences]


@given(st.lists(TREES, min_size=1, max_size=4), st.data())
def test_prevalidation_matches_parser_after_mutation(sequences: list[bytes], data: st.DataObject) -> None:
    ids = bytearray(sequences[0])
    position = data.draw(st.integers(0, len(ids) - 1))
    if data.draw(st.booleans()):
        ids[position] = data.draw(st.integers(0, 255))
    else:
        del ids[position]
    sequences[0] = bytes(ids)
    assert prevalidate(Sequences.from_list(sequences)).tolist() == [parses(s) for s in sequences]


def test_prevalidation_is_conservative_near_parser_limits() -> None:
    sin, x, digit = bytes([IDS["sin"]]), bytes([IDS["x"]]), bytes([IDS["7"]])
    plus = bytes([IDS["INT+"]])
    valid = prevalidate(Sequences.from_list([sin * 199 + x, sin * 200 + x, plus + digit * 40, plus + digit * 41]))
    assert valid.tolist() == [True, False, True, False]
    assert [parses(s) for s in (sin * 200 + x, sin * 201 + x, plus + digit * 41)] == [True, False, False]


@given(st.lists(TREES, min_size=1, max_size=6))
def test_tokenizer_round_trip(sequences: list[bytes]) -> None:
    tokenizer = ExpressionTokenizer()
    tokens, lengths = tokenizer.encode(Sequences.from_list(sequences))
    terminated = np.pad(tokens, ((0, 0), (0, 1)), constant_values=PAD)
    terminated[np.arange(len(terminated)), lengths] = END
    decoded, statuses = tokenizer.decode(terminated)
    assert decoded.to_list() == sequences and not statuses.any()
    assert tokenizer.tokens_to_ids(tokenizer.ids_to_tokens(tokens[0, : lengths[0]])) == tokens[0, : lengths[0]].tolist()


def test_decode_statuses() -> None:
    x = IDS["x"]
    tokens = np.array([[x, END, 5], [x, x, x], [x, 91, END], [-3, END, x], [END, 400, -1]])
    decoded, statuses = ExpressionTokenizer().decode(tokens)
    assert statuses.tolist() == [
        DecodeStatus.OK,
        DecodeStatus.UNTERMINATED,
        DecodeStatus.MALFORMED,
        DecodeStatus.MALFORMED,
        DecodeStatus.OK,
    ]
    assert decoded.to_list() == [bytes([x]), b"", b"", b"", b""]
    empty, statuses = ExpressionTokenizer().decode(np.empty((2, 0), dtype=np.int64))
    assert empty.to_list() == [b"", b""] and statuses.tolist() == [DecodeStatus.UNTERMINATED] * 2
    with pytest.raises(UserError, match="'sine' is not a token of expressions"):
        ExpressionTokenizer().tokens_to_ids(["sine"])


def test_format_has_arities() -> None:
    token_format = ExpressionTokenizer().format
    assert token_format.vocabulary_size == len(token_format.arity) == len(TOKENS) == 91
    arity = dict(zip(TOKENS, token_format.arity, strict=True))
    assert (arity["add"], arity["sin"], arity["x"], arity["INT+"], arity["7"], arity["<s>"]) == (2, 1, 0, 0, -1, -1)
    assert all(arity[token] == count for token, count in ARITY.items())
