"""Pieces of a page: figures, tables, cards, failures. Whatever comes from outside is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.rendering.matrix_drawing import format_number
from mathpipe.evaluate.analyze.analyses import Analysis
from mathpipe.evaluate.failures.failure_dump import Failure
from mathpipe.evaluate.failures.failure_rendering import format_expression
from mathpipe.evaluate.report.charts import render_chart

_HERE = Path(__file__).parent
_FILTER_FROM = 6  # rows from which a table can be filtered
_LARGEST = 12  # rows or columns of a matrix that are drawn
_LONGEST = 400  # characters of a formula

# nothing may be loaded from anywhere, by whatever came into the page
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def document(title: str, nav: Sequence[tuple[str, str]], header: str, main: str) -> str:
    """A whole page. ``nav``: (anchor, name)."""
    links = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name in nav)
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<header>{header}</header><nav><div>{links}</div></nav><main>{main}</main>"
        "<footer>Written by mathpipe. This page holds everything it shows and asks no network.</footer>"
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
    return "–" if proportion is None else f"{100 * proportion:.{digits}f} %"


def card(analysis: Analysis) -> str:
    """An analysis: plot, note, and its table behind a click where there is a plot."""
    plot = render_chart(analysis)
    numbers = table(analysis.columns, analysis.rows, analysis.shares)
    inside = f"<details><summary>table</summary>{numbers}</details>" if plot else numbers
    wide = " wide" if plot is None else ""
    return (
        f'<div class="card{wide}" id="{analysis.name}"><h3>{escape(analysis.title)}</h3>{plot or ""}'
        f'<p class="note">{escape(analysis.note)}</p>{inside}</div>'
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], shares: Iterable[str] = ()) -> str:
    """A table that can be sorted, and filtered where it is long."""
    percents = {k for k, name in enumerate(columns) if name in set(shares)}
    head = "".join(f"<th scope=col><button>{escape(_title(c))}</button></th>" for c in columns)
    body = "".join(
        "<tr>" + "".join(_cell(value, k in percents) for k, value in enumerate(row)) + "</tr>" for row in rows
    )
    field = '<input class="filter" type="search" placeholder="filter rows" aria-label="filter rows">'
    return (
        f"<div data-table>{field if len(rows) >= _FILTER_FROM else ''}<div class=scroll><table class=data>"
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


def failure(failed: Failure) -> str:
    """One failed problem, as matrices or as formulas."""
    parts = [f"row {failed.row}", *filter(None, (failed.task, failed.spectrum))]
    if failed.errors.get("error_l1") is not None:
        parts.append(f"error {failed.error:.3g}")
        if failed.reference_error_l1 is not None and failed.reference_error_l1 >= 0.001:
            parts.append(f"the reference's own {failed.reference_error_l1:.3g}")
    if failed.log_probability is not None:
        parts.append(f"probability {math.exp(failed.log_probability):.2g}")
    if failed.correct_rank is not None:
        parts.append(f"hypothesis {failed.correct_rank + 1} is right")
    if failed.confused_with is not None:
        parts.append(f"right for another problem: {failed.confused_with}")
    said = [f"{_title(k)} {format_number(v)}" for k, v in failed.covariates.items() if v is not None][:6]
    name = escape(failed.outcome.replace("_", " "))
    head = f'<h3><span class="tag">{name}</span> {escape(", ".join(parts))}</h3>'
    more = f'<p class="note">{escape("; ".join(said))}</p>' if said else ""
    body = _formulas(failed) if isinstance(failed.problem, str) else _matrices(failed)
    return f'<div class="card failure">{head}{more}{body}</div>'


def _matrices(failed: Failure) -> str:
    problem, reference = np.asarray(failed.problem, dtype=float), np.asarray(failed.reference, dtype=float)
    wrong = None
    if failed.decoded is not None and failed.residual is not None:
        wrong = np.abs(failed.decoded - reference) > 0.05 * np.abs(reference).max()
    shown = [("problem", matrix(problem)), ("reference", matrix(reference))]
    if failed.decoded is not None:
        shown.append(("prediction", matrix(failed.decoded, wrong)))
    if failed.residual is not None:
        shown.append((f"residual {failed.residual_formula}", matrix(failed.residual)))
    drawn = "".join(
        f"<figure><figcaption>{escape(name)}</figcaption><div class=scroll>{m}</div></figure>" for name, m in shown
    )
    words = "" if failed.decoded is not None else _said(failed.prediction)
    return f"<div class=matrices>{drawn}</div>{words}"


def _formulas(failed: Failure) -> str:
    lines = []
    for name, words in (
        ("problem", failed.problem),
        ("reference", failed.reference),
        ("prediction", failed.prediction),
    ):
        text = _short(format_expression(str(words)) or "(no words)")
        lines.append(f"<dt>{name}</dt><dd class=formula>{escape(text)}</dd>")
    return f"<dl>{''.join(lines)}</dl>"


def _said(prediction: str) -> str:
    return f'<p class="words">{escape(_short(prediction or "(no words)"))}</p>'


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def matrix(entries: NDArray[np.float64], wrong: NDArray[np.bool_] | None = None) -> str:
    """A matrix in brackets; the middle of a large one is left out, wrong entries are marked."""
    rows, cols = (_kept(size) for size in entries.shape)
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


def _kept(size: int) -> list[int]:
    return list(range(size)) if size <= _LARGEST else [*range(_LARGEST - 2), -1, size - 1]


def _title(name: str) -> str:
    return name.replace("_", " ")
