"""Parts of a page: figures, tables, cards. All text is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mathpipe.datasets.rendering.matrix_drawing import format_number
from mathpipe.evaluate.analyze.analysis import Analysis
from mathpipe.evaluate.report.charts import render_chart

_HERE = Path(__file__).parent
_MIN_FILTERED_ROWS = 6  # longer tables can be filtered

# the page loads nothing from elsewhere, whatever text it shows
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def document(title: str, nav: Sequence[tuple[str, str]], header: str, main: str) -> str:
    """A whole page. ``nav``: (anchor, name) of each section."""
    links = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name in nav)
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<header>{header}</header><nav><div>{links}</div></nav><main>{main}</main>"
        "<footer>Made by mathpipe. This page is self-contained and loads nothing from the network.</footer>"
        f"<script>{script}</script></body></html>\n"
    )


def section(anchor: str, title: str, body: str) -> str:
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{body}</section>' if body else ""


def figure(value: str, name: str, more: str = "", first: bool = False) -> str:
    """A headline figure."""
    kind = "figure first" if first else "figure"
    small = f"<small>{escape(more)}</small>" if more else ""
    return f'<div class="{kind}"><b>{escape(value)}</b><span>{escape(name)}</span>{small}</div>'


def percent(proportion: float | None, digits: int = 1) -> str:
    """0.945 as 94.5 %."""
    return "–" if proportion is None else f"{100 * proportion:.{digits}f}\N{NO-BREAK SPACE}%"


def interval(bounds: Sequence[float]) -> str:
    """A 95 % interval of a proportion."""
    low, high = bounds
    return f"95\N{NO-BREAK SPACE}%: {100 * low:.1f} to {percent(high)}"


def card(analysis: Analysis) -> str:
    """An analysis: plot, caption and table. The table is folded if there is a plot."""
    plot = render_chart(analysis)
    numbers = table(analysis.columns, analysis.rows, analysis.shares)
    inside = f"<details><summary>table</summary>{numbers}</details>" if plot else numbers
    wide = " wide" if plot is None else ""
    return (
        f'<div class="card{wide}" id="{analysis.name}"><h3>{escape(analysis.title)}</h3>{plot or ""}'
        f'<p class="note">{escape(analysis.note)}</p>{inside}</div>'
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], shares: Iterable[str] = ()) -> str:
    """A sortable table; a long one can be filtered."""
    percents = {k for k, name in enumerate(columns) if name in set(shares)}
    head = "".join(f"<th scope=col><button>{escape(_title(c))}</button></th>" for c in columns)
    body = "".join(
        "<tr>" + "".join(_cell(value, k in percents) for k, value in enumerate(row)) + "</tr>" for row in rows
    )
    field = '<input class="filter" type="search" placeholder="filter rows" aria-label="filter rows">'
    return (
        f"<div data-table>{field if len(rows) >= _MIN_FILTERED_ROWS else ''}<div class=scroll><table class=data>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></div>"
    )


def _cell(value: Any, is_share: bool) -> str:
    if value is None:
        return '<td data-v="">–</td>'
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td class=text>{escape(str(value))}</td>"
    if not math.isfinite(value):
        return f'<td data-v="{"Infinity" if value > 0 else "-Infinity"}">{"∞" if value > 0 else "–∞"}</td>'
    shown = f"{100 * value:.2f} %" if is_share else f"{value:,}" if isinstance(value, int) else format_number(value, 4)
    return f'<td data-v="{value!r}">{shown}</td>'


def _title(name: str) -> str:
    return name.replace("_", " ")
