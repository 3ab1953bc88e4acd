"""The section of failures: cards that the page filters by outcome and covariate, sorts, and links to by row (``#row-12``).

The values that are filtered stand in one block of JSON beside the cards; without a script all cards are shown, the worst first.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from mathpipe.datasets.rendering.plurals import counted
from mathpipe.evaluate.analyze.evaluation_data import column_label
from mathpipe.evaluate.failures.failure import Failure
from mathpipe.evaluate.failures.shown_failures import ShownFailures
from mathpipe.evaluate.report.failure_rendering import failure_card

MAX_BYTES = 400_000  # of the cards that chance selected: a page should open at once
_TEXTS = ("outcome", "evidence", "task", "spectrum", "confused_with")
_REASONS = {"worst": "the {} worst", "typical": "{} typical", "sampled": "{} selected by chance"}


def failure_browser(shown: ShownFailures, worst_order: str, location: str) -> str:
    """The section as HTML, empty if nothing failed. ``location``: what to call with ``mathpipe failures`` for all of them."""
    failures, cards, size = list[tuple[str, Failure]](), list[str](), 0
    for reason, failure in shown.selected():
        card = failure_card(failure)
        size += len(card) if reason == "sampled" else 0
        if size > MAX_BYTES:
            break
        failures.append((reason, failure))
        cards.append(card)
    if not failures:
        return ""
    counts = Counter(reason for reason, _ in failures)
    parts = ", ".join(text.format(counts[reason]) for reason, text in _REASONS.items() if counts[reason])
    note = f"{counted(shown.total, 'failure')}; this page holds {parts}. Worst: {worst_order}"
    return (
        f'<p class="note">{escape(note)}</p>{_controls([failure for _, failure in failures], location)}'
        f'<div class="grid failures">{"".join(cards)}</div>'
        '<p class="more"><button type="button" id="more">Show more</button></p>'
        f'<script type="application/json" id="failure-values">{_values(failures)}</script>'
    )


def _controls(failures: Sequence[Failure], location: str) -> str:
    """The form above the cards; hidden without a script."""
    texts = "".join(_text_filter(name, failures) for name in _TEXTS)
    names = _numeric_names(failures)
    options = "".join(f'<option value="{name}">{escape(column_label(name))}</option>' for name in names)
    orders = '<option value="">worst first</option><option value="reason">typical first</option>'
    orders += '<option value="row">row</option>' + "".join(
        f'<option value="{sign}{name}">{escape(column_label(name))}, {extreme} first</option>'
        for name in names
        for sign, extreme in (("-", "largest"), ("+", "smallest"))
    )
    return (
        f'<form id="failure-filter" class="filters" hidden data-location="{escape(location, quote=True)}">{texts}'
        f'<label>covariate <select name="covariate"><option value="">any</option>{options}</select></label>'
        '<label>from <input name="from" type="number" step="any" size="8"></label>'
        '<label>to <input name="to" type="number" step="any" size="8"></label>'
        f'<label>order <select name="order">{orders}</select></label>'
        '<button type="reset">Reset</button><output aria-live="polite"></output>'
        '<p class="note">All failures, also those that are not on this page: <code></code></p></form>'
    )


def _text_filter(name: str, failures: Sequence[Failure]) -> str:
    """A choice among the values of a field; nothing where there is only one."""
    counts = Counter(str(failure.value(name)) for failure in failures if failure.value(name) is not None)
    if len(counts) < 2:
        return ""
    options = "".join(
        f'<option value="{escape(value, quote=True)}">{escape(value.replace("_", " "))} ({count})</option>'
        for value, count in counts.most_common()
    )
    label = escape(name.replace("_", " "))
    return f'<label>{label} <select data-field="{name}"><option value="">any</option>{options}</select></label>'


def _numbers(failure: Failure) -> dict[str, float | None]:
    return {**failure.covariates, **failure.errors, "log_probability": failure.log_probability}


def _numeric_names(failures: Sequence[Failure]) -> list[str]:
    """The columns of numbers that differ between the failures."""
    values: dict[str, set[float | None]] = {}
    for failure in failures:
        for name, value in _numbers(failure).items():
            values.setdefault(name, set()).add(value)
    return [name for name, column in values.items() if len(column - {None}) > 1]


def _values(failures: Sequence[tuple[str, Failure]]) -> str:
    """JSON: the values of each card by its row. ``<`` is escaped, so that no text ends the block."""
    names = _numeric_names([failure for _, failure in failures])
    records: dict[int, dict[str, Any]] = {}
    for reason, failure in failures:
        texts = {name: failure.value(name) for name in _TEXTS if failure.value(name) is not None}
        numbers = {name: value for name, value in _numbers(failure).items() if name in names and _is_finite(value)}
        records[failure.row] = {"reason": reason, **texts, **numbers}
    return json.dumps(records, separators=(",", ":")).replace("<", "\\u003c")


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
