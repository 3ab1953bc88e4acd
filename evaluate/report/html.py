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
from mathpipe.evaluate.report.scales import format_share

_HERE = Path(__file__).parent
_MIN_FILTERED_ROWS = 6  # longer tables can be filtered

# the page loads nothing from elsewhere, whatever text it shows
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
# before anything is painted
_THEME = (
    'try{const theme=localStorage.getItem("mathpipe-theme");'
    'if(theme==="light"||theme==="dark")document.documentElement.dataset.theme=theme}catch{}'
)
_KEYS = {
    "j": "next failure",
    "k": "previous failure",
    "/": "to the filter of failures",
    "t": "light or dark",
    "?": "this list",
}


def document(
    title: str,
    nav: Sequence[tuple[str, str]],
    header: str,
    main: str,
    *,
    scripts: Sequence[str] = ("script.js",),
    policy: str = _POLICY,
    footer: str = "Made by mathpipe. This page is self-contained and loads nothing from the network.",
) -> str:
    """A whole page. ``nav``: (anchor, name) of each section; ``scripts``: files beside this one, run in order."""
    links = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name in nav)
    style, *code = ((_HERE / name).read_text(encoding="utf-8") for name in ("style.css", *scripts))
    buttons = '<button type="button" id="show-keys">Keys</button><button type="button" id="theme">Dark</button>'
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style><script>{_THEME}</script></head><body>"
        f'<a class="skip" href="#main">To the content</a><header>{header}</header>'
        f'<nav><div><div class="links">{links}</div>{buttons}</div></nav><main id="main">{main}</main>'
        f"<footer>{escape(footer)}</footer>{_keys()}"
        f"{''.join(f'<script>{text}</script>' for text in code)}</body></html>\n"
    )


def _keys() -> str:
    """The list of keys, shown on demand."""
    entries = "".join(f"<dt><kbd>{key}</kbd></dt><dd>{text}</dd>" for key, text in _KEYS.items())
    return f'<dialog id="keys"><h3>Keys</h3><dl>{entries}</dl><form method="dialog"><p></p><button>Close</button></form></dialog>'


def section(anchor: str, title: str, body: str) -> str:
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{body}</section>' if body else ""


def figure(value: str, name: str, more: str = "", first: bool = False) -> str:
    """A headline figure."""
    kind = "figure first" if first else "figure"
    small = f"<small>{escape(more)}</small>" if more else ""
    return f'<div class="{kind}"><b>{escape(value)}</b><span>{escape(name)}</span>{small}</div>'


def percent(proportion: float | None) -> str:
    """0.945 as 94.5 %; as many digits as tell a proportion from 0 and 1."""
    return "–" if proportion is None else format_share(proportion).replace("%", "\N{NO-BREAK SPACE}%")


def interval(bounds: Sequence[float]) -> str:
    """A 95 % interval of a proportion."""
    low, high = bounds
    return f"95\N{NO-BREAK SPACE}%: {format_share(low)[:-1]} to {percent(high)}"


def card(analysis: Analysis) -> str:
    """An analysis: plot, caption and table. The table is folded if there is a plot."""
    plot = render_chart(analysis)
    numbers = table(analysis.columns, analysis.rows, analysis.shares)
    inside = f"<details><summary>table</summary>{numbers}</details>" if plot else numbers
    wide = " wide" if plot is None else ""
    content = f'<h3>{escape(analysis.title)}</h3>{plot or ""}<p class="note">{escape(analysis.note)}</p>{inside}'
    return f'<div class="card{wide}" id="{analysis.name}"><div class="{"plotted" if plot else "tabled"}">{content}</div></div>'


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
