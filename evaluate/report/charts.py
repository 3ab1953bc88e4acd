"""Plots as SVG: lines with intervals, bars, and tables of proportions as heat maps.

No library serves here: these plots take a few kilobytes, follow the light or dark theme of the page and need neither script nor
network, while matplotlib fixes the colours and plotly or Vega add a script larger than the whole page.

The data choose the scale: proportions of a nearly perfect model have a logit axis, and points in place of bars.

A plot is 440 units wide, so that its text is readable on a phone, too. Every point shows its numbers in a tooltip.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from mathpipe.datasets.rendering.matrix_drawing import format_number
from mathpipe.evaluate.analyze.analysis import Analysis, Chart
from mathpipe.evaluate.report.scales import LinearScale, Scale, choose_scale, format_share, positive_scale

WIDTH, HEIGHT = 440, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 42
_BAR, _GAP = 16, 8
_MAX_BARS = 16
_MANY_POINTS = 40  # more are smaller

# of a standalone plot; a page has its own style
STYLE = """
svg.chart{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;--ink:#1d1d1b;--soft:#6b6a64;--line:#e3e2dc;
--s1:#2a78d6;--s2:#d1500f;--s3:#138a5e;--s4:#6a4fc4;--s5:#a87000;--s6:#c2417f;--paper:#fff}
@media (prefers-color-scheme:dark){svg.chart{--ink:#ecebe6;--soft:#a3a29b;--line:#3a3936;
--s1:#5b9dee;--s2:#f0803f;--s3:#3fbf8d;--s4:#a594f5;--s5:#d9a434;--s6:#ec7fb2;--paper:#1c1b19}}
svg.chart text{fill:var(--soft)} svg.chart .ink{fill:var(--ink)} svg.chart .grid{stroke:var(--line)}
svg.chart .back{fill:var(--paper)}
"""


def render_chart(analysis: Analysis, *, standalone: bool = False) -> str | None:
    """The plot of an analysis, or None if there is nothing to plot. ``standalone``: with its own style and background."""
    chart = analysis.chart
    if chart is None or not analysis.rows:
        return None
    content, height = (_lines if chart.kind == "line" else _bars)(analysis, chart)
    if content is None:
        return None
    label = escape(analysis.title, quote=True)
    style = f'<style>{STYLE}</style><rect class="back" width="100%" height="100%"/>' if standalone else ""
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{label}">{style}{content}</svg>'
    )


@dataclass(frozen=True)
class _Axes:
    """Axes of a line plot: x positions from ``first`` to ``last``, y proportions by their ``scale``.

    An x position is a number, or its decade if ``log``; beside a diagonal it is that of a proportion on the ``scale``.
    """

    first: float
    last: float
    scale: Scale
    log: bool
    upper: int  # y of the upper edge
    height: int

    def x(self, position: float) -> float:
        width = WIDTH - _LEFT - _RIGHT
        return _LEFT + width * (position - self.first) / ((self.last - self.first) or 1.0)

    def y(self, value: float) -> float:
        height = self.height - _BOTTOM - self.upper
        return self.height - _BOTTOM - height * self.scale.position(value)


def _lines(analysis: Analysis, chart: Chart) -> tuple[str | None, int]:
    xs = [_number(x) for x in analysis.column(chart.x)]
    log = chart.log_x and all(x > 0 for x in xs if math.isfinite(x))
    positions = {k: math.log10(x) if log else x for k, x in enumerate(xs) if math.isfinite(x)}  # by row
    if len(positions) < 2:
        return None, 0
    columns = [[_number(v) for v in analysis.column(name)] for name in chart.y]
    has_legend = len(columns) > 1 or chart.diagonal
    upper = _TOP + (18 * _legend_rows(chart) if has_legend else 0)
    bounds = [[_number(v) for v in analysis.column(name)] for name in (chart.high, chart.low) if name]
    scale = _scale(chart, xs, columns, bounds) if set(chart.y) <= set(analysis.shares) else _values_scale(columns)
    if chart.diagonal:
        positions = {k: scale.position(x) for k, x in positions.items()}
    first, last = (0.0, 1.0) if chart.diagonal else (min(positions.values()), max(positions.values()))
    axes = _Axes(first, last, scale, log, upper, HEIGHT + upper - _TOP)
    parts = [_y_axis(axes), _x_axis(chart, xs, positions, axes)]
    if chart.diagonal:
        parts.append(_diagonal(axes))
    if len(bounds) == 2:
        edge = [(axes.x(position), axes.y(bounds[0][k])) for k, position in positions.items()]
        edge += [(axes.x(position), axes.y(bounds[1][k])) for k, position in reversed(positions.items())]
        parts.append(f'<polygon points="{_points(edge)}" fill="var(--s1)" opacity="0.16"/>')
    for series, (name, column) in reversed(list(enumerate(zip(chart.y, columns, strict=True)))):
        parts.append(_series(chart, name, series, column, xs, positions, axes))
    if has_legend:
        parts.append(_legend(chart))
    return "".join(parts), axes.height


def _series(
    chart: Chart,
    name: str,
    series: int,
    column: list[float],
    xs: list[float],
    positions: dict[int, float],
    axes: _Axes,
) -> str:
    """One line and its points."""
    colour = f"var(--s{series % 6 + 1})"
    points = [(axes.x(p), axes.y(column[k]), k) for k, p in positions.items() if math.isfinite(column[k])]
    radius = 3 if len(points) <= _MANY_POINTS else 1.5
    parts = [
        f'<polyline points="{_points([(x, y) for x, y, _ in points])}" fill="none" stroke="{colour}" '
        f'stroke-width="2" stroke-linejoin="round"{_dash(series)}/>'
    ]
    for x, y, k in points:
        tooltip = f"{_title(name)}: {axes.scale.text(column[k])}, {chart.x_title or chart.x} {format_number(xs[k])}"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"><title>{escape(tooltip)}</title></circle>'
        )
    return "".join(parts)


def _diagonal(axes: _Axes) -> str:
    """Straight, since both axes have one scale."""
    return (
        f'<line x1="{axes.x(0):.1f}" y1="{axes.height - _BOTTOM}" x2="{axes.x(1):.1f}" y2="{axes.upper}" '
        'stroke="var(--soft)" stroke-dasharray="4 4"/>'
    )


def _bars(analysis: Analysis, chart: Chart) -> tuple[str | None, int]:
    """Horizontal bars; on a logit scale, where the length of a bar has no meaning, points with an axis below them."""
    names = [str(n) for n in analysis.column(chart.x)][:_MAX_BARS]
    values = [_number(v) for v in analysis.column(chart.y[0])][:_MAX_BARS]
    if not names:
        return None, 0
    bounds = [[_number(v) for v in analysis.column(name)][:_MAX_BARS] for name in (chart.low, chart.high) if name]
    smallest = min([v for v in values if v > 0], default=1.0)  # rare outcomes must be visible
    scale = choose_scale(values, [v for column in bounds for v in column], smallest / 2) if analysis.shares else None
    is_log = scale is not None and scale.is_log
    left = min(max(6.7 * max(len(n) for n in names) + 12, 60), 0.55 * WIDTH)
    available = WIDTH - left - 72
    largest = max([v for v in (*values, *(bounds[1] if bounds else ())) if math.isfinite(v)] or [1.0]) or 1.0
    bottom = _TOP + len(names) * (_BAR + _GAP)

    def x(value: float) -> float:
        value = value if math.isfinite(value) else 0.0
        return left + available * (scale.position(value) if is_log and scale is not None else value / largest)

    parts = [_bar_axis(scale, x, bottom)] if is_log and scale is not None else []
    for k, (name, value) in enumerate(zip(names, values, strict=True)):
        y = _TOP + k * (_BAR + _GAP)
        text = format_share(value) if analysis.shares else format_number(value)
        label = textwrap.shorten(name.replace("_", " "), int(left / 6.7), placeholder=" ...")
        parts.append(f'<text x="{left - 8:.1f}" y="{y + 12}" text-anchor="end" class="ink">{escape(label)}</text>')
        tooltip = f"<title>{escape(name)}: {text}</title>"
        parts.append(_mark(x(value), left, y, tooltip, is_point=is_log))
        end = x(value) + (4 if is_log else 0)
        if len(bounds) == 2:
            a, b = x(bounds[0][k]), x(bounds[1][k])
            end = max(end, b)
            parts.append(
                f'<path d="M{a:.1f} {y + _BAR / 2} H{b:.1f} M{a:.1f} {y + 4} v8 M{b:.1f} {y + 4} v8" '
                'stroke="var(--ink)" stroke-width="1" fill="none" opacity="0.6"/>'
            )
        parts.append(f'<text x="{end + 6:.1f}" y="{y + 12}">{text}</text>')
    return "".join(parts), bottom + (36 if is_log else 8)


def _mark(x: float, left: float, y: float, tooltip: str, *, is_point: bool) -> str:
    """A bar from the left edge to x, or a point at x."""
    if is_point:
        return f'<circle cx="{x:.1f}" cy="{y + _BAR / 2}" r="4.5" fill="var(--s1)">{tooltip}</circle>'
    width = max(x - left, 0.5)
    return f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="3" fill="var(--s1)">{tooltip}</rect>'


def _bar_axis(scale: Scale, x: Callable[[float], float], bottom: int) -> str:
    """Grid lines of a logit scale below the bars, with labels that do not overlap."""
    parts, previous_end = [], -math.inf
    for value, text in scale.ticks():
        parts.append(f'<line class="grid" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{_TOP - 4}" y2="{bottom}"/>')
        half = 3.6 * len(text)
        if x(value) - half > previous_end + 6:
            parts.append(f'<text x="{x(value):.1f}" y="{bottom + 15}" text-anchor="middle">{escape(text)}</text>')
            previous_end = x(value) + half
    middle = (x(0) + x(1)) / 2
    parts.append(f'<text x="{middle:.1f}" y="{bottom + 30}" text-anchor="middle">logit scale</text>')
    return "".join(parts)


def heat_table(rows: Sequence[str], cols: Sequence[str], values: Sequence[Sequence[float | None]], corner: str) -> str:
    """Proportions as an HTML table, darker if larger."""
    head = "".join(f"<th scope=col>{escape(c)}</th>" for c in cols)
    lines = [f"<tr><th>{escape(corner)}</th>{head}</tr>"]
    for name, line in zip(rows, values, strict=True):
        cells = "".join(
            "<td class=none>&ndash;</td>" if v is None else f'<td style="--v:{v:.3f}">{100 * v:.1f}</td>' for v in line
        )
        lines.append(f"<tr><th scope=row>{escape(name)}</th>{cells}</tr>")
    return f"<div class=scroll><table class=heat>{''.join(lines)}</table></div>"


def _scale(chart: Chart, xs: list[float], columns: list[list[float]], bounds: list[list[float]]) -> Scale:
    """The scale of the y axis; beside a diagonal of both axes, where a linear one goes up to 1.

    The first series chooses it: a reference beside it may be perfect where the model is not.
    """
    others = [v for column in [*columns[1:], *bounds] for v in column]
    scale = choose_scale(columns[0], [*others, *(xs if chart.diagonal else [])])
    return LinearScale() if chart.diagonal and not scale.is_log else scale


def _values_scale(columns: list[list[float]]) -> Scale:
    """The scale of numbers that are no proportions."""
    return positive_scale(v for column in columns for v in column)


def _y_axis(axes: _Axes) -> str:
    """Grid lines, with labels that do not overlap."""
    parts, previous_y = [], math.inf
    for value, text in axes.scale.ticks():
        y = axes.y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        if y < previous_y - 13:
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>')
            previous_y = y
    return "".join(parts)


def _x_axis(chart: Chart, xs: list[float], positions: dict[int, float], axes: _Axes) -> str:
    """Tick labels that do not overlap, and the title."""
    if chart.diagonal:
        ticks = [(axes.scale.position(value), text) for value, text in axes.scale.ticks()]
    else:
        ticks = [(position, format_number(xs[k])) for k, position in positions.items()]
    parts, previous_end = [], -math.inf
    for position, text in ticks:
        x, width = axes.x(position), 7.2 * len(text)
        anchor, end = ("end", x) if x + width / 2 > WIDTH - 2 else ("middle", x + width / 2)
        if end - width < previous_end + 10:
            continue
        parts.append(f'<text x="{x:.1f}" y="{axes.height - _BOTTOM + 17}" text-anchor="{anchor}">{escape(text)}</text>')
        previous_end = end
    logit = "both axes: logit scale" if chart.diagonal else "proportions: logit scale"
    title = f"{chart.x_title}{' (log scale)' if axes.log else ''}{f'; {logit}' if axes.scale.is_log else ''}"
    center = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{center}" y="{axes.height - 6}" text-anchor="middle">{escape(title)}</text>')
    return "".join(parts)


def _legend_entries(chart: Chart) -> list[tuple[str, str, str]]:
    entries = [(_title(name), f"var(--s{k % 6 + 1})", _dash(k)) for k, name in enumerate(chart.y)]
    return entries + ([("perfect calibration", "var(--soft)", ' stroke-dasharray="4 4"')] if chart.diagonal else [])


def _legend_positions(chart: Chart) -> list[tuple[float, int]]:
    """(x, row) of each entry of the legend."""
    positions, x, row = [], float(_LEFT), 0
    for text, _, _ in _legend_entries(chart):
        width = 28 + 6.6 * len(text)
        if x + width > WIDTH and x > _LEFT:
            x, row = float(_LEFT), row + 1
        positions.append((x, row))
        x += width + 6
    return positions


def _legend_rows(chart: Chart) -> int:
    return _legend_positions(chart)[-1][1] + 1


def _legend(chart: Chart) -> str:
    parts = []
    for (text, colour, dash), (x, row) in zip(_legend_entries(chart), _legend_positions(chart), strict=True):
        y = _TOP + 2 + 18 * row
        parts.append(
            f'<line x1="{x:.0f}" x2="{x + 18:.0f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"{dash}/>'
        )
        parts.append(f'<text x="{x + 23:.0f}" y="{y + 4}" class="ink">{escape(text)}</text>')
    return "".join(parts)


def _dash(series: int) -> str:
    """Lines differ in their dashes, too, for readers who cannot distinguish the colours."""
    return ("", ' stroke-dasharray="7 3"', ' stroke-dasharray="2 3"', ' stroke-dasharray="9 3 2 3"')[series % 4]


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _points(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _title(name: str) -> str:
    return name.replace("_", " ")
