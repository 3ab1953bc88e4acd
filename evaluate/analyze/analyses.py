"""Where and why answers fail: each analysis of a predictions file is a small table and a plot.

Every proportion comes with its number of problems and Wilson's 95 % interval. Proportions are of problems (rank 0) unless stated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mathpipe.datasets.expressions.vocabulary import ARITY
from mathpipe.evaluate.analyze.baselines import TOLERANCE_LEVELS, BaselineCounts
from mathpipe.evaluate.analyze.columns import bool_column, covariate_names, float_column, measure_names, string_column
from mathpipe.evaluate.analyze.statistics import discriminability, quantile_bins, wilson
from mathpipe.evaluate.score.diagnostics import diagnostic_names
from mathpipe.evaluate.score.matrix_scoring import TOLERANCE

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Row = list[Any]

ERROR_MEASURES = {"l1": "error_l1", "l2": "error_l2", "max": "error_max"}
BASELINES = ("reference", "best_representable", "constant", "copy")
PROPERTY_TOLERANCE_LEVELS = (*TOLERANCE_LEVELS, 0.5)  # for single properties
_QUANTILES = (0.02, 0.25, 0.5, 0.75, 0.98)
_MIN_PLOTTED_PROBABILITY = 0.1  # below it, the bins of whole answers' probabilities would coincide
_MIN_PROBLEMS = 20  # operators with fewer problems are left out


@dataclass(frozen=True)
class Chart:
    """How to plot a table. ``x``: column of positions; ``y``: columns of proportions; ``low``, ``high``: interval columns.

    ``kind``: line (numbers on the x axis), bars (names), or range (quantiles of groups).
    """

    kind: str
    x: str
    y: tuple[str, ...]
    low: str | None = None
    high: str | None = None
    log_x: bool = False
    x_title: str = ""
    y_title: str = "proportion of problems"
    diagonal: bool = False


@dataclass(frozen=True)
class Analysis:
    """One analysis. ``note``: its caption; ``shares``: columns that are proportions, shown in percent."""

    name: str
    title: str
    note: str
    columns: list[str]
    rows: list[Row]
    chart: Chart | None = None
    shares: tuple[str, ...] = ()

    def column(self, name: str) -> list[Any]:
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


@dataclass(frozen=True)
class EvaluationData:
    """The predictions of one evaluation, one row per problem. Columns are converted once."""

    table: pa.Table  # rank 0
    baseline_counts: BaselineCounts
    task: str
    metadata: dict[str, Any]
    hypotheses: int = 1
    _cache: dict[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    def has(self, name: str) -> bool:
        return name in self.table.column_names

    def of(self, name: str) -> Floats:
        if name not in self._cache:
            self._cache[name] = float_column(self.table, name)
        return self._cache[name]

    @property
    def passed(self) -> Mask:
        return bool_column(self.table, "passed")

    @property
    def matrices(self) -> bool:
        return self.has("error_l1")

    def within(self, error: str, tolerance: float) -> Mask:
        """Mask of the problems that pass the error test with measure ``error`` instead of error_l1."""
        passed = self.of(error) <= tolerance
        if self.has("orthogonality"):
            passed = passed & (self.of("orthogonality") <= tolerance)
        return np.asarray(passed)


def proportion(mask: Mask) -> list[Any]:
    """[proportion, low, high, count]; the proportion is None for an empty mask."""
    k, n = int(np.count_nonzero(mask)), len(mask)
    return [k / n if n else None, *wilson(k, n), k]


def by_tolerance(s: EvaluationData) -> Iterator[Analysis]:
    """Accuracy at each tolerance level of the papers."""
    if not s.matrices:
        return
    baselines = [name for name in BASELINES if name in s.baseline_counts]
    rows = []
    for tolerance in TOLERANCE_LEVELS:
        l1, l2, largest = (s.within(error, tolerance) for error in ERROR_MEASURES.values())
        p, low, high, _ = proportion(l1)
        other_norms = [float(np.mean(m)) if len(m) else None for m in (l2, largest)]
        rows.append(
            [
                tolerance,
                p,
                low,
                high,
                *other_norms,
                *(s.baseline_counts.accuracy(name, tolerance) for name in baselines),
            ]
        )
    lines = ("accuracy", *[name for name in ("reference", "best_representable", "constant") if name in baselines])
    yield Analysis(
        "accuracy_by_tolerance",
        "Accuracy by tolerance",
        "Proportion of problems whose error is within the tolerance, in each norm (l2 is a squared ratio, compared as is). "
        "reference: the stored answers, rounded by the encoding. best_representable: the best encodable answers that a "
        "search found, a lower bound on the best possible score. Neither is an upper bound. constant: the best of zeros, "
        "mean and median of the references.",
        ["tolerance", "accuracy", "low", "high", "accuracy_l2", "accuracy_max", *baselines],
        rows,
        Chart("line", "tolerance", lines, "low", "high", log_x=True, x_title="tolerance"),
        ("accuracy", "low", "high", "accuracy_l2", "accuracy_max", *baselines),
    )


def by_outcome(s: EvaluationData) -> Iterator[Analysis]:
    """Counts and proportions of the outcomes."""
    outcomes = string_column(s.table, "outcome")
    log_probability = s.of("log_probability")
    rows = []
    for name in s.metadata["outcomes"]:
        here = outcomes == name
        p, low, high, k = proportion(here)
        num_correct = int(s.passed[here].sum())
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


def by_covariate(s: EvaluationData) -> Iterator[Analysis]:
    """Accuracy against each covariate that takes more than one value."""
    for name in covariate_names(s.table):
        bounds, which = quantile_bins(s.of(name))
        if len(bounds) < 2:
            continue
        reference = s.of("reference_error_l1") <= TOLERANCE if s.matrices else None
        rows = []
        for k, (first, last) in enumerate(bounds):
            here = which == k
            p, low, high, _ = proportion(s.passed[here])
            median = float(np.median(s.of(name)[here]))
            row = [first, last, median, int(here.sum()), p, low, high]
            rows.append(row + ([] if reference is None else [float(reference[here].mean())]))
        extra = [] if reference is None else ["reference_error_within"]
        wide = bounds[0][0] > 0 and np.isfinite(bounds[-1][0]) and bounds[-1][0] > 30 * bounds[0][0]
        yield Analysis(
            f"by_{name}",
            f"Accuracy by {_label(name)}",
            f"Problems in bins of about equal counts, by {_label(name)}."
            + (" reference: stored answers whose own error_l1, as encoded, is within 5 %." if extra else ""),
            ["from", "to", "median", "problems", "accuracy", "low", "high", *extra],
            rows,
            Chart("line", "median", ("accuracy", *extra), "low", "high", log_x=bool(wide), x_title=_label(name)),
            ("accuracy", "low", "high", *extra),
        )


def failure_discriminability(s: EvaluationData) -> Iterator[Analysis]:
    """How well each covariate discriminates failures from correct answers."""
    rows: list[Row] = []
    for name in covariate_names(s.table):
        result = discriminability(s.of(name), ~s.passed)
        if result is not None and result.ks > 0:
            side = "larger" if result.auc >= 0.5 else "smaller"
            rows.append([_label(name), result.auc, max(result.auc, 1 - result.auc), side, result.ks, result.p_value])
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


def properties_by_tolerance(s: EvaluationData) -> Iterator[Analysis]:
    """Accuracy of single properties of the predicted matrix at each tolerance level."""
    errors = [n for n in diagnostic_names(s.task) if not n.endswith("condition")]
    if not s.matrices or not errors:
        return
    errors = ["error_l1", *errors, "error_reference_l1"]
    rows = []
    for tolerance in PROPERTY_TOLERANCE_LEVELS:
        row: Row = [tolerance]
        for name in errors:
            row += proportion(s.of(name) <= tolerance)[:3]
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


def correct_and_incorrect(s: EvaluationData) -> Iterator[Analysis]:
    """Measures of correct predictions beside those of incorrect ones."""
    if not s.matrices:
        return
    names = ["error_reference_l1", *diagnostic_names(s.task), "condition_number"]
    rows = []
    for name in dict.fromkeys(names):
        for label, here in (("correct", s.passed), ("incorrect", ~s.passed)):
            values = s.of(name)[here]
            values = values[~np.isnan(values)]
            if len(values):
                quantiles = [float(np.quantile(values, q, method="nearest")) for q in _QUANTILES]
                finite = values[np.isfinite(values)]
                mean = float(finite.mean()) if len(finite) == len(values) else None
                rows.append(
                    [
                        f"{_label(name)}, {label}",
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


def wrong_problem_answers(s: EvaluationData) -> Iterator[Analysis]:
    """Wrong answers that solve another problem."""
    if not s.has("confused_with"):
        return
    answered = string_column(s.table, "confused_with")
    readable = ~np.isnan(s.of("error_l1"))
    wrong, correct = answered[readable & ~s.passed], answered[readable & s.passed]
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


def calibration(s: EvaluationData) -> Iterator[Analysis]:
    """The model's own probability against its accuracy."""
    log_probability = s.of("log_probability")
    finite = np.isfinite(log_probability)
    if len(np.unique(log_probability[finite])) < 2:
        return
    log_p, correct = log_probability[finite], s.passed[finite]
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


def by_rank(s: EvaluationData) -> Iterator[Analysis]:
    """How often one of the k best hypotheses is correct."""
    if s.hypotheses < 2:
        return
    rank = s.of("correct_rank")
    widths = sorted({1, 2, 3, 5, 10, 20, 50, 100, s.hypotheses} & set(range(1, s.hypotheses + 1)))
    yield Analysis(
        "accuracy_by_rank",
        "Accuracy by number of hypotheses",
        "Proportion of problems for which one of the k best hypotheses passes verification.",
        ["hypotheses", "accuracy", "low", "high"],
        [[w, *proportion(rank < w)[:3]] for w in widths],
        Chart("line", "hypotheses", ("accuracy",), "low", "high", log_x=True, x_title="number of hypotheses"),
        ("accuracy", "low", "high"),
    )


def by_operator(s: EvaluationData) -> Iterator[Analysis]:
    """Accuracy on the problems that contain each operator."""
    if s.matrices:
        return
    padded = pc.binary_join_element_wise("", s.table["problem_tokens"], "", " ")
    rows = []
    for token, arity in ARITY.items():
        if arity > 0:
            here = pc.match_substring(padded, f" {token} ").to_numpy()
            if here.sum() >= min(_MIN_PROBLEMS, len(s)):
                p, low, high, _ = proportion(s.passed[here])
                without = proportion(s.passed[~here])[0]
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


def by_mixture_component(s: EvaluationData) -> Iterator[Analysis]:
    """Accuracy on each task of co-training and on each spectrum of a mixture."""
    for name in ("task", "spectrum"):
        labels = string_column(s.table, name) if s.has(name) else np.empty(0, dtype=object)
        rows: list[Row] = []
        for label in sorted({str(label) for label in labels if label}):
            here = np.asarray(labels == label)
            rows.append([label, int(here.sum()), *proportion(s.passed[here])[:3]])
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


def published_outcomes(s: EvaluationData) -> Iterator[Analysis]:
    """Imported files: the published outcome against ours."""
    if not s.has("published_correct"):
        return
    published = bool_column(s.table, "published_correct")
    rows = []
    for label, here in (("correct", published), ("wrong", ~published)):
        num_correct = int(s.passed[here].sum())
        rows.append([f"published as {label}", int(here.sum()), num_correct, int(here.sum()) - num_correct])
    yield Analysis(
        "published_outcomes",
        "Published outcomes and ours",
        "Problems of an imported file, by the published outcome of their best hypothesis and by our verification of it.",
        ["published", "problems", "correct", "wrong"],
        rows,
    )


ANALYSES: tuple[Callable[[EvaluationData], Iterator[Analysis]], ...] = (
    *(
        by_tolerance,
        by_outcome,
        by_rank,
        properties_by_tolerance,
        failure_discriminability,
        wrong_problem_answers,
        correct_and_incorrect,
    ),
    *(published_outcomes, calibration, by_operator, by_mixture_component, by_covariate),
)


def analyse(s: EvaluationData) -> list[Analysis]:
    """All analyses that apply to these predictions."""
    if not len(s):
        return []
    return [analysis for analyses in ANALYSES for analysis in analyses(s)]


def evaluation_data(predictions: pa.Table, metadata: dict[str, Any], baseline_counts: BaselineCounts) -> EvaluationData:
    """The rank-0 rows of a predictions table, with its metadata and baselines."""
    ranks = predictions["rank"]
    num_hypotheses = int(pc.max(ranks).as_py() or 0) + 1
    best = predictions if num_hypotheses == 1 else predictions.filter(pc.equal(ranks, 0))
    return EvaluationData(best, baseline_counts, metadata["task"], metadata, num_hypotheses)


def required_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns that the analyses read."""
    required = {"row", "rank", "outcome", "passed", "published_correct", "log_probability"}
    required |= {"reference_error_l1", "correct_rank", "problem_tokens", "task", "spectrum", "confused_with"}
    required |= set(measure_names(schema)) | set(covariate_names(schema))
    if "problem" in schema.names:
        required.discard("problem_tokens")
    return [name for name in schema.names if name in required]


_NAMES = {
    "rows": "rows of the problem",
    "cols": "columns of the problem",
    "largest": "largest entry",
    "norm": "norm of the problem",
    "condition_number": "condition number of the problem",
    "eigenvalue_gap": "smallest gap between eigenvalues",
    "positive_eigenvalue_fraction": "fraction of positive eigenvalues",
    "dominant_eigenvalue_ratio": "largest eigenvalue relative to the norm",
    "predicted_condition": "condition number of the prediction",
    "vectors_condition": "condition number of the predicted V",
    "u_condition": "condition number of the predicted U",
    "v_condition": "condition number of the predicted V",
    "error_reference_l1": "distance from the reference",
    "max_cosine": "largest cosine",
}


def _label(name: str) -> str:
    """A column's name in prose."""
    return _NAMES.get(name, name.replace("_", " "))
