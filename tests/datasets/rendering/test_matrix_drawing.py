"""Rendered matrices: numbers, alignment, elision, side-by-side layout."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.rendering.matrix_drawing import ASCII, format_number, render_matrix, side_by_side, visible_width


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (3.14159, "3.14"),
        (-0.05, "-0.05"),
        (0.000123456, "0.000123"),
        (9.999, "10"),
        (0.00009, "9e-05"),
        (12345.6, "12300"),
        (999999.0, "1e+06"),
        (1.5e8, "1.5e+08"),
        (1e-7, "1e-07"),
        (100.0, "100"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert format_number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12), st.integers(1, 6))
def test_formatted_number_is_the_rounded_value(value: float, digits: int) -> None:
    assert float(format_number(value, digits)) == float(f"{value:.{digits - 1}e}")


def test_decimal_points_are_aligned() -> None:
    assert render_matrix([[3.14159, -0.5], [0, 10], [-12.3, 1e-7]]) == [
        "⎡   3.14  -0.5   ⎤",
        "⎢   0     10     ⎥",
        "⎣ -12.3    1e-07 ⎦",
    ]


def test_small_and_empty_matrices() -> None:
    assert render_matrix([[1.5, 2]]) == ["[ 1.5  2 ]"]
    assert render_matrix([7.0, 8.0]) == ["[ 7  8 ]"]
    assert render_matrix(np.empty((0, 0))) == ["[]"]
    with pytest.raises(ValueError, match="one matrix"):
        render_matrix(np.zeros((2, 2, 2)))


def test_ascii_glyphs_alone_are_ascii() -> None:
    lines = render_matrix(np.arange(400.0).reshape(20, 20), max_rows=4, max_cols=4, glyphs=ASCII)
    assert all(line.isascii() for line in lines)


def test_large_matrix_is_elided() -> None:
    lines = render_matrix(np.arange(900.0).reshape(30, 30), max_rows=4, max_cols=3)
    assert lines == [
        "⎡   0    1  …   29 ⎤",
        "⎢  30   31  …   59 ⎥",
        "⎢  60   61  …   89 ⎥",
        "⎢   ⋮    ⋮  …    ⋮ ⎥",
        "⎣ 870  871  …  899 ⎦",
    ]


@given(st.integers(1, 15), st.integers(1, 15), st.integers(1, 15), st.integers(1, 15), st.integers(0, 2**32 - 1))
def test_lines_have_equal_width_within_limits(r: int, c: int, max_rows: int, max_cols: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lines = render_matrix(
        rng.normal(size=(r, c)) * 10 ** rng.uniform(-12, 12, (r, c)), max_rows=max_rows, max_cols=max_cols
    )
    assert len({len(line) for line in lines}) == 1
    assert len(lines) <= max(max_rows, 2) + 1


def test_colour_only_on_request() -> None:
    marked = np.array([[True, False]])
    assert "\x1b" not in "".join(render_matrix([[1, 2]], marked=marked))
    (line,) = render_matrix([[1, 2]], marked=marked, colour=True)
    assert line == "[ \x1b[31m1\x1b[0m  2 ]"
    assert visible_width(line) == len("[ 1  2 ]")


def test_side_by_side_aligns_captions_and_pads_heights() -> None:
    lines = side_by_side(
        [
            ("problem", render_matrix(np.eye(2))),
            ("x", render_matrix([[5.0]], marked=np.ones((1, 1), bool), colour=True)),
        ]
    )
    assert lines == ["problem    x", "⎡ 1  0 ⎤   [ \x1b[31m5\x1b[0m ]", "⎣ 0  1 ⎦"]


def test_side_by_side_wraps_to_the_width() -> None:
    blocks = [(name, render_matrix(np.eye(2))) for name in "abc"]
    assert len(side_by_side(blocks)) == 3
    assert len(side_by_side(blocks, width=8 + 3 + 8)) == 6
    assert len(side_by_side(blocks, width=4)) == 9  # a single block is never truncated
    assert max(map(len, side_by_side(blocks, width=19))) <= 19
    assert side_by_side([]) == []
