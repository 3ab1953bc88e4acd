"""Layouts of nested integers: flat rows and back, strict errors, and the same decisions for whole batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.containers.integer_layout import (
    LayoutError,
    flatten,
    has_layout,
    list_rows,
    parse_layout,
    unflatten,
)
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.datasets.errors import UserError

INTEGERS = st.integers(-(2**63) + 1, 2**63 - 1)
LAYOUTS = st.recursive(
    st.just("int"),
    lambda part: st.one_of(
        part.map(lambda p: f"[{p}]"), st.lists(part, min_size=1, max_size=3).map(lambda p: f"({', '.join(p)})")
    ),
    max_leaves=4,
)


def split_parts(text: str) -> list[str]:
    """The parts of a tuple layout, at the commas that stand in no inner bracket."""
    depth, parts = 0, [""]
    for character in text[1:-1]:
        depth += (character in "([") - (character in ")]")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def values_of(layout: str) -> st.SearchStrategy[Any]:
    if layout == "int":
        return INTEGERS
    if layout.startswith("["):
        return st.lists(values_of(layout[1:-1]), max_size=3)
    return st.tuples(*map(values_of, split_parts(layout)))


@given(st.data(), LAYOUTS)
def test_unflatten_inverts_flatten(data: st.DataObject, layout: str) -> None:
    value = data.draw(values_of(layout))
    assert unflatten(layout, flatten(layout, value)) == value
    assert str(parse_layout(layout)) == layout


@given(st.data(), LAYOUTS, st.lists(st.integers(-1, 3), max_size=8))
def test_batches_agree_with_single_rows(data: st.DataObject, layout: str, row: list[int]) -> None:
    flat = flatten(layout, data.draw(values_of(layout)))
    rows = [flat, row, [*flat, 0], flat[:-1], []]

    def fits(integers: list[int]) -> bool:
        try:
            unflatten(layout, integers)
        except LayoutError:
            return False
        return True

    assert has_layout(layout, IntegerSequences.from_list(rows)).tolist() == [fits(integers) for integers in rows]


@pytest.mark.parametrize(
    ("layout", "value", "flat"),
    [
        ("int", -5, [-5]),
        ("(int, int)", (1, 2), [1, 2]),
        ("[int]", [], [0]),
        ("[(int, int)]", [(1, 2), (3, 4)], [2, 1, 2, 3, 4]),
        ("([int], int)", ([5, 6], 7), [2, 5, 6, 7]),
        ("[[int]]", [[1], [], [2, 3]], [3, 1, 1, 0, 2, 2, 3]),
    ],
)
def test_flat_rows(layout: str, value: Any, flat: list[int]) -> None:
    assert flatten(layout, value) == flat and unflatten(layout, flat) == value


@pytest.mark.parametrize(
    ("layout", "value", "message"),
    [
        ("int", True, "value: expected an integer, got True"),
        ("int", 1.0, "value: expected an integer"),
        ("int", 2**63, "value: 9223372036854775808 has more than 63 bits"),
        pytest.param("int", 10**5000, "an integer of 16610 bits", id="huge"),
        ("(int, int)", (1, 2, 3), "value: expected 2 elements, got 3"),
        ("[(int, int)]", [(1, 2), (3, "x")], r"value\[1\]\[1\]: expected an integer, got 'x'"),
        ("[int]", "12", "value: expected a list, got '12'"),
    ],
)
def test_values_without_the_layout(layout: str, value: Any, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        flatten(layout, value)


@pytest.mark.parametrize(
    ("layout", "flat", "message"),
    [
        ("(int, int)", [1], "integer 2 is missing: the row has only 1"),
        ("int", [1, 2], "the value ends after integer 1, but the row has 2"),
        ("[int]", [3, 1], "integer 1 is no length of a list: 3"),
        ("[[int]]", [1, -1], "integer 2 is no length of a list: -1"),
        ("[int]", [], "integer 1, the length of a list, is missing"),
    ],
)
def test_rows_without_the_layout(layout: str, flat: list[int], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        unflatten(layout, flat)


@pytest.mark.parametrize(
    ("text", "position"),
    [("", 1), ("float", 1), ("[int", 5), ("(int int)", 6), ("[int, int]", 5), ("int]", 4), ("()", 2), ("[" * 40, 33)],
)
def test_layouts_that_cannot_be_parsed(text: str, position: int) -> None:
    with pytest.raises(UserError, match=rf"is not a layout of integers.*at character {position}\b"):
        parse_layout(text)


def test_list_rows_are_lists_after_their_lengths() -> None:
    rows = list_rows(np.array([5, 6, 7]), np.array([2, 0, 1]))
    assert rows.to_list() == [[2, 5, 6], [0], [1, 7]] and has_layout("[int]", rows).all()
