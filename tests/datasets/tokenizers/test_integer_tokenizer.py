"""Integer encodings and the tokenizer of nested integers: bit-exact round trips, one encoding an integer, nothing raises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.containers.integer_layout import flatten, unflatten
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.integer_encodings import PRIMES, get_integer_encoding
from mathpipe.datasets.tokenizers.integer_tokenizer import IntegerTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, PAD, DecodeStatus

LARGEST = 2**63 - 1
NAMES = ("base2", "base10", "base1000", "base10000", "base7+brackets", "residues15", "residues15+brackets", "symbol")
LAYOUTS = ("int", "(int, int)", "[int]", "[(int, int)]", "([int], int)", "[[int]]", "([(int, int)], int, int)")


def text_of(name: str, layout: str, value: object, value_range: tuple[int, int] = (-9, 9)) -> str:
    tokenizer = IntegerTokenizer.named(name, layout, value_range)
    tokens, lengths = tokenizer.encode(IntegerSequences.from_list([flatten(layout, value)]))
    return " ".join(tokenizer.ids_to_tokens(tokens[0, : lengths[0]]))


def decode_text(name: str, layout: str, text: str) -> object:
    """The value that a prediction decodes to, or its status."""
    tokenizer = IntegerTokenizer.named(name, layout, (-9, 9))
    rows, status = tokenizer.decode(np.array([[*tokenizer.tokens_to_ids(text.split()), END]]))
    return unflatten(layout, rows[0]) if status[0] == DecodeStatus.OK else DecodeStatus(int(status[0])).name


def nested(layout: str, integers: st.SearchStrategy[int]) -> st.SearchStrategy[object]:
    lists = {
        "int": integers,
        "(int, int)": st.tuples(integers, integers),
        "[int]": st.lists(integers, max_size=5),
        "[(int, int)]": st.lists(st.tuples(integers, integers), max_size=4),
        "([int], int)": st.tuples(st.lists(integers, max_size=4), integers),
        "[[int]]": st.lists(st.lists(integers, max_size=3), max_size=3),
        "([(int, int)], int, int)": st.tuples(st.lists(st.tuples(integers, integers), max_size=3), integers, integers),
    }
    return lists[layout]


@given(st.data(), st.sampled_from(NAMES), st.sampled_from(LAYOUTS))
def test_decoding_inverts_encoding(data: st.DataObject, name: str, layout: str) -> None:
    largest = {"r": 2**58, "s": 9, "b": LARGEST}[name[0]]
    values = data.draw(st.lists(nested(layout, st.integers(-largest, largest)), max_size=4))
    tokenizer = IntegerTokenizer.named(name, layout, (-9, 9))
    rows = IntegerSequences.from_list([flatten(layout, value) for value in values])
    tokens, lengths = tokenizer.encode(rows)
    framed = np.pad(tokens, ((0, 0), (0, 1)), constant_values=PAD)
    framed[np.arange(len(framed)), lengths] = END
    decoded, status = tokenizer.decode(framed)
    assert (status == DecodeStatus.OK).all() and decoded.to_list() == rows.to_list()


@given(st.data(), st.sampled_from(NAMES), st.sampled_from(LAYOUTS))
def test_any_tokens_are_decoded_to_what_is_encoded_alike(data: st.DataObject, name: str, layout: str) -> None:
    """A prediction that decodes has the tokens of its value: every value has one encoding. Nothing raises."""
    tokenizer = IntegerTokenizer.named(name.replace("15", "3"), layout, (-9, 9))
    size = min(len(tokenizer.vocabulary), 12)
    ids = st.one_of(st.integers(0, size + 1), st.sampled_from([-1, 10**9, len(tokenizer.vocabulary) - 1]))
    predicted = np.array(data.draw(st.lists(st.lists(ids, min_size=9, max_size=9), min_size=1, max_size=6)))
    rows, status = tokenizer.decode(predicted)
    for i, row in enumerate(predicted.tolist()):
        if END not in row:
            assert status[i] == DecodeStatus.UNTERMINATED
        elif status[i] == DecodeStatus.OK:
            tokens, lengths = tokenizer.encode(rows.take(np.array([i])))
            assert tokens[0, : lengths[0]].tolist() == row[: row.index(END)]
        if status[i] != DecodeStatus.OK:
            assert rows[i] == []


@pytest.mark.parametrize(
    ("name", "layout", "value", "text"),
    [
        ("base10", "int", -1234, "- 1 2 3 4"),
        ("base1000", "int", -1234, "- 1 234"),
        ("base2", "int", 0, "+ 0"),
        ("base10000", "int", LARGEST, "+ 922 3372 368 5477 5807"),
        ("residues6", "int", -1234, "0 2 1 5 9 1"),
        ("residues:89,97", "int", -1234, "12 27"),
        ("residues:7,9,11", "(int, int)", (1, -1), "1 1 1 6 8 10"),
        ("symbol", "[int]", [3, -1], "3 -1"),
        ("symbols:0=(,1=)", "[int]", [0, 1, 1], "( ) )"),
        ("base10", "[[int]]", [[1], [], [2, 3]], "+ 3 + 1 + 1 + 0 + 2 + 2 + 3"),
        ("base10+brackets", "[[int]]", [[1], [], [2, 3]], "[ + 1 ] [ ] [ + 2 + 3 ]"),
        ("symbol", "([(int, int)], int)", ([(1, 2)], 3), "[ 1 2 ] 3"),
        ("base10+brackets", "(int, [int])", (12, []), "+ 1 2 [ ]"),
    ],
)
def test_tokens(name: str, layout: str, value: object, text: str) -> None:
    assert text_of(name, layout, value) == text
    assert decode_text(name, layout, text) == value


@pytest.mark.parametrize(
    ("name", "layout", "text"),
    [
        ("base10", "int", ""),
        ("base10", "int", "+"),
        ("base10", "int", "1 2"),
        ("base10", "int", "+ 0 1"),
        ("base10", "int", "- 0"),
        ("base10", "int", "+ 1 + 2"),
        ("base10", "int", "+ 9 2 2 3 3 7 2 0 3 6 8 5 4 7 7 5 8 0 8"),
        ("base10", "int", "+ 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2"),
        ("base10", "[int]", "+ 3 + 1"),
        ("base10", "[int]", "- 1"),
        ("residues3", "int", "0 0"),
        ("residues3", "int", "2 0 0"),
        ("residues3", "int", "0 0 0 0"),
        ("residues3", "int", "1 0 0"),  # 15, half of 30
        ("base10+brackets", "[[int]]", "[ + 1"),
        ("base10+brackets", "[[int]]", "+ 1 ]"),
        ("base10+brackets", "[[int]]", "+ 1"),
        ("base10+brackets", "([int], int)", "[ + 1 + 2 ] ]"),
        ("symbol", "[(int, int)]", "1 2 3"),
        ("symbol", "(int, int)", "1 2 3"),
    ],
)
def test_malformed_predictions(name: str, layout: str, text: str) -> None:
    assert decode_text(name, layout, text) == "MALFORMED"


def test_residues_use_the_first_primes() -> None:
    assert all(all(p % q for q in range(2, p)) for p in PRIMES) and len(PRIMES) == 15
    values = np.array([-(2**58), 12345678901234567, 0, 1])
    ids, counts = get_integer_encoding("residues15").encode(values)
    assert ids.reshape(4, 15).tolist() == [[int(v) % p for p in PRIMES] for v in values]
    assert get_integer_encoding("residues15").decode(ids, counts)[0].tolist() == values.tolist()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("residues3", 15, "residues3 cannot represent 15.*-14 to 14"),
        ("symbol", 10, "symbol cannot represent 10"),
        ("symbols:1,5", 2, "cannot represent 2.*one of the 2 integers 1, 5"),
        ("base10", -(2**63), "below 2\\^63"),
    ],
)
def test_integers_out_of_range(name: str, value: int, message: str) -> None:
    tokenizer = IntegerTokenizer.named(name, "int", (-9, 9))
    with pytest.raises(UserError, match=message):
        tokenizer.encode(IntegerSequences(np.array([value]), np.array([1])))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("base1", "base is out of range"),
        ("base10001", "base is out of range"),
        ("residues16", "unknown integer encoding"),
        ("residues:6,9", "without common factors"),
        ("residues:9999,9998,9997,9995,9991", "product of at most"),
        ("P10", "unknown integer encoding 'P10'"),
        ("symbols:1,1", "different integers"),
        ("symbols:0=[", "none of them"),
        ("symbols:1,,2", "lists no vocabulary"),
        ("symbol", "needs a small range"),
    ],
)
def test_invalid_names(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        get_integer_encoding(name)
