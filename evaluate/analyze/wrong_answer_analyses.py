"""What is wrong with wrong answers: measures of correct and incorrect ones, and answers to another problem."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mathpipe.evaluate.analyze.analysis import Analysis, Chart, Row, proportion
from mathpipe.evaluate.analyze.column_roles import string_column
from mathpipe.evaluate.analyze.evaluation_data import EvaluationData, column_label
from mathpipe.evaluate.score.diagnostics import diagnostic_names

_QUANTILES = (0.02, 0.25, 0.5, 0.75, 0.98)


def correct_and_incorrect(data: EvaluationData) -> Iterator[Analysis]:
    """Measures of correct predictions beside those of incorrect ones."""
    names = ["error_reference_l1", *diagnostic_names(data.task), "condition_number"]
    rows = []
    for name in filter(data.has, dict.fromkeys(names)):
        for label, here in (("correct", data.passed), ("incorrect", ~data.passed)):
            values = data.of(name)[here]
            values = values[~np.isnan(values)]
            if len(values):
                quantiles = [float(np.quantile(values, q, method="nearest")) for q in _QUANTILES]
                finite = values[np.isfinite(values)]
                mean = float(finite.mean()) if len(finite) == len(values) else None
                rows.append(
                    [
                        f"{column_label(name)}, {label}",
                        len(values),
                        mean,
                        float(values.min()),
                        *quantiles,
                        float(values.max()),
                    ]
                )
    if rows:
        yield Analysis(
            "correct_and_incorrect",
            "Correct and incorrect answers compared",
            "Quantiles over the predictions of the correct shape: distance from the reference, single properties, condition "
            "number of the prediction and of the problem. The mean is left out where a value is infinite.",
            ["measure", "predictions", "mean", "min", *(f"p{100 * q:g}" for q in _QUANTILES), "max"],
            rows,
        )


def wrong_problem_answers(data: EvaluationData) -> Iterator[Analysis]:
    """Wrong answers that solve another problem."""
    if not data.has("confused_with"):
        return
    answered = string_column(data.table, "confused_with")
    readable = ~np.isnan(data.of("error_l1"))
    wrong, correct = answered[readable & ~data.passed], answered[readable & data.passed]
    rows: list[Row] = []
    for name in sorted({str(name) for name in wrong if name}):
        p, low, high, k = proportion(wrong == name)
        rows.append([name, k, len(wrong), p, low, high, proportion(correct == name)[0]])
    rows.sort(key=lambda row: row[3], reverse=True)
    if rows:
        yield Analysis(
            "wrong_problem_answers",
            "Wrong answers that solve another problem",
            "Proportion of the wrong answers of the correct shape that pass the error test of another problem, derived from "
            "the given one. proportion_of_correct: the same among correct answers, that is, how often the answers to both "
            "problems agree within the tolerance.",
            ["problem", "answers", "wrong_answers", "proportion", "low", "high", "proportion_of_correct"],
            rows,
            Chart("bars", "problem", ("proportion",), "low", "high", y_title="proportion of wrong answers"),
            ("proportion", "low", "high", "proportion_of_correct"),
        )
