"""The four encodings: sizes as published, words as specified, exact inverses over the whole range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.decimal_grid import compose, round_to_grid
from mathpipe.datasets.tokenizers.number_encodings import ENCODINGS, FP15, Encoding, encoding

ALL = [
    pytest.param(make(precision), id=f"{name}-{precision}")
    for name, make in ENCODINGS.items()
    for precision in (1, 2, 3)
]


def words_of(code: Encoding, value: float) -> list[str]:
    return [code.words[t] for t in code.encode(value)]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("P10", 3.14, ["+", "3", "1", "4", "E-2"]),
        ("P10", -0.05, ["-", "5", "0", "0", "E-4"]),
        ("P10", 0.0, ["+", "0", "0", "0", "E0"]),
        ("P10", -0.0, ["+", "0", "0", "0", "E0"]),
        ("P1000", 3.14, ["+", "314", "E-2"]),
        ("P1000", 0.0, ["+", "0", "E0"]),
        ("P1000", -999.6, ["-", "100", "E1"]),
        ("B1999", -3.14, ["N-314", "E-2"]),
        ("B1999", 0.0, ["N0", "E0"]),
        ("FP15", 3.14, ["FP314/-2"]),
        ("FP15", -1e-7, ["FP-100/-9"]),
        ("FP15", 5e-8, ["FP50/-9"]),
        ("FP15", -4e-10, ["FP0/-9"]),
        ("FP15", 9.99e8, ["FP999/6"]),
    ],
)
def test_words(name: str, value: float, words: list[str]) -> None:
    assert words_of(encoding(name), value) == words


def test_sizes_follow_the_published_vocabularies() -> None:
    """Published totals less the 127 common words (and P10's and P1000's signs, which are among those)."""
    assert encoding("P10").size == 338 - 127 + 2
    assert encoding("P1000").size == 1328 - 127 + 2
    assert encoding("B1999").size == 2329 - 127
    assert encoding("FP15").size == 29128 - 127


@pytest.mark.parametrize("code", ALL)
def test_words_are_distinct(code: Encoding) -> None:
    assert len(set(code.words)) == code.size


@pytest.mark.parametrize("code", ALL)
def test_every_representable_value_survives(code: Encoding) -> None:
    """decode then encode, over every mantissa in every decade (FP15: every word there is)."""
    low, high = 10**code.precision, 10**code.digits
    exponents = np.arange(-7 - code.precision, 9 - code.precision) if isinstance(code, FP15) else np.arange(-100, 101)
    mantissa, exponent = np.meshgrid(np.unique(np.r_[low, low + 1, np.arange(low, high, 7), high - 1]), exponents)
    for negative in (False, True):
        values = compose(negative, mantissa, exponent)
        tokens = code.encode(values)
        assert tokens.shape == (*values.shape, code.words_per_number)
        back, readable = code.decode(tokens)
        assert readable.all()
        assert np.array_equal(back, values)


def test_every_fp15_word_survives() -> None:
    code = FP15()
    tokens = np.arange(code.size)[:, None]
    values, readable = code.decode(tokens)
    assert readable.tolist() == [True] * (code.size - 2) + [False] * 2
    assert np.array_equal(code.encode(values[:-2]), tokens[:-2])
    assert len(np.unique(values[:-2])) == code.size - 2


@pytest.mark.parametrize("name", ENCODINGS)
@given(values=hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=3), elements=st.floats(-9.99e8, 9.99e8)))
def test_encoding_rounds_to_nearest_for_any_shape(name: str, values: np.ndarray) -> None:
    values = np.where(np.abs(values) < 1e-90, 0.0, values)
    code = encoding(name)
    back, readable = code.decode(code.encode(values))
    assert readable.all()
    assert back.shape == values.shape
    expected = round_to_grid(values)
    if isinstance(code, FP15):
        expected = np.where(np.abs(values) < 1e-7, np.rint(values / 1e-9) / 1e9, expected)
    assert np.array_equal(back, expected)


@pytest.mark.parametrize("name", ENCODINGS)
@given(data=st.data())
def test_decoding_never_raises(name: str, data: st.DataObject) -> None:
    """Any integers whatever: a value where they spell a number, 0 and unreadable where they do not."""
    code = encoding(name)
    ids = st.integers(-5, code.size + 5) | st.integers(-(2**40), 2**40)
    numbers = data.draw(st.lists(st.tuples(*[ids] * code.words_per_number), min_size=1, max_size=20))
    values, readable = code.decode(np.array(numbers))
    assert np.isfinite(values).all()
    assert (values[~readable] == 0).all()
    for ids_of_one, ok in zip(numbers, readable, strict=True):
        assert not ok or all(0 <= t < code.size for t in ids_of_one)


def test_wrong_kinds_of_words_are_unreadable() -> None:
    code = encoding("P1000")
    ids = {word: i for i, word in enumerate(code.words)}
    table = [
        (["+", "314", "E-2"], True),
        (["314", "+", "E-2"], False),
        (["+", "E-2", "314"], False),
        (["+", "314", "-"], False),
    ]
    _, readable = code.decode(np.array([[ids[w] for w in words] for words, _ in table]))
    assert readable.tolist() == [ok for _, ok in table]


@pytest.mark.parametrize(
    ("name", "value"), [("FP15", 1e9), ("FP15", 9.996e8), ("FP15", -2e10), ("P10", 1e104), ("B1999", 1e-104)]
)
def test_values_that_cannot_be_written_are_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} cannot write"):
        encoding(name).encode([1.0, value])


def test_fp15_marks_out_of_range_on_request() -> None:
    code = FP15()
    words = [code.words[t] for t in code.encode_or_mark([1e9, -1e12, 1.0])[:, 0]]
    assert words == ["FP+NaN", "FP-NaN", "FP100/-2"]


def test_unknown_encoding_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean P1000"):
        encoding("p100")


@pytest.mark.parametrize("precision", [0, 5])
def test_precision_has_bounds(precision: int) -> None:
    with pytest.raises(UserError, match="precision"):
        encoding("P10", precision)
