"""Does the model know when it is wrong: its own probability against its accuracy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mathpipe.evaluate.analyze.analysis import Analysis, Chart, proportion
from mathpipe.evaluate.analyze.evaluation_data import EvaluationData
from mathpipe.evaluate.analyze.statistics import discriminability, quantile_bins

_MIN_PLOTTED_PROBABILITY = 0.1  # below it, the bins of whole answers' probabilities would coincide


def calibration(data: EvaluationData) -> Iterator[Analysis]:
    """The model's own probability against its accuracy."""
    log_probability = data.of("log_probability")
    finite = np.isfinite(log_probability)
    if len(np.unique(log_probability[finite])) < 2:
        return
    log_p, correct = log_probability[finite], data.passed[finite]
    p = np.exp(log_p)
    bounds, which = quantile_bins(log_p)
    rows = []
    for k, (first, last) in enumerate(bounds):
        here = which == k
        accuracy, low, high, _ = proportion(correct[here])
        rows.append(
            [first, last, float(log_p[here].mean()), int(here.sum()), float(p[here].mean()), accuracy, low, high]
        )
    gap = sum(row[3] * abs(row[4] - row[5]) for row in rows) / len(p)
    result = discriminability(-log_p, ~correct)
    remarks = "" if result is None else f" It discriminates failures with an AUC of {result.auc:.3f}."
    x, x_title = "probability", "probability of the answer"
    if max(row[4] for row in rows) < _MIN_PLOTTED_PROBABILITY:  # all points would lie on the axis
        x, x_title = "log_probability", "log probability of the answer"
        remarks += " All probabilities are small, so accuracy is plotted against the log probability."
    yield Analysis(
        "calibration",
        "Calibration",
        f"Problems in bins of the model's own log probability of its answer: mean probability against accuracy. The expected "
        f"calibration error is {100 * gap:.2f} percentage points.{remarks} Accuracy may exceed the probability, because "
        "several token sequences may be correct.",
        [
            *("log_probability_from", "log_probability_to", "log_probability"),
            *("problems", "probability", "accuracy", "low", "high"),
        ],
        rows,
        Chart("line", x, ("accuracy",), "low", "high", x_title=x_title, diagonal=x == "probability"),
        ("probability", "accuracy", "low", "high"),
    )
