"""The page that compares evaluations: accuracies, curves, outcomes, and the matrix of what was trained against what was tested."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from mathpipe.evaluate.compare.evaluations import Told, compared
from mathpipe.evaluate.compare.transfer_matrix import RULE, TrainTest, train_test_matrix
from mathpipe.evaluate.report.charts import heat_table
from mathpipe.evaluate.report.evaluation_page import reproduce
from mathpipe.evaluate.report.html import card, document, figure, percent, section, table

_MOST_FIGURES = 6


def comparison(all_told: list[Told]) -> str:
    """The whole page as HTML."""
    tasks = list(dict.fromkeys(told.metrics["task"] for told in all_told))
    title = f"{', '.join(tasks)}: {len(all_told)} evaluations"
    figures = "".join(
        figure(
            percent(told.metrics["accuracy"]),
            told.name,
            "95 %: {} to {}; {}".format(*(percent(b) for b in told.metrics["accuracy_interval"]), told.settings),
            first=told is all_told[0],
        )
        for told in all_told[:_MOST_FIGURES]
    )
    tables = compared(all_told)
    plotted = "".join(card(a) for a in tables if a.chart is not None)
    others = "".join(card(a) for a in tables if a.chart is None)
    again = "".join(f"<h3>{escape(told.name)}</h3>{reproduce(told.metadata)}<br>" for told in all_told)
    parts = [
        ("matrix", "Trained on, tested on", _matrix(train_test_matrix(all_told))),
        ("side-by-side", "Side by side", f"<div class=grid>{plotted}</div>{others}"),
        ("again", "How to do it again", again),
    ]
    kept = [(anchor, name, body) for anchor, name, body in parts if body]
    main = f"<div class=figures>{figures}</div>" + "".join(section(*part) for part in kept)
    header = f"<h1>{escape(title)}</h1><p class=soft>accuracy: {_what(all_told)}</p>"
    return document(title, [(anchor, name) for anchor, name, _ in kept], header, main)


def _what(all_told: list[Told]) -> str:
    matrices = all("by_tolerance" in told.metrics for told in all_told)
    return "share of problems with an error within 5 %" if matrices else "share of problems right by mathematics"


def _matrix(found: TrainTest | None) -> str:
    if found is None:
        return ""
    note = (
        "Accuracy in %. Rows: the spectrum, or the run, trained on; columns: the spectrum, or the split, tested on. "
        + RULE
    )
    if not found.alike:
        note += " Not all cells are decoded alike: the table below says how each is."
    columns = ["trained on", "tested on", "evaluation", "problems", "settings", "of the spec"]
    specs = _differences([told.metadata.get("spec") for _, _, told in found.filled])
    rows = [
        [row, col, told.name, told.metrics["n"], told.settings, spec]
        for (row, col, told), spec in zip(found.filled, specs, strict=True)
    ]
    drawn = heat_table(found.rows, found.cols, found.accuracy, "trained on")
    details = f"<details><summary>the evaluation of each cell</summary>{table(columns, rows)}</details>"
    return f'<div class="card wide">{drawn}<p class="note">{escape(note)}</p>{details}</div>'


def _differences(specs: list[dict[str, Any] | None]) -> list[str]:
    """What each spec of problems says where not all say the same."""
    written = [{k: json.dumps(v) for k, v in ((spec or {}).get("problems") or {}).items()} for spec in specs]
    differ = [k for k in sorted(set().union(*written)) if len({one.get(k) for one in written}) > 1]
    return [", ".join(f"{k} {one[k]}" for k in differ if k in one) for one in written]


def as_plain(all_told: list[Told]) -> dict[str, Any]:
    """The comparison as JSON: the metrics of each, and the matrix, with the directory each cell comes from."""
    plain: dict[str, Any] = {"evaluations": {told.directory: told.metrics for told in all_told}, "train_by_test": None}
    found = train_test_matrix(all_told)
    if found is not None:
        named = zip(found.rows, found.accuracy, strict=True)
        plain["train_by_test"] = {row: dict(zip(found.cols, line, strict=True)) for row, line in named}
        plain["cells"] = [[row, col, told.directory] for row, col, told in found.filled]
    return plain
