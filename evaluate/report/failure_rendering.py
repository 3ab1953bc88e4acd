"""Failures as text for a terminal and as cards of a page. How a failure looks inside depends on its problem type."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

from mathpipe.datasets.rendering.matrix_drawing import format_number
from mathpipe.evaluate.adapters.adapter import Terminal
from mathpipe.evaluate.adapters.adapter_registry import ADAPTERS
from mathpipe.evaluate.failures.failure import Failure

_SHOWN_REFERENCE_ERROR = 0.001  # from here on, the rounding of the reference is worth a remark
_MAX_COVARIATES = 6


def render_failures(
    selected: Iterable[Failure], width: int = 100, colour: bool = False, ascii_only: bool = False
) -> str:
    """Several failures, separated by blank lines."""
    return "\n\n".join("\n".join(render_failure(failure, width, colour, ascii_only)) for failure in selected)


def render_failure(failure: Failure, width: int = 100, colour: bool = False, ascii_only: bool = False) -> list[str]:
    """Lines that show one failure, below a headline."""
    terminal = Terminal(width, colour, ascii_only)
    return [_headline(failure), *ADAPTERS[failure.problem_type].render_failure(failure, terminal)]


def _headline(failure: Failure) -> str:
    outcome = failure.outcome if failure.evidence is None else f"{failure.outcome} ({failure.evidence})"
    parts = [f"row {failure.row}", *filter(None, (failure.task, failure.spectrum)), outcome]
    if failure.errors.get("error_l1") is not None:
        parts.append(f"error_l1 {failure.error:.3g}{_reference_remark(failure)}")
    if failure.log_probability is not None:
        parts.append(f"log probability {failure.log_probability:.3g}")
    return ", ".join(parts + _wrong_problem(failure))


def _reference_remark(failure: Failure) -> str:
    error = failure.reference_error_l1
    shown = error is not None and error >= _SHOWN_REFERENCE_ERROR
    return f" (rounded reference {error:.3g})" if shown else ""


def _wrong_problem(failure: Failure) -> list[str]:
    return [] if failure.confused_with is None else [f"correct for another problem: {failure.confused_with}"]


def failure_card(failure: Failure) -> str:
    """One failed problem as HTML, with a link to itself."""
    parts = [*filter(None, (failure.task, failure.spectrum, failure.evidence))]
    if failure.errors.get("error_l1") is not None:
        parts.append(f"error {failure.error:.3g}{_reference_remark(failure)}")
    if failure.log_probability is not None:
        parts.append(f"probability {math.exp(failure.log_probability):.2g}")
    if failure.correct_rank is not None:
        parts.append(f"hypothesis {failure.correct_rank + 1} is correct")
    parts += _wrong_problem(failure)
    outcome = escape(failure.outcome.replace("_", " "))
    link = f'<a href="#row-{failure.row}">row {failure.row}</a>'
    head = f'<h3><span class="tag">{outcome}</span> {", ".join([link, *map(escape, parts)])}</h3>'
    covariates = [
        f"{name.replace('_', ' ')} {format_number(value)}"
        for name, value in failure.covariates.items()
        if value is not None
    ]
    note = f'<p class="note">{escape("; ".join(covariates[:_MAX_COVARIATES]))}</p>' if covariates else ""
    content = ADAPTERS[failure.problem_type].failure_html(failure)
    return f'<article class="card failure" id="row-{failure.row}" tabindex="-1">{head}{note}{content}</article>'
