"""The page that compares evaluations: accuracies, curves, outcomes, and the matrix of what was trained against what was tested."""

from __future__ import annotations

import json
from html import escape

from mathpipe.evaluate.charts import heat_table
from mathpipe.evaluate.compare import Told, compared, train_test_matrix
from mathpipe.evaluate.report.html import card, document, figure, percent, section
from mathpipe.evaluate.report.page import reproduce

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
        ("matrix", "Trained on, tested on", _matrix(all_told)),
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


def _matrix(all_told: list[Told]) -> str:
    found = train_test_matrix(all_told)
    if found is None:
        return ""
    rows, cols, cells = found
    note = "Accuracy in %. Rows: the spectrum, or the run, trained on; columns: the spectrum, or the split, tested on."
    drawn = heat_table(rows, cols, cells, "trained on")
    laws = [json.dumps(told.metadata.get("law", {}).get("operands"), sort_keys=True) for told in all_told]
    listed = "".join(f"<dt>{escape(t.name)}</dt><dd>{escape(law)}</dd>" for t, law in zip(all_told, laws, strict=True))
    details = f"<details><summary>the laws</summary><dl>{listed}</dl></details>"
    return f'<div class="card wide">{drawn}<p class="note">{escape(note)}</p>{details}</div>'
