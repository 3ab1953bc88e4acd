"""Render matrices for a terminal: brackets, aligned decimal points, 3 significant digits; large matrices are elided.

::

    problem          inverse
    ⎡ 3.14  -0.5 ⎤   ⎡ 0.318  0.0159 ⎤
    ⎣ 0     10   ⎦   ⎣ 0      0.1    ⎦

The result is a list of lines of equal visible width. Plain text; colour only on request.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mathpipe.datasets.containers.array_types import Floats, Mask

Lines = list[str]

_RED, _PLAIN = "\x1b[31m", "\x1b[0m"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Glyphs(NamedTuple):
    """Brackets (left, right) of the first, middle, last and a single line, and the ellipses of elided columns and rows."""

    first: str
    middle: str
    last: str
    single: str
    across: str
    down: str


UNICODE = Glyphs("⎡⎤", "⎢⎥", "⎣⎦", "[]", "…", "⋮")
ASCII = Glyphs("[]", "[]", "[]", "[]", "..", ":")


def format_number(value: float, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits without trailing zeros: plain from 1e-4 to 1e6, else scientific.

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


def render_matrix(
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

    ``marked`` (r, c): entries shown in red if ``colour`` is set. A matrix without entries is ``[]``.
    """
    array = np.atleast_2d(np.asarray(matrix, dtype=np.float64))
    if array.ndim != 2:
        raise ValueError(f"expected one matrix (r, c), got shape {array.shape}")
    rows, cols = _visible_indices(array.shape[0], max_rows), _visible_indices(array.shape[1], max_cols)
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
    return [_bracket(line, len(rows), [column[line] for column in columns], glyphs) for line in range(len(rows))]


def matrix_to_latex(matrix: ArrayLike, digits: int = 3) -> str:
    """``\\begin{pmatrix} 3.14 & -0.5 \\\\ 0 & 10 \\end{pmatrix}``, every entry to ``digits`` significant digits."""
    rows = np.atleast_2d(np.asarray(matrix, dtype=np.float64))
    body = " \\\\ ".join(" & ".join(_number_to_latex(float(x), digits) for x in row) for row in rows)
    return f"\\begin{{pmatrix}} {body} \\end{{pmatrix}}"


def _number_to_latex(value: float, digits: int) -> str:
    mantissa, _, exponent = format_number(value, digits).partition("e")
    return f"{mantissa} \\cdot 10^{{{int(exponent)}}}" if exponent else mantissa


def side_by_side(blocks: Sequence[tuple[str, Lines]], *, gap: int = 3, width: int | None = None) -> Lines:
    """Arrange captioned blocks beside each other, tops aligned; those that do not fit in ``width`` go below.

    A single block is never truncated.
    """
    lines: Lines = []
    for group in _groups(blocks, gap, width):
        height = max(len(block) for _, block in group)
        pieces = []
        for caption, block in group:
            block_width = _block_width(caption, block)
            pieces.append([_pad(line, block_width) for line in [caption, *block, *[""] * (height - len(block))]])
        lines += [(" " * gap).join(line).rstrip() for line in zip(*pieces, strict=True)]
    return lines


def visible_width(line: str) -> int:
    """Number of characters of a line without its colour codes."""
    return len(_COLOUR.sub("", line))


def _visible_indices(count: int, limit: int) -> list[int]:
    """Indices to show: all, or the first ones, -1 for the elided middle, and the last."""
    if count <= max(limit, 2):
        return list(range(count))
    return [*range(max(limit, 2) - 1), -1, count - 1]


def _column(array: Floats, rows: list[int], j: int, digits: int, glyphs: Glyphs) -> Lines:
    """The entries of column j as texts of equal width with aligned decimal points."""
    if j < 0:
        return [glyphs.across] * len(rows)
    texts = ["" if i < 0 else format_number(float(array[i, j]), digits) for i in rows]
    integer_parts = [re.split(r"[.e]", text, maxsplit=1)[0] for text in texts]
    integer_width = max(len(part) for part in integer_parts)
    padded = [" " * (integer_width - len(part)) + text for part, text in zip(integer_parts, texts, strict=True)]
    width = max(len(text) for text in padded)
    return [
        (glyphs.down.rjust(integer_width) if i < 0 else text).ljust(width) for i, text in zip(rows, padded, strict=True)
    ]


def _bracket(line: int, count: int, texts: Lines, glyphs: Glyphs) -> str:
    if count == 1:
        pair = glyphs.single
    else:
        pair = glyphs.first if line == 0 else glyphs.last if line == count - 1 else glyphs.middle
    return f"{pair[0]} {'  '.join(texts)} {pair[1]}"


def _block_width(caption: str, block: Lines) -> int:
    return max(visible_width(line) for line in [caption, *block])


def _groups(blocks: Sequence[tuple[str, Lines]], gap: int, width: int | None) -> list[list[tuple[str, Lines]]]:
    groups: list[list[tuple[str, Lines]]] = []
    line_width = 0
    for caption, block in blocks:
        block_width = _block_width(caption, block)
        if groups and (width is None or line_width + gap + block_width <= width):
            groups[-1].append((caption, block))
            line_width += gap + block_width
        else:
            groups.append([(caption, block)])
            line_width = block_width
    return groups


def _pad(line: str, width: int) -> str:
    return line + " " * (width - visible_width(line))
