"""Matrices drawn for a terminal: brackets, decimals aligned column by column, 3 significant digits, elided when large.

::

    problem          inverse
    ⎡ 3.14  -0.5 ⎤   ⎡ 0.318  0.0159 ⎤
    ⎣ 0     10   ⎦   ⎣ 0      0.1    ⎦

A drawing is a list of lines of equal visible width. Plain text; colour only where asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Mask = NDArray[np.bool_]
Lines = list[str]

_RED, _PLAIN = "\x1b[31m", "\x1b[0m"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Glyphs(NamedTuple):
    """Brackets (left, right) of a first, middle, last and single line, and the marks of what is left out."""

    first: str
    middle: str
    last: str
    single: str
    across: str
    down: str


UNICODE = Glyphs("⎡⎤", "⎢⎥", "⎣⎦", "[]", "…", "⋮")
ASCII = Glyphs("[]", "[]", "[]", "[]", "..", ":")


def format_number(value: float, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits: plain from 1e-4 to 1e6, else scientific; no zeros at the end.

    >>> [format_number(x) for x in (3.14159, -0.05, 1234567.0, 1e-7, 12000.0, -0.0)]
    ['3.14', '-0.05', '1.23e+06', '1e-07', '12000', '0']
    """
    if value == 0:
        return "0"
    if not np.isfinite(value):
        return str(float(value))
    scientific = f"{value:.{digits - 1}e}"
    mantissa, exponent = scientific.split("e")
    if -4 <= int(exponent) < 6:
        plain = f"{float(scientific):.{max(digits - 1 - int(exponent), 0)}f}"
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{exponent}"


def draw_matrix(
    matrix: ArrayLike,
    *,
    digits: int = 3,
    max_rows: int = 12,
    max_cols: int = 12,
    marked: Mask | None = None,
    colour: bool = False,
    glyphs: Glyphs = UNICODE,
) -> Lines:
    """The lines of ``matrix`` (r, c). Beyond ``max_rows`` x ``max_cols`` entries the middle is elided.

    ``marked`` (r, c): entries to draw in red, which happens only with ``colour``. A matrix without entries is ``[]``.
    """
    array = np.atleast_2d(np.asarray(matrix, dtype=np.float64))
    if array.ndim != 2:
        raise ValueError(f"expected one matrix (r, c), got shape {array.shape}")
    rows, cols = _kept(array.shape[0], max_rows), _kept(array.shape[1], max_cols)
    if not array.size:
        return [glyphs.single]
    columns = [_column(array, rows, j, digits, glyphs) for j in cols]
    if marked is not None and colour:
        columns = [
            [
                f"{_RED}{text}{_PLAIN}" if i >= 0 and j >= 0 and marked[i, j] else text
                for i, text in zip(rows, column, strict=True)
            ]
            for j, column in zip(cols, columns, strict=True)
        ]
    return [_bracketed(place, len(rows), [column[place] for column in columns], glyphs) for place in range(len(rows))]


def side_by_side(blocks: Sequence[tuple[str, Lines]], *, gap: int = 3, width: int | None = None) -> Lines:
    """Captioned drawings beside each other, tops aligned; those that do not fit in ``width`` go below.

    One drawing alone is never cut, however wide.
    """
    lines: Lines = []
    for group in _groups(blocks, gap, width):
        height = max(len(drawing) for _, drawing in group)
        pieces = []
        for caption, drawing in group:
            wide = _block_width(caption, drawing)
            pieces.append([_pad(line, wide) for line in [caption, *drawing, *[""] * (height - len(drawing))]])
        lines += [(" " * gap).join(line).rstrip() for line in zip(*pieces, strict=True)]
    return lines


def visible_width(line: str) -> int:
    """Characters of a line without its colour codes."""
    return len(_COLOUR.sub("", line))


def _kept(count: int, limit: int) -> list[int]:
    """Indices to draw, with -1 where the middle is left out: the first ones and the last."""
    if count <= max(limit, 2):
        return list(range(count))
    return [*range(max(limit, 2) - 1), -1, count - 1]


def _column(array: NDArray[np.float64], rows: list[int], j: int, digits: int, glyphs: Glyphs) -> Lines:
    """The texts of column j in equal width, decimal points below each other."""
    if j < 0:
        return [glyphs.across] * len(rows)
    texts = ["" if i < 0 else format_number(float(array[i, j]), digits) for i in rows]
    heads = [re.split(r"[.e]", text, maxsplit=1)[0] for text in texts]
    before = max(len(head) for head in heads)
    padded = [" " * (before - len(head)) + text for head, text in zip(heads, texts, strict=True)]
    wide = max(len(text) for text in padded)
    return [(glyphs.down.rjust(before) if i < 0 else text).ljust(wide) for i, text in zip(rows, padded, strict=True)]


def _bracketed(place: int, count: int, texts: Lines, glyphs: Glyphs) -> str:
    if count == 1:
        pair = glyphs.single
    else:
        pair = glyphs.first if place == 0 else glyphs.last if place == count - 1 else glyphs.middle
    return f"{pair[0]} {'  '.join(texts)} {pair[1]}"


def _block_width(caption: str, drawing: Lines) -> int:
    return max(visible_width(line) for line in [caption, *drawing])


def _groups(blocks: Sequence[tuple[str, Lines]], gap: int, width: int | None) -> list[list[tuple[str, Lines]]]:
    groups: list[list[tuple[str, Lines]]] = []
    used = 0
    for caption, drawing in blocks:
        wide = _block_width(caption, drawing)
        if groups and (width is None or used + gap + wide <= width):
            groups[-1].append((caption, drawing))
            used += gap + wide
        else:
            groups.append([(caption, drawing)])
            used = wide
    return groups


def _pad(line: str, width: int) -> str:
    return line + " " * (width - visible_width(line))
