"""What becomes of the predictions: outcomes, the rank of the first correct hypothesis, published outcomes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mathpipe.evaluate.analyze.analysis import Analysis, Chart, proportion
from mathpipe.evaluate.analyze.column_roles import bool_column, string_column
from mathpipe.evaluate.analyze.evaluation_data import EvaluationData


def by_outcome(data: EvaluationData) -> Iterator[Analysis]:
    """Counts and proportions of the outcomes."""
    outcomes = string_column(data.table, "outcome")
    log_probability = data.of("log_probability")
    rows = []
    for name in data.metadata["outcomes"]:
        here = outcomes == name
        p, low, high, k = proportion(here)
        num_correct = int(data.passed[here].sum())
        finite = log_probability[here & np.isfinite(log_probability)]
        rows.append([name, k, p, low, high, num_correct, float(np.median(finite)) if len(finite) else None])
    yield Analysis(
        "outcomes",
        "Outcomes",
        "The outcome of each problem's best hypothesis. correct: how many of them pass verification (an exact answer to an "
        "ill-conditioned problem may fail it).",
        ["outcome", "problems", "proportion", "low", "high", "correct", "median_log_probability"],
        rows,
        Chart("bars", "outcome", ("proportion",), "low", "high"),
        ("proportion", "low", "high"),
    )


def by_rank(data: EvaluationData) -> Iterator[Analysis]:
    """How often one of the k best hypotheses is correct."""
    if data.hypotheses < 2:
        return
    rank = data.of("correct_rank")
    widths = sorted({1, 2, 3, 5, 10, 20, 50, 100, data.hypotheses} & set(range(1, data.hypotheses + 1)))
    yield Analysis(
        "accuracy_by_rank",
        "Accuracy by number of hypotheses",
        "Proportion of problems for which one of the k best hypotheses passes verification.",
        ["hypotheses", "accuracy", "low", "high"],
        [[w, *proportion(rank < w)[:3]] for w in widths],
        Chart("line", "hypotheses", ("accuracy",), "low", "high", log_x=True, x_title="number of hypotheses"),
        ("accuracy", "low", "high"),
    )


def published_outcomes(data: EvaluationData) -> Iterator[Analysis]:
    """Imported files: the published outcome against ours."""
    if not data.has("published_correct"):
        return
    published = bool_column(data.table, "published_correct")
    rows = []
    for label, here in (("correct", published), ("wrong", ~published)):
        num_correct = int(data.passed[here].sum())
        rows.append([f"published as {label}", int(here.sum()), num_correct, int(here.sum()) - num_correct])
    yield Analysis(
        "published_outcomes",
        "Published outcomes and ours",
        "Problems of an imported file, by the published outcome of their best hypothesis and by our verification of it.",
        ["published", "problems", "correct", "wrong"],
        rows,
    )
