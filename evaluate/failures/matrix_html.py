"""A matrix as an HTML table in brackets."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.rendering.matrix_drawing import format_number

_MAX_LINES = 12  # rows or columns that are shown


def matrix_html(entries: NDArray[np.float64], wrong: NDArray[np.bool_] | None = None) -> str:
    """The matrix; the middle of a large one is left out, ``wrong`` entries are marked."""
    rows, cols = (_shown(size) for size in entries.shape)
    lines = []
    for i in rows:
        cells = []
        for j in cols:
            if i < 0 or j < 0:
                cells.append("<td>…</td>")
                continue
            mark = " class=wrong" if wrong is not None and wrong[i, j] else ""
            cells.append(f"<td{mark}>{escape(format_number(float(entries[i, j])).replace('-', '−'))}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table class=matrix>{''.join(lines)}</table>"


def _shown(size: int) -> list[int]:
    """Indices of the rows or columns shown; -1 stands for those left out."""
    return list(range(size)) if size <= _MAX_LINES else [*range(_MAX_LINES - 2), -1, size - 1]
