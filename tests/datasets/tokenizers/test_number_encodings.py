"""The four number encodings: published sizes, specified tokens, exact inverses over the whole range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.decimal_grid import compose, round_to_grid
from mathpipe.datasets.tokenizers.number_encodings import ENCODINGS, FP15, NumberEncoding, get_number_encoding

ALL = [
    pytest.param(make(precision), id=f"{name}-{precision}")
    for name, make in ENCODINGS.items()
    for precision in (1, 2, 3)
]


def tokens_of(code: NumberEncoding, value: float) -> list[str]:
    return [code.vocabulary[t] for t in code.encode(value)]


@pytest.mark.parametrize(
    ("name", "value", "tokens"),
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
def test_tokens(name: str, value: float, tokens: list[str]) -> None:
    assert tokens_of(get_number_encoding(name), value) == tokens


def test_sizes_match_published_vocabularies() -> None:
    """Published totals less the 127 common tokens (and P10's and P1000's signs, which are among those)."""
    assert get_number_encoding("P10").size == 338 - 127 + 2
    assert get_number_encoding("P1000").size == 1328 - 127 + 2
    assert get_number_encoding("B1999").size == 2329 - 127
    assert get_number_encoding("FP15").size == 29128 - 127


@pytest.mark.parametrize("code", ALL)
def test_tokens_are_distinct(code: NumberEncoding) -> None:
    assert len(set(code.vocabulary)) == code.size


@pytest.mark.parametrize("code", ALL)
def test_encode_inverts_decode(code: NumberEncoding) -> None:
    """decode then encode, over every mantissa in every decade (FP15: every token)."""
    low, high = 10**code.precision, 10**code.digits
    exponents = np.arange(-7 - code.precision, 9 - code.precision) if isinstance(code, FP15) else np.arange(-100, 101)
    mantissa, exponent = np.meshgrid(np.unique(np.r_[low, low + 1, np.arange(low, high, 7), high - 1]), exponents)
    for negative in (False, True):
        values = compose(negative, mantissa, exponent)
        tokens = code.encode(values)
        assert tokens.shape == (*values.shape, code.tokens_per_number)
        back, decodable = code.decode(tokens)
        assert decodable.all()
        assert np.array_equal(back, values)


def test_fp15_round_trip_of_every_token() -> None:
    code = FP15()
    tokens = np.arange(code.size)[:, None]
    values, decodable = code.decode(tokens)
    assert decodable.tolist() == [True] * (code.size - 2) + [False] * 2
    assert np.array_equal(code.encode(values[:-2]), tokens[:-2])
    assert len(np.unique(values[:-2])) == code.size - 2


@pytest.mark.parametrize("name", ENCODINGS)
@given(values=hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=3), elements=st.floats(-9.99e8, 9.99e8)))
def test_encoding_rounds_to_nearest_for_any_shape(name: str, values: np.ndarray) -> None:
    values = np.where(np.abs(values) < 1e-90, 0.0, values)
    code = get_number_encoding(name)
    back, decodable = code.decode(code.encode(values))
    assert decodable.all()
    assert back.shape == values.shape
    expected = round_to_grid(values)
    if isinstance(code, FP15):
        expected = np.where(np.abs(values) < 1e-7, np.rint(values / 1e-9) / 1e9, expected)
    assert np.array_equal(back, expected)


@pytest.mark.parametrize("name", ENCODINGS)
@given(data=st.data())
def test_decoding_never_raises(name: str, data: st.DataObject) -> None:
    """Any integers give a value if they encode a number; otherwise 0 and False."""
    code = get_number_encoding(name)
    ids = st.integers(-5, code.size + 5) | st.integers(-(2**40), 2**40)
    numbers = data.draw(st.lists(st.tuples(*[ids] * code.tokens_per_number), min_size=1, max_size=20))
    values, decodable = code.decode(np.array(numbers))
    assert np.isfinite(values).all()
    assert (values[~decodable] == 0).all()
    for ids_of_one, ok in zip(numbers, decodable, strict=True):
        assert not ok or all(0 <= t < code.size for t in ids_of_one)


def test_misplaced_tokens_are_undecodable() -> None:
    code = get_number_encoding("P1000")
    ids = {token: i for i, token in enumerate(code.vocabulary)}
    table = [
        (["+", "314", "E-2"], True),
        (["314", "+", "E-2"], False),
        (["+", "E-2", "314"], False),
        (["+", "314", "-"], False),
    ]
    _, decodable = code.decode(np.array([[ids[t] for t in tokens] for tokens, _ in table]))
    assert decodable.tolist() == [ok for _, ok in table]


@pytest.mark.parametrize(
    ("name", "value"), [("FP15", 1e9), ("FP15", 9.996e8), ("FP15", -2e10), ("P10", 1e104), ("B1999", 1e-104)]
)
def test_out_of_range_values_raise(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} cannot represent"):
        get_number_encoding(name).encode([1.0, value])


def test_fp15_marks_out_of_range_on_request() -> None:
    code = FP15()
    tokens = [code.vocabulary[t] for t in code.encode_or_nan([1e9, -1e12, 1.0])[:, 0]]
    assert tokens == ["FP+NaN", "FP-NaN", "FP100/-2"]


def test_unknown_encoding_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean P1000"):
        get_number_encoding("p100")


@pytest.mark.parametrize("precision", [0, 5])
def test_precision_has_bounds(precision: int) -> None:
    with pytest.raises(UserError, match="precision"):
        get_number_encoding("P10", precision)
