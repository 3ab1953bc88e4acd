"""On which problems does the model fail: accuracy by properties of the problem."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from mathpipe.datasets.expressions.vocabulary import ARITY
from mathpipe.evaluate.analyze.analysis import Analysis, Chart, Row, proportion
from mathpipe.evaluate.analyze.column_roles import covariate_names, string_column
from mathpipe.evaluate.analyze.evaluation_data import CLASS, MAX_CLASSES, EvaluationData, classes_of, column_label
from mathpipe.evaluate.analyze.statistics import discriminability, quantile_bins
from mathpipe.generate.tasks.error_measures import TOLERANCE, within

_MIN_PROBLEMS = 20  # operators with fewer problems are left out


def by_covariate(data: EvaluationData) -> Iterator[Analysis]:
    """Accuracy against each covariate that takes more than one value."""
    for name in covariate_names(data.table):
        if name == CLASS:  # see by_class
            continue
        bounds, which = quantile_bins(data.of(name))
        if len(bounds) < 2:
            continue
        reference = within(data.of("reference_error_l1"), TOLERANCE) if data.has("reference_error_l1") else None
        rows = []
        for k, (first, last) in enumerate(bounds):
            here = which == k
            p, low, high, _ = proportion(data.passed[here])
            median = float(np.median(data.of(name)[here]))
            row = [first, last, median, int(here.sum()), p, low, high]
            rows.append(row + ([] if reference is None else [float(reference[here].mean())]))
        extra = [] if reference is None else ["reference"]
        wide = bounds[0][0] > 0 and np.isfinite(bounds[-1][0]) and bounds[-1][0] > 30 * bounds[0][0]
        yield Analysis(
            f"by_{name}",
            f"Accuracy by {column_label(name)}",
            f"Problems in bins of about equal counts, by {column_label(name)}."
            + (" reference: stored answers whose error_l1, rounded by the encoding, is within 5 %." if extra else ""),
            ["from", "to", "median", "problems", "accuracy", "low", "high", *extra],
            rows,
            Chart("line", "median", ("accuracy", *extra), "low", "high", log_x=bool(wide), x_title=column_label(name)),
            ("accuracy", "low", "high", *extra),
        )


def failure_discriminability(data: EvaluationData) -> Iterator[Analysis]:
    """How well each covariate discriminates failures from correct answers."""
    rows: list[Row] = []
    for name in covariate_names(data.table):
        result = discriminability(data.of(name), ~data.passed)
        if result is not None and result.ks > 0:
            side = "larger" if result.auc >= 0.5 else "smaller"
            rows.append(
                [column_label(name), result.auc, max(result.auc, 1 - result.auc), side, result.ks, result.p_value]
            )
    rows.sort(key=lambda row: row[4], reverse=True)
    if rows:
        yield Analysis(
            "failure_discriminability",
            "Which covariates discriminate failures from correct answers",
            "For each covariate: AUC, the probability that a failure has a larger value than a correct answer (0.5 is "
            "chance; strength is the larger of AUC and 1 - AUC), and the Kolmogorov-Smirnov statistic with its asymptotic "
            "p-value. Rows are sorted by the statistic. P-values are not corrected for multiple tests.",
            ["covariate", "auc", "strength", "failure_values", "ks_statistic", "p_value"],
            rows,
            Chart("bars", "covariate", ("ks_statistic",), y_title="Kolmogorov-Smirnov statistic"),
        )


def by_operator(data: EvaluationData) -> Iterator[Analysis]:
    """Accuracy on the problems that contain each operator."""
    padded = pc.binary_join_element_wise("", data.table["problem_tokens"], "", " ")
    rows = []
    for token, arity in ARITY.items():
        if arity > 0:
            here = pc.match_substring(padded, f" {token} ").to_numpy()
            if here.sum() >= min(_MIN_PROBLEMS, len(data)):
                p, low, high, _ = proportion(data.passed[here])
                without = proportion(data.passed[~here])[0]
                rows.append([token, int(here.sum()), p, low, high, without])
    rows.sort(key=lambda row: row[2])
    if rows:
        yield Analysis(
            "by_operator",
            "Accuracy by operator",
            "Problems that contain each operator, hardest first, beside the accuracy on those that do not. Operators in fewer "
            f"than {_MIN_PROBLEMS} problems are left out.",
            ["operator", "problems", "accuracy", "low", "high", "accuracy_without"],
            rows,
            Chart("bars", "operator", ("accuracy",), "low", "high"),
            ("accuracy", "low", "high", "accuracy_without"),
        )


def by_class(data: EvaluationData) -> Iterator[Analysis]:
    """Accuracy on each class of answers, and what is predicted most often."""
    if not data.has(CLASS):
        return
    predictions = string_column(data.table, "prediction")
    rows: list[Row] = []
    for value, here in classes_of(data):
        answers, counts = np.unique(predictions[here].astype(str), return_counts=True)
        most = int(counts.argmax())
        row = [value, int(here.sum()), *proportion(data.passed[here])[:3]]
        rows.append([*row, str(answers[most])[:60], float(counts[most] / here.sum())])
    if len(rows) > 1:
        yield Analysis(
            "by_class",
            "Accuracy by class",
            f"Problems of each class of answers, up to the {MAX_CLASSES} smallest classes, with the prediction that is most "
            "frequent among them and its share.",
            ["class", "problems", "accuracy", "low", "high", "most_frequent_prediction", "share"],
            rows,
            Chart("line", "class", ("accuracy",), "low", "high", x_title="class"),
            ("accuracy", "low", "high", "share"),
        )


def by_mixture_component(data: EvaluationData) -> Iterator[Analysis]:
    """Accuracy on each task of co-training and on each spectrum of a mixture."""
    for name in ("task", "spectrum"):
        labels = string_column(data.table, name) if data.has(name) else np.empty(0, dtype=object)
        rows: list[Row] = []
        for label in sorted({str(label) for label in labels if label}):
            here = np.asarray(labels == label)
            rows.append([label, int(here.sum()), *proportion(data.passed[here])[:3]])
        rows.sort(key=lambda row: row[2])
        if rows:
            yield Analysis(
                f"by_{name}",
                f"Accuracy by {name}",
                f"Problems of each {name} of the mixture, hardest first.",
                [name, "problems", "accuracy", "low", "high"],
                rows,
                Chart("bars", name, ("accuracy",), "low", "high"),
                ("accuracy", "low", "high"),
            )
