"""The batched check and the strict parser say the same, and the tokenizer of expressions reads back what it wrote."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import Malformed, parse
from mathpipe.datasets.expressions.validation import surely_well_formed
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, WORDS
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD, Reading

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


def accepted(words: bytes) -> bool:
    try:
        parse(words)
    except Malformed:
        return False
    return True


@given(st.lists(TREES | ANY, max_size=8))
def test_it_says_what_the_parser_says(sequences: list[bytes]) -> None:
    assert surely_well_formed(Sequences.from_list(sequences)).tolist() == [accepted(s) for s in sequences]


@given(st.lists(TREES, min_size=1, max_size=4), st.data())
def test_one_word_changed_or_lost(sequences: list[bytes], data: st.DataObject) -> None:
    words = bytearray(sequences[0])
    place = data.draw(st.integers(0, len(words) - 1))
    if data.draw(st.booleans()):
        words[place] = data.draw(st.integers(0, 255))
    else:
        del words[place]
    sequences[0] = bytes(words)
    assert surely_well_formed(Sequences.from_list(sequences)).tolist() == [accepted(s) for s in sequences]


def test_what_may_be_too_deep_is_left_to_the_parser() -> None:
    sin, x, digit = bytes([IDS["sin"]]), bytes([IDS["x"]]), bytes([IDS["7"]])
    plus = bytes([IDS["INT+"]])
    found = surely_well_formed(
        Sequences.from_list([sin * 199 + x, sin * 200 + x, plus + digit * 40, plus + digit * 41])
    )
    assert found.tolist() == [True, False, True, False]
    assert [accepted(s) for s in (sin * 200 + x, sin * 201 + x, plus + digit * 41)] == [True, False, False]


@given(st.lists(TREES, min_size=1, max_size=6))
def test_written_expressions_read_back(sequences: list[bytes]) -> None:
    tokenizer = ExpressionTokenizer()
    tokens, lengths = tokenizer.encode(Sequences.from_list(sequences))
    ended = np.pad(tokens, ((0, 0), (0, 1)), constant_values=PAD)
    ended[np.arange(len(ended)), lengths] = END
    read, readings = tokenizer.decode(ended)
    assert read.to_list() == sequences and not readings.any()
    assert tokenizer.to_tokens(tokenizer.to_words(tokens[0, : lengths[0]])) == tokens[0, : lengths[0]].tolist()


def test_readings() -> None:
    x = IDS["x"]
    tokens = np.array([[x, END, 5], [x, x, x], [x, 91, END], [-3, END, x], [END, 400, -1]])
    read, readings = ExpressionTokenizer().decode(tokens)
    assert readings.tolist() == [
        Reading.OK,
        Reading.UNTERMINATED,
        Reading.MALFORMED,
        Reading.MALFORMED,
        Reading.OK,
    ]
    assert read.to_list() == [bytes([x]), b"", b"", b"", b""]
    none, readings = ExpressionTokenizer().decode(np.empty((2, 0), dtype=np.int64))
    assert none.to_list() == [b"", b""] and readings.tolist() == [Reading.UNTERMINATED] * 2
    with pytest.raises(UserError, match="'sine' is no word of expressions"):
        ExpressionTokenizer().to_tokens(["sine"])


def test_the_format_tells_arities() -> None:
    form = ExpressionTokenizer().format
    assert form.vocabulary_size == len(form.arity) == len(WORDS) == 91
    arity = dict(zip(WORDS, form.arity, strict=True))
    assert (arity["add"], arity["sin"], arity["x"], arity["INT+"], arity["7"], arity["<s>"]) == (2, 1, 0, 0, -1, -1)
    assert all(arity[word] == count for word, count in ARITY.items())
