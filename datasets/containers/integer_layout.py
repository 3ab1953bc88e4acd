"""Layouts of nested integers: how a problem or solution is written as a flat row of integers, and read back.

    layout = "int" | "(" layout {"," layout} ")" | "[" layout "]"

``int`` is one integer, ``(int, int)`` a tuple of fixed length, ``[int]`` a list of any length, ``[(int, int)]`` a list of pairs.
In the flat row a list is preceded by its length, and a tuple is the row of its elements: in ``([int], int)`` the value
``([5, 6], 7)`` is ``2 5 6 7``. So the layout alone says where every number belongs. Integers are those of 64 bits, except -2^63.
"""

from __future__ import annotations

import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.array_types import Ints, Mask
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.datasets.errors import UserError

LARGEST_INTEGER = 2**63 - 1
_MAX_DEPTH = 32  # brackets inside each other in a layout


class LayoutError(ValueError):
    """A value or a row of integers that does not have its layout; the message names the position."""


@dataclass
class Scan:
    """A cursor in each of n flat rows, and what was seen before it.

    ``values`` (m,): all rows one after the other; ``cursor``, ``end`` (n,): positions in them; ``valid`` (n,): rows that have the
    layout up to the cursor; ``is_length`` (m,): values that are lengths of lists; ``closes`` (m + 1,): number of lists of a row
    that end just before each position (ends of a row's last lists are counted in ``closes_row`` (n,)).
    """

    values: Ints
    cursor: Ints
    end: Ints
    valid: Mask
    is_length: Mask
    closes: Ints
    closes_row: Ints


NUMBER, OPEN, CLOSE = range(3)  # kinds of items


@dataclass
class BracketScan:
    """A cursor in each of n rows of items, in which every list stands in brackets.

    ``kind`` (m,): number, opening or closing bracket; ``next_bracket`` (m + 1,): position of the first bracket from each on, m if
    there is none; ``cursor``, ``end``, ``valid`` (n,): as in ``Scan``; ``lengths`` (m,): elements of the list that opens there.
    """

    kind: NDArray[np.int8]
    next_bracket: Ints
    cursor: Ints
    end: Ints
    valid: Mask
    lengths: Ints

    def numbers_ahead(self, active: Ints) -> Ints:
        """Numbers between the cursor and the next bracket or the end of the row, (k,)."""
        at = self.cursor[active]
        return np.asarray(np.minimum(self.next_bracket[at], self.end[active]) - at)

    def at(self, kind: int, active: Ints) -> Mask:
        """Which rows have an item of this kind at their cursors, (k,)."""
        at, end = self.cursor[active], self.end[active]
        inside = at < end
        return np.asarray(inside & (self.kind[np.where(inside, at, 0)] == kind)) if len(self.kind) else inside


class Layout(ABC):
    """The structure of a value. ``size``: integers of its flat row, if every value has as many; else None."""

    size: int | None

    @abstractmethod
    def flatten(self, value: Any, flat: list[int], place: str) -> None:
        """Append the integers of ``value``; LayoutError with its place."""

    @abstractmethod
    def unflatten(self, flat: Sequence[int], position: int) -> tuple[Any, int]:
        """(the value that begins at ``position``, the position after it); LayoutError."""

    @abstractmethod
    def scan(self, scan: Scan, active: Ints) -> None:
        """Move the cursors of the rows ``active`` (k,) over one value each; rows that have no such value become invalid."""

    @abstractmethod
    def scan_brackets(self, scan: BracketScan, active: Ints) -> None:
        """The same in rows of items, in which brackets take the place of lengths."""


@dataclass(frozen=True)
class IntegerLayout(Layout):
    """One integer."""

    size: int | None = 1

    def __str__(self) -> str:
        return "int"

    def flatten(self, value: Any, flat: list[int], place: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise LayoutError(f"{place}: expected an integer, got {_shown(value)}")
        if abs(int(value)) > LARGEST_INTEGER:
            raise LayoutError(f"{place}: {_shown(value)} has more than 63 bits")
        flat.append(int(value))

    def unflatten(self, flat: Sequence[int], position: int) -> tuple[Any, int]:
        if position >= len(flat):
            raise LayoutError(f"integer {position + 1} is missing: the row has only {len(flat)}")
        return int(flat[position]), position + 1

    def scan(self, scan: Scan, active: Ints) -> None:
        _advance(scan, active, np.ones(len(active), dtype=np.int64))

    def scan_brackets(self, scan: BracketScan, active: Ints) -> None:
        _advance_numbers(scan, active, 1)


@dataclass(frozen=True)
class TupleLayout(Layout):
    """A fixed number of parts."""

    parts: tuple[Layout, ...]

    @property
    def size(self) -> int | None:  # type: ignore[override]
        sizes = [part.size for part in self.parts]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.parts))})"

    def flatten(self, value: Any, flat: list[int], place: str) -> None:
        items = _items(value, f"{len(self.parts)} elements", place)
        if len(items) != len(self.parts):
            raise LayoutError(f"{place}: expected {len(self.parts)} elements, got {len(items)}")
        for k, (part, item) in enumerate(zip(self.parts, items, strict=True)):
            part.flatten(item, flat, f"{place}[{k}]")

    def unflatten(self, flat: Sequence[int], position: int) -> tuple[Any, int]:
        items = []
        for part in self.parts:
            item, position = part.unflatten(flat, position)
            items.append(item)
        return tuple(items), position

    def scan(self, scan: Scan, active: Ints) -> None:
        size = self.size
        if size is not None:
            _advance(scan, active, np.full(len(active), size, dtype=np.int64))
            return
        for part in self.parts:
            part.scan(scan, active[scan.valid[active]])

    def scan_brackets(self, scan: BracketScan, active: Ints) -> None:
        size = self.size
        if size is not None:
            _advance_numbers(scan, active, size)
            return
        for part in self.parts:
            part.scan_brackets(scan, active[scan.valid[active]])


@dataclass(frozen=True)
class ListLayout(Layout):
    """Any number of elements, preceded by that number."""

    element: Layout
    size: int | None = None

    def __str__(self) -> str:
        return f"[{self.element}]"

    def flatten(self, value: Any, flat: list[int], place: str) -> None:
        items = _items(value, "a list", place)
        flat.append(len(items))
        for k, item in enumerate(items):
            self.element.flatten(item, flat, f"{place}[{k}]")

    def unflatten(self, flat: Sequence[int], position: int) -> tuple[Any, int]:
        if position >= len(flat):
            raise LayoutError(f"integer {position + 1}, the length of a list, is missing: the row has only {len(flat)}")
        length, start = int(flat[position]), position
        if not 0 <= length <= len(flat) - position:
            raise LayoutError(f"integer {start + 1} is no length of a list: {length}, with {len(flat)} integers in all")
        position += 1
        items = []
        for _ in range(length):
            item, position = self.element.unflatten(flat, position)
            items.append(item)
        return items, position

    def scan(self, scan: Scan, active: Ints) -> None:
        at = scan.cursor[active]
        _advance(scan, active, np.ones(len(active), dtype=np.int64))
        inside = scan.valid[active]
        active, at = active[inside], at[inside]
        length = scan.values[at]
        fits = (length >= 0) & (length <= scan.end[active] - scan.cursor[active])
        scan.valid[active[~fits]] = False
        active, at, length = active[fits], at[fits], length[fits]
        scan.is_length[at] = True
        if self.element.size is not None:
            _advance(scan, active, length * self.element.size)
        else:
            for k in range(int(length.max(initial=0))):
                self.element.scan(scan, active[scan.valid[active] & (length > k)])
        active = active[scan.valid[active]]
        at_end = scan.cursor[active] == scan.end[active]
        np.add.at(scan.closes_row, active[at_end], 1)
        np.add.at(scan.closes, scan.cursor[active[~at_end]], 1)

    def scan_brackets(self, scan: BracketScan, active: Ints) -> None:
        opens = scan.at(OPEN, active)
        scan.valid[active[~opens]] = False
        active = active[opens]
        at = scan.cursor[active]
        scan.cursor[active] += 1
        if self.element.size is not None:
            ahead = scan.numbers_ahead(active)
            scan.lengths[at] = ahead // self.element.size
            scan.valid[active] &= ahead % self.element.size == 0
            scan.cursor[active] += ahead
        else:
            inside = np.arange(len(active))
            while len(inside := inside[scan.valid[active[inside]] & ~scan.at(CLOSE, active[inside])]):
                self.element.scan_brackets(scan, active[inside])
                scan.lengths[at[inside]] += 1
        closed = scan.at(CLOSE, active)
        scan.valid[active] &= closed
        scan.cursor[active[closed]] += 1


def _advance(scan: Scan, active: Ints, count: Ints) -> None:
    """Move the cursors by ``count`` (k,); a row that is too short becomes invalid."""
    fits = count <= scan.end[active] - scan.cursor[active]
    scan.cursor[active] += np.where(fits, count, 0)
    scan.valid[active[~fits]] = False


def _advance_numbers(scan: BracketScan, active: Ints, count: int) -> None:
    """Move the cursors over ``count`` numbers; a row that has fewer before the next bracket becomes invalid."""
    fits = scan.numbers_ahead(active) >= count
    scan.cursor[active[fits]] += count
    scan.valid[active[~fits]] = False


def _items(value: Any, expected: str, place: str) -> Sequence[Any]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise LayoutError(f"{place}: expected {expected}, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 200:  # its decimals may be too many for Python
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@functools.lru_cache(maxsize=256)
def parse_layout(text: str) -> Layout:
    """The layout that ``text`` names; UserError with the position of the first error."""
    tokens = [(m[0], m.start()) for m in re.finditer(r"int\b|[()\[\],]|\S", text)]
    layout, position = _parse(text, tokens, 0, 0)
    if position < len(tokens):
        raise _layout_error(text, tokens[position][1], "the end")
    return layout


def _parse(text: str, tokens: list[tuple[str, int]], position: int, depth: int) -> tuple[Layout, int]:
    token, at = tokens[position] if position < len(tokens) else ("", len(text))
    if token == "int":
        return IntegerLayout(), position + 1
    if token not in ("(", "[") or depth >= _MAX_DEPTH:
        raise _layout_error(text, at, "int, ( or [")
    parts = []
    while True:
        part, position = _parse(text, tokens, position + 1, depth + 1)
        parts.append(part)
        separator, at = tokens[position] if position < len(tokens) else ("", len(text))
        if token == "(" and separator == ",":
            continue
        if separator != {"(": ")", "[": "]"}[token]:
            raise _layout_error(text, at, ", or )" if token == "(" else "]")
        return (TupleLayout(tuple(parts)) if token == "(" else ListLayout(parts[0])), position + 1


def _layout_error(text: str, position: int, expected: str) -> UserError:
    return UserError(
        f"{text!r} is not a layout of integers",
        expected=f"{expected} at character {position + 1}",
        got=repr(text[position : position + 20]) if position < len(text) else "the end",
        next_step='write a layout such as "int", "(int, int)", "[int]" or "[(int, int)]"',
    )


def flatten(layout: str, value: Any) -> list[int]:
    """The flat row of a nested value: ``flatten("[(int, int)]", [(1, 2)])`` is ``[1, 1, 2]``; LayoutError names the place.

    Lists and tuples are interchangeable; Booleans and fractions are no integers.
    """
    flat: list[int] = []
    parse_layout(layout).flatten(value, flat, "value")
    return flat


def unflatten(layout: str, integers: Sequence[int]) -> Any:
    """The nested value of a flat row, lists as lists and tuples as tuples; LayoutError names the position of the first error."""
    value, position = parse_layout(layout).unflatten(integers, 0)
    if position != len(integers):
        raise LayoutError(
            f"the value ends after integer {position}, but the row has {len(integers)}: {position + 1} is left"
        )
    return value


def scan_rows(layout: str, rows: IntegerSequences) -> Scan:
    """Which rows have the layout (``valid``, complete to their ends), which values are lengths, and where lists end."""
    n, m = len(rows), len(rows.values)
    scan = Scan(
        values=rows.values.astype(np.int64, copy=False),
        cursor=rows.offsets[:-1].copy(),
        end=rows.offsets[1:],
        valid=np.ones(n, dtype=np.bool_),
        is_length=np.zeros(m, dtype=np.bool_),
        closes=np.zeros(m + 1, dtype=np.int64),
        closes_row=np.zeros(n, dtype=np.int64),
    )
    parse_layout(layout).scan(scan, np.arange(n))
    scan.valid &= scan.cursor == scan.end
    return scan


def rows_from_brackets(
    layout: str, kind: NDArray[np.int8], values: Ints, lengths: Ints
) -> tuple[IntegerSequences, Mask]:
    """(flat rows, which of them have the layout (n,)) of n rows of items; rows without the layout are empty.

    ``kind``, ``values`` (m,): kind of each item, and its value if it is a number; ``lengths`` (n,): items of each row.
    """
    end = np.cumsum(lengths)
    brackets = np.where(kind != NUMBER, np.arange(len(kind)), len(kind))
    following = np.minimum.accumulate(np.append(brackets, len(kind))[::-1])[::-1]
    valid, list_lengths = np.ones(len(lengths), dtype=np.bool_), np.zeros(len(kind), dtype=np.int64)
    scan = BracketScan(kind, following, end - lengths, end, valid, list_lengths)
    parse_layout(layout).scan_brackets(scan, np.arange(len(lengths)))
    scan.valid &= scan.cursor == scan.end
    row = np.repeat(np.arange(len(lengths)), lengths)
    selected = scan.valid[row] & (kind != CLOSE)
    flat = np.where(kind == OPEN, scan.lengths, values)[selected]
    return IntegerSequences(flat, np.bincount(row[selected], minlength=len(lengths)).astype(np.int64)), scan.valid


def has_layout(layout: str, rows: IntegerSequences) -> Mask:
    """Which flat rows have the layout, (n,)."""
    return scan_rows(layout, rows).valid


def list_rows(values: NDArray[Any], lengths: NDArray[Any]) -> IntegerSequences:
    """Flat rows of the layout ``[int]``: ``values`` (sum of lengths,), each list after its length (n,)."""
    lengths = np.asarray(lengths, dtype=np.int64)
    flat = np.empty(len(values) + len(lengths), dtype=np.int64)
    starts = np.cumsum(lengths + 1) - (lengths + 1)
    is_value = np.ones(len(flat), dtype=np.bool_)
    is_value[starts] = False
    flat[starts], flat[is_value] = lengths, values
    return IntegerSequences(flat, lengths + 1)


def fixed_rows(values: NDArray[Any]) -> IntegerSequences:
    """Flat rows of a layout without lists, from an array (n, k)."""
    return IntegerSequences(
        np.ascontiguousarray(values, dtype=np.int64).reshape(-1),
        np.full(len(values), values.shape[1], dtype=np.int64),
    )
