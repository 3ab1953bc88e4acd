"""How accurate are the answers: accuracy by tolerance, of whole answers and of single properties."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mathpipe.evaluate.analyze.analysis import Analysis, Chart, Row, proportion
from mathpipe.evaluate.analyze.baselines import TOLERANCE_LEVELS
from mathpipe.evaluate.analyze.evaluation_data import ERROR_MEASURES, EvaluationData
from mathpipe.evaluate.score.diagnostics import diagnostic_names
from mathpipe.generate.tasks.error_measures import within

BASELINES = ("reference", "best_representable", "constant", "copy")
PROPERTY_TOLERANCE_LEVELS = (*TOLERANCE_LEVELS, 0.5)  # for single properties


def by_tolerance(data: EvaluationData) -> Iterator[Analysis]:
    """Accuracy at each tolerance level of the papers."""
    baselines = [name for name in BASELINES if name in data.baseline_counts]
    rows, norms = [], [f"accuracy_{norm}" for norm in list(ERROR_MEASURES)[1:]]
    for tolerance in TOLERANCE_LEVELS:
        l1, *others = (data.within(error, tolerance) for error in ERROR_MEASURES.values())
        p, low, high, _ = proportion(l1)
        other_norms = [float(np.mean(m)) if len(m) else None for m in others]
        rows.append(
            [
                tolerance,
                p,
                low,
                high,
                *other_norms,
                *(data.baseline_counts.accuracy(name, tolerance) for name in baselines),
            ]
        )
    lines = ("accuracy", *[name for name in ("reference", "best_representable", "constant") if name in baselines])
    yield Analysis(
        "accuracy_by_tolerance",
        "Accuracy by tolerance",
        "Proportion of problems whose error is within the tolerance, in each norm (l2 is a squared ratio, compared as is) and "
        "in every entry (componentwise, relative to the reference's entry). "
        "reference: the stored answers, rounded by the encoding. best_representable: the best encodable answers that a "
        "search found, a lower bound on the best possible score. Neither is an upper bound. constant: the best of zeros, "
        "mean and median of the references.",
        ["tolerance", "accuracy", "low", "high", *norms, *baselines],
        rows,
        Chart("line", "tolerance", lines, "low", "high", log_x=True, x_title="tolerance"),
        ("accuracy", "low", "high", *norms, *baselines),
    )


def properties_by_tolerance(data: EvaluationData) -> Iterator[Analysis]:
    """Accuracy of single properties of the predicted matrix at each tolerance level."""
    errors = [n for n in diagnostic_names(data.task) if data.has(n) and not n.endswith("condition")]
    if not errors:
        return
    errors = ["error_l1", *errors, "error_reference_l1"]
    rows = []
    for tolerance in PROPERTY_TOLERANCE_LEVELS:
        row: Row = [tolerance]
        for name in errors:
            row += proportion(within(data.of(name), tolerance))[:3]
        rows.append(row)
    columns = ["tolerance"]
    for name in errors:
        columns += [name, f"{name}_low", f"{name}_high"]
    yield Analysis(
        "properties_by_tolerance",
        "Which properties are correct",
        "Proportion of problems for which each property of the predicted matrix is within the tolerance: error_l1 of the "
        "whole equation; the values alone; the norms of the vectors; the largest cosine over all pairs of vectors; distance "
        "from the reference. Unparsed predictions count as errors.",
        columns,
        rows,
        Chart("line", "tolerance", tuple(errors), log_x=True, x_title="tolerance"),
        tuple(columns[1:]),
    )
