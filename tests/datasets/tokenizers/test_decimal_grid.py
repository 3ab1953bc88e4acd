"""The decimal grid, compared with Python's decimal formatting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.decimal_grid import compose, decompose, in_dataset_range, round_to_grid

numbers = st.floats(min_value=1e-100, max_value=1e100).flatmap(lambda x: st.sampled_from([x, -x])) | st.just(0.0)


@given(st.lists(numbers, min_size=1, max_size=50))
def test_rounding_agrees_with_python_formatting(values: list[float]) -> None:
    """Python rounds the exact binary value; ours may differ only where that value is a tie to within float64."""
    for x, rounded in zip(values, round_to_grid(values), strict=True):
        expected = float(f"{x:.2e}")
        if rounded != expected:
            step = 10.0 ** (math.floor(math.log10(abs(x))) - 2)
            assert abs(abs(x) / step % 1 - 0.5) < 1e-9, (x, rounded, expected)
            assert abs(rounded - x) <= 0.5000001 * step


@given(st.integers(1, 5), st.booleans(), st.data())
def test_compose_inverts_decompose(digits: int, negative: bool, data: st.DataObject) -> None:
    mantissa = data.draw(st.integers(10 ** (digits - 1), 10**digits - 1))
    exponent = data.draw(st.integers(-100, 100))
    value = compose(negative, mantissa, exponent)
    assert float(value) == float(f"{'-' if negative else ''}{mantissa}e{exponent}")
    assert [a.item() for a in decompose(value, digits)] == [negative, mantissa, exponent]


@given(st.lists(numbers, min_size=1, max_size=50))
def test_fast_rounding_matches_reference(values: list[float]) -> None:
    assert np.array_equal(round_to_grid(values), compose(*decompose(values)))


@pytest.mark.parametrize("exponent", range(-30, 31))
def test_rounding_carries_into_the_exponent(exponent: int) -> None:
    """999.6 units become 1000: mantissa 100 and one more in the exponent; 999.4 do not."""
    _, mantissa, rounded_exponent = decompose([float(f"999.6e{exponent}"), float(f"999.4e{exponent}")])
    assert mantissa.tolist() == [100, 999]
    assert rounded_exponent.tolist() == [exponent + 1, exponent]


@pytest.mark.parametrize("decade", range(-20, 21))
def test_powers_of_ten_and_their_neighbours(decade: int) -> None:
    """log10 is off by one here on some CPUs; comparing with the power itself is not."""
    power = float(f"1e{decade}")
    below = np.nextafter(power, 0)
    _, mantissa, exponent = decompose([power, below])
    assert (mantissa.tolist(), exponent.tolist()) == ([100, 100], [decade - 2, decade - 2])
    assert np.array_equal(round_to_grid([power, below]), [power, power])


def test_minus_zero_is_zero() -> None:
    assert not np.signbit(round_to_grid([-0.0])).any()
    assert [a.item() for a in decompose(-0.0)] == [False, 0, 0]


def test_float32_round_trip_of_decimals() -> None:
    """Every 3-digit decimal of the dataset's range comes back from float32 as the decimal itself."""
    mantissa, exponent = np.meshgrid(np.arange(100, 1000), np.arange(-9, 7))
    decimals = compose(False, mantissa, exponent)
    assert np.array_equal(round_to_grid(decimals.astype(np.float32)), decimals)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e111, 1e-111])
def test_out_of_range_numbers_raise(bad: float) -> None:
    with pytest.raises(UserError, match="outside the range of the decimal grid"):
        decompose([1.0, bad])
    with pytest.raises(UserError, match="outside the range of the decimal grid"):
        round_to_grid([1.0, bad])


def test_dataset_range() -> None:
    inside = [0.0, -0.0, 1e-7, -1e-7, 999_999_999.0]
    outside = [9.99e-8, 1e9, -1e9, np.nan, np.inf]
    assert in_dataset_range(inside).all()
    assert not in_dataset_range(outside).any()


def test_empty_arrays() -> None:
    assert round_to_grid(np.empty((0, 3))).shape == (0, 3)
