"""HTML page that compares evaluations: accuracies, curves, outcomes, and the transfer matrix of training and test specs."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from mathpipe.datasets.rendering.plurals import counted
from mathpipe.evaluate.compare.evaluations import EvaluationSummary, comparison_tables
from mathpipe.evaluate.compare.transfer_matrix import CELL_RULE, TransferMatrix, transfer_matrix
from mathpipe.evaluate.report.charts import heat_table
from mathpipe.evaluate.report.evaluation_page import reproduce
from mathpipe.evaluate.report.html import card, document, figure, interval, percent, section, table

_MAX_FIGURES = 6


def comparison_page(evaluations: list[EvaluationSummary]) -> str:
    """The whole page as HTML."""
    tasks = list(dict.fromkeys(evaluation.metrics["task"] for evaluation in evaluations))
    title = f"{', '.join(tasks)}: {counted(len(evaluations), 'evaluation')}"
    figures = "".join(
        figure(
            percent(evaluation.metrics["accuracy"]),
            evaluation.name,
            f"{interval(evaluation.metrics['accuracy_interval'])}; {evaluation.settings}",
            first=evaluation is evaluations[0],
        )
        for evaluation in evaluations[:_MAX_FIGURES]
    )
    tables = comparison_tables(evaluations)
    plotted = "".join(card(a) for a in tables if a.chart is not None)
    others = "".join(card(a) for a in tables if a.chart is None)
    reproduction = "".join(
        f"<h3>{escape(evaluation.name)}</h3>{reproduce(evaluation.metadata)}<br>" for evaluation in evaluations
    )
    parts = [
        ("matrix", "Transfer matrix", _matrix(transfer_matrix(evaluations))),
        ("side-by-side", "Side by side", f"<div class=grid>{plotted}</div>{others}"),
        ("reproduction", "How to reproduce it", reproduction),
    ]
    nonempty = [(anchor, name, body) for anchor, name, body in parts if body]
    main = f"<div class=figures>{figures}</div>" + "".join(section(*part) for part in nonempty)
    header = f"<h1>{escape(title)}</h1><p class=soft>accuracy: {escape(_criterion(evaluations))}</p>"
    return document(title, [(anchor, name) for anchor, name, _ in nonempty], header, main)


def _criterion(evaluations: list[EvaluationSummary]) -> str:
    """What accuracy counts: one text for each problem type."""
    criteria = dict.fromkeys(evaluation.metrics["criterion"] for evaluation in evaluations)
    return f"proportion of problems; {' or '.join(criteria)}"


def _matrix(matrix: TransferMatrix | None) -> str:
    if matrix is None:
        return ""
    note = (
        "Accuracy in %. Rows: the spectrum, or the run, trained on; columns: the spectrum, or the split, tested on. "
        + CELL_RULE
    )
    if not matrix.same_settings:
        note += " Decoding settings differ between cells; the table below lists them."
    columns = ["trained on", "tested on", "evaluation", "problems", "settings", "of the spec"]
    specs = _differences([evaluation.metadata.get("spec") for _, _, evaluation in matrix.filled])
    rows = [
        [row, col, evaluation.name, evaluation.metrics["n"], evaluation.settings, spec]
        for (row, col, evaluation), spec in zip(matrix.filled, specs, strict=True)
    ]
    heat_map = heat_table(matrix.rows, matrix.cols, matrix.accuracy, "trained on")
    details = f"<details><summary>the evaluation of each cell</summary>{table(columns, rows)}</details>"
    return f'<div class="card wide">{heat_map}<p class="note">{escape(note)}</p>{details}</div>'


def _differences(specs: list[dict[str, Any] | None]) -> list[str]:
    """For each spec, the problem settings that differ between the specs."""
    settings = [{k: json.dumps(v) for k, v in ((spec or {}).get("problems") or {}).items()} for spec in specs]
    differ = [k for k in sorted(set().union(*settings)) if len({one.get(k) for one in settings}) > 1]
    return [", ".join(f"{k} {one[k]}" for k in differ if k in one) for one in settings]


def comparison_json(evaluations: list[EvaluationSummary]) -> dict[str, Any]:
    """The comparison as JSON: metrics per evaluation, and the transfer matrix with the directory behind each cell."""
    result: dict[str, Any] = {
        "evaluations": {evaluation.directory: evaluation.metrics for evaluation in evaluations},
        "train_by_test": None,
    }
    matrix = transfer_matrix(evaluations)
    if matrix is not None:
        matrix_rows = zip(matrix.rows, matrix.accuracy, strict=True)
        result["train_by_test"] = {row: dict(zip(matrix.cols, line, strict=True)) for row, line in matrix_rows}
        result["cells"] = [[row, col, evaluation.directory] for row, col, evaluation in matrix.filled]
    return result
