"""Plots as SVG, drawn here: lines with their interval, bars, matrices of shares. They take their colours from the page's theme.

A plot is 440 units wide, so that its words are read on a phone as on a desk; every point tells its numbers when pointed at.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

from mathpipe.datasets.rendering.matrix_drawing import format_number
from mathpipe.evaluate.analyze.analyses import Analysis, Chart

WIDTH, HEIGHT = 440, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 42
_BAR, _GAP = 16, 8
_MOST_BARS = 16

# for a plot that stands alone; a page has its own
STYLE = """
svg.chart{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;--ink:#1d1d1b;--soft:#6b6a64;--line:#e3e2dc;
--s1:#2a78d6;--s2:#d1500f;--s3:#138a5e;--s4:#6a4fc4;--s5:#a87000;--s6:#c2417f;--paper:#fff}
@media (prefers-color-scheme:dark){svg.chart{--ink:#ecebe6;--soft:#a3a29b;--line:#3a3936;
--s1:#5b9dee;--s2:#f0803f;--s3:#3fbf8d;--s4:#a594f5;--s5:#d9a434;--s6:#ec7fb2;--paper:#1c1b19}}
svg.chart text{fill:var(--soft)} svg.chart .ink{fill:var(--ink)} svg.chart .grid{stroke:var(--line)}
svg.chart .back{fill:var(--paper)}
"""


def render_chart(analysis: Analysis, *, standalone: bool = False) -> str | None:
    """The plot of an analysis, or None where there is nothing to draw. ``standalone``: a file of its own, with its colours."""
    chart = analysis.chart
    if chart is None or not analysis.rows:
        return None
    body, height = (_lines if chart.kind == "line" else _bars)(analysis, chart)
    if body is None:
        return None
    label = escape(analysis.title, quote=True)
    inside = f'<style>{STYLE}</style><rect class="back" width="100%" height="100%"/>' if standalone else ""
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{label}">{inside}{body}</svg>'
    )


def _lines(analysis: Analysis, chart: Chart) -> tuple[str | None, int]:
    xs = [_number(x) for x in analysis.column(chart.x)]
    log = chart.log_x and all(x > 0 for x in xs if math.isfinite(x))
    kept = [k for k, x in enumerate(xs) if math.isfinite(x)]
    if len(kept) < 2:
        return None, 0
    places = [math.log10(xs[k]) if log else xs[k] for k in kept]
    first, last = min(places), max(places)
    if chart.diagonal:
        first, last = min(first, 0.0), 1.0
    span = (last - first) or 1.0
    values = [[_number(v) for v in analysis.column(name)] for name in chart.y]
    top = _top(values)
    legend = len(values) > 1 or chart.diagonal
    above = _TOP + (18 * _legend_rows(chart) if legend else 0)
    height = HEIGHT + above - _TOP

    def px(place: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (place - first) / span

    def py(value: float) -> float:
        return height - _BOTTOM - (height - _BOTTOM - above) * min(max(value / top, 0.0), 1.0)

    parts = [_y_axis(top, py), _x_axis(chart, xs, kept, places, log, px, height, (first, last))]
    if chart.diagonal:
        parts.append(
            f'<line x1="{px(max(first, 0)):.1f}" y1="{py(max(first, 0)):.1f}" x2="{px(min(1, top)):.1f}" '
            f'y2="{py(min(1, top)):.1f}" stroke="var(--soft)" stroke-dasharray="4 4"/>'
        )
    if chart.low and chart.high:
        low, high = ([_number(v) for v in analysis.column(name)] for name in (chart.low, chart.high))
        edge = [(px(p), py(high[k])) for k, p in zip(kept, places, strict=True)]
        edge += [(px(p), py(low[k])) for k, p in reversed(list(zip(kept, places, strict=True)))]
        parts.append(f'<polygon points="{_points(edge)}" fill="var(--s1)" opacity="0.16"/>')
    for series, (name, column) in reversed(list(enumerate(zip(chart.y, values, strict=True)))):
        colour = f"var(--s{series % 6 + 1})"
        at = [(px(p), py(column[k]), k) for k, p in zip(kept, places, strict=True) if math.isfinite(column[k])]
        parts.append(
            f'<polyline points="{_points([(x, y) for x, y, _ in at])}" fill="none" stroke="{colour}" '
            f'stroke-width="2" stroke-linejoin="round"{_dash(series)}/>'
        )
        for x, y, k in at:
            tooltip = f"{_title(name)}: {_share(column[k])}, {chart.x_title or chart.x} {format_number(xs[k])}"
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{escape(tooltip)}</title></circle>'
            )
    if legend:
        parts.append(_legend(chart))
    return "".join(parts), height


def _bars(analysis: Analysis, chart: Chart) -> tuple[str | None, int]:
    names = [str(n) for n in analysis.column(chart.x)][:_MOST_BARS]
    values = [_number(v) for v in analysis.column(chart.y[0])][:_MOST_BARS]
    if not names:
        return None, 0
    left = min(max(6.7 * max(len(n) for n in names) + 12, 60), 0.55 * WIDTH)
    height = _TOP + len(names) * (_BAR + _GAP) + 8
    room, top = WIDTH - left - 64, max([v for v in values if math.isfinite(v)] or [1.0]) or 1.0
    bounds = None
    if chart.low and chart.high:
        bounds = [[_number(v) for v in analysis.column(name)] for name in (chart.low, chart.high)]
        top = max(top, *(v for v in bounds[1][: len(names)]))
    parts = []
    for k, (name, value) in enumerate(zip(names, values, strict=True)):
        y = _TOP + k * (_BAR + _GAP)
        wide = room * (value if math.isfinite(value) else 0) / top
        proportion = _share(value) if analysis.shares else format_number(value)
        label = textwrap.shorten(name.replace("_", " "), int(left / 6.7), placeholder=" ...")
        parts.append(f'<text x="{left - 8:.1f}" y="{y + 12}" text-anchor="end" class="ink">{escape(label)}</text>')
        parts.append(
            f'<rect x="{left}" y="{y}" width="{max(wide, 0.5):.1f}" height="{_BAR}" rx="3" fill="var(--s1)">'
            f"<title>{escape(name)}: {proportion}</title></rect>"
        )
        end = left + wide
        if bounds is not None:
            a, b = (left + room * bounds[j][k] / top for j in (0, 1))
            end = max(end, b)
            parts.append(
                f'<path d="M{a:.1f} {y + _BAR / 2} H{b:.1f} M{a:.1f} {y + 4} v8 M{b:.1f} {y + 4} v8" '
                'stroke="var(--ink)" stroke-width="1" fill="none" opacity="0.6"/>'
            )
        parts.append(f'<text x="{end + 6:.1f}" y="{y + 12}">{proportion}</text>')
    return "".join(parts), height


def heat_table(rows: Sequence[str], cols: Sequence[str], values: Sequence[Sequence[float | None]], corner: str) -> str:
    """Shares as an HTML table, darker where larger."""
    head = "".join(f"<th scope=col>{escape(c)}</th>" for c in cols)
    lines = [f"<tr><th>{escape(corner)}</th>{head}</tr>"]
    for name, line in zip(rows, values, strict=True):
        cells = "".join(
            "<td class=none>&ndash;</td>" if v is None else f'<td style="--v:{v:.3f}">{100 * v:.1f}</td>' for v in line
        )
        lines.append(f"<tr><th scope=row>{escape(name)}</th>{cells}</tr>")
    return f"<div class=scroll><table class=heat>{''.join(lines)}</table></div>"


def _y_axis(top: float, py: Any) -> str:
    parts = []
    for k in range(5):
        value = top * k / 4
        y = py(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        digits = 0 if top >= 0.2 else 1 if top >= 0.02 else 2
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * value:.{digits}f}%</text>')
    return "".join(parts)


def _x_axis(
    chart: Chart,
    xs: list[float],
    kept: list[int],
    places: list[float],
    log: bool,
    px: Any,
    height: int,
    span: tuple[float, float],
) -> str:
    if chart.diagonal:
        ticks = [(k / 4, f"{25 * k:g}%") for k in range(5) if span[0] <= k / 4 <= span[1]]
    else:
        ticks = [(p, format_number(xs[k])) for k, p in zip(kept, places, strict=True)]
    parts, free = [], -math.inf
    for place, text in ticks:
        x, half = px(place), 3.4 * len(text)
        if x - half < free + 6:
            continue
        anchor = "end" if x + half > WIDTH - 2 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{height - _BOTTOM + 17}" text-anchor="{anchor}">{escape(text)}</text>')
        free = x + half
    note = " (log scale)" if log else ""
    title = f"{chart.x_title}{note}"
    parts.append(
        f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{height - 6}" text-anchor="middle">{escape(title)}</text>'
    )
    return "".join(parts)


def _legend_entries(chart: Chart) -> list[tuple[str, str, str]]:
    entries = [(_title(name), f"var(--s{k % 6 + 1})", _dash(k)) for k, name in enumerate(chart.y)]
    return entries + ([("as sure as right", "var(--soft)", ' stroke-dasharray="4 4"')] if chart.diagonal else [])


def _legend_places(chart: Chart) -> list[tuple[float, int]]:
    places, x, row = [], float(_LEFT), 0
    for text, _, _ in _legend_entries(chart):
        wide = 28 + 6.6 * len(text)
        if x + wide > WIDTH and x > _LEFT:
            x, row = float(_LEFT), row + 1
        places.append((x, row))
        x += wide + 6
    return places


def _legend_rows(chart: Chart) -> int:
    return _legend_places(chart)[-1][1] + 1


def _legend(chart: Chart) -> str:
    parts = []
    for (text, colour, dash), (x, row) in zip(_legend_entries(chart), _legend_places(chart), strict=True):
        y = _TOP + 2 + 18 * row
        parts.append(
            f'<line x1="{x:.0f}" x2="{x + 18:.0f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"{dash}/>'
        )
        parts.append(f'<text x="{x + 23:.0f}" y="{y + 4}" class="ink">{escape(text)}</text>')
    return "".join(parts)


def _dash(series: int) -> str:
    """Lines differ in their dashes too, for those who do not tell colours apart."""
    return ("", ' stroke-dasharray="7 3"', ' stroke-dasharray="2 3"', ' stroke-dasharray="9 3 2 3"')[series % 4]


def _top(values: list[list[float]]) -> float:
    """The upper end of an axis of shares: 1, or a round value above everything where all is small."""
    largest = max([v for column in values for v in column if math.isfinite(v)] or [1.0])
    return next((top for top in (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8) if largest <= top * 0.95), 1.0)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _points(at: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in at)


def _title(name: str) -> str:
    return name.replace("_", " ")


def _share(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{100 * value:.1f}%" if value >= 0.001 or not value else f"{100 * value:.2g}%"
