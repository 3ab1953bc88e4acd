"""Where and why answers fail: questions put to a predictions file, each answered by a small table and a plot.

Every share stands with its number of problems and Wilson's 95 % interval. All are of problems (rank 0), unless said otherwise.
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
from mathpipe.evaluate.analyze.baselines import GRID, Tally
from mathpipe.evaluate.analyze.columns import covariate_names, flags, measure_names, numbers, texts
from mathpipe.evaluate.analyze.statistics import bins_of, separation, wilson
from mathpipe.evaluate.score.diagnostics import diagnostic_names
from mathpipe.evaluate.score.matrix_scoring import TOLERANCE

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Row = list[Any]

NORMS = {"l1": "error_l1", "l2": "error_l2", "max": "error_max"}
YARDSTICKS = ("reference", "attainable", "constant", "copy")
WITHIN = (*GRID, 0.5)  # of single properties
_QUANTILES = (0.02, 0.25, 0.5, 0.75, 0.98)
_SURE = 0.1  # a probability of whole answers below which all bins would lie on one another
_FEWEST = 20  # problems of an operator below which its row says nothing


@dataclass(frozen=True)
class Chart:
    """How a table is drawn. ``x``: its column of places; ``y``: columns of shares; ``low``, ``high``: of the interval.

    ``kind``: line (numbers on the x axis), bars (names), or range (quantiles of groups).
    """

    kind: str
    x: str
    y: tuple[str, ...]
    low: str | None = None
    high: str | None = None
    log_x: bool = False
    x_title: str = ""
    y_title: str = "share of problems"
    diagonal: bool = False


@dataclass(frozen=True)
class Analysis:
    """One question and its answer. ``shares``: columns that are shares, shown in percent."""

    name: str
    title: str
    note: str
    columns: list[str]
    rows: list[Row]
    chart: Chart | None = None
    shares: tuple[str, ...] = ()

    def column(self, name: str) -> list[Any]:
        place = self.columns.index(name)
        return [row[place] for row in self.rows]


@dataclass(frozen=True)
class Subject:
    """The columns of the problems of one evaluation, read once."""

    table: pa.Table  # rank 0
    tally: Tally
    task: str
    metadata: dict[str, Any]
    hypotheses: int = 1
    _known: dict[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    def has(self, name: str) -> bool:
        return name in self.table.column_names

    def of(self, name: str) -> Floats:
        if name not in self._known:
            self._known[name] = numbers(self.table, name)
        return self._known[name]

    @property
    def passed(self) -> Mask:
        return flags(self.table, "passed")

    @property
    def matrices(self) -> bool:
        return self.has("error_l1")

    def within(self, error: str, tolerance: float) -> Mask:
        """Which problems pass the error test with this error measure in place of error_l1."""
        right = self.of(error) <= tolerance
        if self.has("orthogonality"):
            right = right & (self.of("orthogonality") <= tolerance)
        return np.asarray(right)


def share(mask: Mask) -> list[Any]:
    """[share, low, high, how many], the share null of nothing."""
    k, n = int(np.count_nonzero(mask)), len(mask)
    return [k / n if n else None, *wilson(k, n), k]


def by_tolerance(s: Subject) -> Iterator[Analysis]:
    """Accuracy within each tolerance of the papers' grid."""
    if not s.matrices:
        return
    yard = [name for name in YARDSTICKS if name in s.tally]
    rows = []
    for tolerance in GRID:
        l1, l2, largest = (s.within(error, tolerance) for error in NORMS.values())
        p, low, high, _ = share(l1)
        others = [float(np.mean(m)) if len(m) else None for m in (l2, largest)]
        rows.append([tolerance, p, low, high, *others, *(s.tally.accuracy(name, tolerance) for name in yard)])
    lines = ("accuracy", *[name for name in ("reference", "attainable", "constant") if name in yard])
    yield Analysis(
        "accuracy_by_tolerance",
        "Accuracy by tolerance",
        "Share of problems whose error is within the tolerance, in each norm (l2 is a squared ratio, compared as it is). "
        "reference: the stored answers as written, what a perfect imitator gets. attainable: the best written answers a "
        "search found, a lower bound of what can be had. Neither is an upper bound. constant: the best of zeros, mean and "
        "median of the references.",
        ["tolerance", "accuracy", "low", "high", "accuracy_l2", "accuracy_max", *yard],
        rows,
        Chart("line", "tolerance", lines, "low", "high", log_x=True, x_title="tolerance"),
        ("accuracy", "low", "high", "accuracy_l2", "accuracy_max", *yard),
    )


def by_outcome(s: Subject) -> Iterator[Analysis]:
    """What became of the predictions."""
    outcomes = texts(s.table, "outcome")
    log_probability = s.of("log_probability")
    rows = []
    for name in s.metadata["outcomes"]:
        here = outcomes == name
        p, low, high, k = share(here)
        right = int(s.passed[here].sum())
        found = log_probability[here & np.isfinite(log_probability)]
        rows.append([name, k, p, low, high, right, float(np.median(found)) if len(found) else None])
    yield Analysis(
        "outcomes",
        "Outcomes",
        "One outcome a problem, of its best hypothesis; right: how many of them are right by mathematics (an exact answer "
        "of an ill-conditioned problem may not be).",
        ["outcome", "problems", "share", "low", "high", "right", "median_log_probability"],
        rows,
        Chart("bars", "outcome", ("share",), "low", "high"),
        ("share", "low", "high"),
    )


def by_covariate(s: Subject) -> Iterator[Analysis]:
    """Accuracy against each covariate that varies."""
    for name in covariate_names(s.table):
        bounds, which = bins_of(s.of(name))
        if len(bounds) < 2:
            continue
        reference = s.of("reference_error_l1") <= TOLERANCE if s.matrices else None
        rows = []
        for k, (first, last) in enumerate(bounds):
            here = which == k
            p, low, high, _ = share(s.passed[here])
            middle = float(np.median(s.of(name)[here]))
            row = [first, last, middle, int(here.sum()), p, low, high]
            rows.append(row + ([] if reference is None else [float(reference[here].mean())]))
        extra = [] if reference is None else ["reference_error_within"]
        wide = bounds[0][0] > 0 and np.isfinite(bounds[-1][0]) and bounds[-1][0] > 30 * bounds[0][0]
        yield Analysis(
            f"by_{name}",
            f"Accuracy by {_words(name)}",
            f"Problems in bins of about equal counts, by {_words(name)}."
            + (" reference: stored answers whose own error_l1, as written, is within 5 %." if extra else ""),
            ["from", "to", "median", "problems", "accuracy", "low", "high", *extra],
            rows,
            Chart("line", "median", ("accuracy", *extra), "low", "high", log_x=bool(wide), x_title=_words(name)),
            ("accuracy", "low", "high", *extra),
        )


def what_separates(s: Subject) -> Iterator[Analysis]:
    """Which covariate separates failures best."""
    found: list[Row] = []
    for name in covariate_names(s.table):
        told = separation(s.of(name), ~s.passed)
        if told is not None and told.ks > 0:
            side = "larger" if told.auc >= 0.5 else "smaller"
            found.append([_words(name), told.auc, max(told.auc, 1 - told.auc), side, told.ks, told.p_value])
    found.sort(key=lambda row: row[4], reverse=True)
    if found:
        yield Analysis(
            "what_separates_failures",
            "What separates failures from right answers",
            "For each covariate: AUC, the probability that a failure has a larger value than a right answer (0.5 tells "
            "nothing; strength is the larger of AUC and 1 - AUC), and the Kolmogorov-Smirnov distance between the two with "
            "its asymptotic p-value. The table is in the order of the distance. P-values are of single tests.",
            ["covariate", "auc", "strength", "failures_have", "ks_distance", "p_value"],
            found,
            Chart("bars", "covariate", ("ks_distance",), y_title="Kolmogorov-Smirnov distance"),
        )


def single_properties(s: Subject) -> Iterator[Analysis]:
    """How often single properties of the predicted matrix are right, within each tolerance."""
    errors = [n for n in diagnostic_names(s.task) if not n.endswith("condition")]
    if not s.matrices or not errors:
        return
    errors = ["error_l1", *errors, "error_reference_l1"]
    rows = []
    for tolerance in WITHIN:
        row: Row = [tolerance]
        for name in errors:
            row += share(s.of(name) <= tolerance)[:3]
        rows.append(row)
    columns = ["tolerance"]
    for name in errors:
        columns += [name, f"{name}_low", f"{name}_high"]
    yield Analysis(
        "properties_by_tolerance",
        "Which properties are right",
        "Share of problems in which each property of the predicted matrix is within the tolerance: error_l1 of the whole "
        "equation; the values alone; the norms of the vectors; the largest cosine over all pairs of vectors; closeness to "
        "the reference. What was not read counts as not within.",
        columns,
        rows,
        Chart("line", "tolerance", tuple(errors), log_x=True, x_title="tolerance"),
        tuple(columns[1:]),
    )


def right_and_wrong(s: Subject) -> Iterator[Analysis]:
    """Measures of the prediction, those right against those wrong."""
    if not s.matrices:
        return
    names = ["error_reference_l1", *diagnostic_names(s.task), "condition_number"]
    rows = []
    for name in dict.fromkeys(names):
        for word, here in (("right", s.passed), ("wrong", ~s.passed)):
            values = s.of(name)[here]
            values = values[~np.isnan(values)]
            if len(values):
                quantiles = [float(np.quantile(values, q, method="nearest")) for q in _QUANTILES]
                finite = values[np.isfinite(values)]
                mean = float(finite.mean()) if len(finite) == len(values) else None
                rows.append(
                    [f"{_words(name)}, {word}", len(values), mean, float(values.min()), *quantiles, float(values.max())]
                )
    if rows:
        yield Analysis(
            "right_and_wrong",
            "Right and wrong answers compared",
            "Quantiles of what is known of each prediction that has the right shape: how close it is to the reference, its "
            "single properties and condition numbers, and the condition number of the problem. No mean where one is infinite.",
            ["measure", "predictions", "mean", "min", *(f"p{100 * q:g}" for q in _QUANTILES), "max"],
            rows,
        )


def confusions(s: Subject) -> Iterator[Analysis]:
    """Wrong answers that are right for another problem."""
    if not s.has("confused_with"):
        return
    answered = texts(s.table, "confused_with")
    readable = ~np.isnan(s.of("error_l1"))
    wrong, right = answered[readable & ~s.passed], answered[readable & s.passed]
    rows: list[Row] = []
    for name in sorted({str(name) for name in wrong if name}):
        p, low, high, k = share(wrong == name)
        rows.append([name, k, len(wrong), p, low, high, share(right == name)[0]])
    rows.sort(key=lambda row: row[3], reverse=True)
    if rows:
        yield Analysis(
            "confusions",
            "Wrong answers that are right for another problem",
            "Of the wrong answers that have the right shape, the share that passes the error test of another problem, made from "
            "the asked one. share_of_right: the same of the right answers, which tells how often the two problems' answers are too "
            "near each other to tell.",
            ["problem", "answers", "wrong_answers", "share", "low", "high", "share_of_right"],
            rows,
            Chart("bars", "problem", ("share",), "low", "high", y_title="share of wrong answers"),
            ("share", "low", "high", "share_of_right"),
        )


def calibration(s: Subject) -> Iterator[Analysis]:
    """Whether the model's own probability tells how often it is right."""
    log_probability = s.of("log_probability")
    known = np.isfinite(log_probability)
    if len(np.unique(log_probability[known])) < 2:
        return
    log_p, right = log_probability[known], s.passed[known]
    p = np.exp(log_p)
    bounds, which = bins_of(log_p)
    rows = []
    for k, (first, last) in enumerate(bounds):
        here = which == k
        accuracy, low, high, _ = share(right[here])
        rows.append(
            [first, last, float(log_p[here].mean()), int(here.sum()), float(p[here].mean()), accuracy, low, high]
        )
    gap = sum(row[3] * abs(row[4] - row[5]) for row in rows) / len(p)
    told = separation(-log_p, ~right)
    tells = "" if told is None else f" It separates failures with an AUC of {told.auc:.3f}."
    x, words = "probability", "probability of the answer"
    if max(row[4] for row in rows) < _SURE:  # all would lie on the axis
        x, words = "log_probability", "log probability of the answer"
        tells += " It is nowhere sure of its words: accuracy is drawn against their log probability."
    yield Analysis(
        "calibration",
        "Does the model know when it is right?",
        f"Problems in bins of the model's own log probability of its answer: mean probability against accuracy. Their mean "
        f"distance (expected calibration error) is {100 * gap:.2f} percentage points.{tells} Several written answers may be "
        "right, so that accuracy may lie above.",
        [
            *("log_probability_from", "log_probability_to", "log_probability"),
            *("problems", "probability", "accuracy", "low", "high"),
        ],
        rows,
        Chart("line", x, ("accuracy",), "low", "high", x_title=words, diagonal=x == "probability"),
        ("probability", "accuracy", "low", "high"),
    )


def by_rank(s: Subject) -> Iterator[Analysis]:
    """How often a right answer is among the best so many hypotheses."""
    if s.hypotheses < 2:
        return
    rank = s.of("correct_rank")
    widths = sorted({1, 2, 3, 5, 10, 20, 50, 100, s.hypotheses} & set(range(1, s.hypotheses + 1)))
    yield Analysis(
        "accuracy_by_rank",
        "Accuracy by number of hypotheses",
        "Share of problems of which one of the best so many hypotheses is right by mathematics.",
        ["hypotheses", "accuracy", "low", "high"],
        [[w, *share(rank < w)[:3]] for w in widths],
        Chart("line", "hypotheses", ("accuracy",), "low", "high", log_x=True, x_title="hypotheses looked at"),
        ("accuracy", "low", "high"),
    )


def by_operator(s: Subject) -> Iterator[Analysis]:
    """Accuracy on problems that hold each operator."""
    if s.matrices:
        return
    padded = pc.binary_join_element_wise("", s.table["problem_tokens"], "", " ")
    rows = []
    for word, arity in ARITY.items():
        if arity > 0:
            here = pc.match_substring(padded, f" {word} ").to_numpy()
            if here.sum() >= min(_FEWEST, len(s)):
                p, low, high, _ = share(s.passed[here])
                without = share(s.passed[~here])[0]
                rows.append([word, int(here.sum()), p, low, high, without])
    rows.sort(key=lambda row: row[2])
    if rows:
        yield Analysis(
            "by_operator",
            "Accuracy by operator",
            "Problems that hold each operator, the hardest first, beside the accuracy on those that do not. Operators of fewer "
            f"than {_FEWEST} problems are left out.",
            ["operator", "problems", "accuracy", "low", "high", "accuracy_without"],
            rows,
            Chart("bars", "operator", ("accuracy",), "low", "high"),
            ("accuracy", "low", "high", "accuracy_without"),
        )


def by_kind(s: Subject) -> Iterator[Analysis]:
    """Accuracy on the problems of each task of co-training, and of each spectrum of a mixture."""
    for name in ("task", "spectrum"):
        kinds = texts(s.table, name) if s.has(name) else np.empty(0, dtype=object)
        rows: list[Row] = []
        for kind in sorted({str(kind) for kind in kinds if kind}):
            here = np.asarray(kinds == kind)
            rows.append([kind, int(here.sum()), *share(s.passed[here])[:3]])
        rows.sort(key=lambda row: row[2])
        if rows:
            yield Analysis(
                f"by_{name}",
                f"Accuracy by {name}",
                f"Problems of each {name} that was mixed, the hardest first.",
                [name, "problems", "accuracy", "low", "high"],
                rows,
                Chart("bars", name, ("accuracy",), "low", "high"),
                ("accuracy", "low", "high"),
            )


def published_verdicts(s: Subject) -> Iterator[Analysis]:
    """Of imported files: the published verdict against ours."""
    if not s.has("published_right"):
        return
    theirs = flags(s.table, "published_right")
    rows = []
    for word, here in (("right", theirs), ("wrong", ~theirs)):
        ours = int(s.passed[here].sum())
        rows.append([f"published as {word}", int(here.sum()), ours, int(here.sum()) - ours])
    yield Analysis(
        "published_verdicts",
        "Published verdicts and ours",
        "Problems of an imported file by the verdict it holds of their best hypothesis, and by that of verifying it anew.",
        ["published", "problems", "right", "wrong"],
        rows,
    )


ANALYSES: tuple[Callable[[Subject], Iterator[Analysis]], ...] = (
    *(by_tolerance, by_outcome, by_rank, single_properties, what_separates, confusions, right_and_wrong),
    *(published_verdicts, calibration, by_operator, by_kind, by_covariate),
)


def analyse(s: Subject) -> list[Analysis]:
    """Every analysis that has something to say of these predictions."""
    if not len(s):
        return []
    return [found for question in ANALYSES for found in question(s)]


def subject_of(predictions: pa.Table, metadata: dict[str, Any], tally: Tally) -> Subject:
    """The subject of analyses: the rank-0 rows of a predictions table."""
    ranks = predictions["rank"]
    most = int(pc.max(ranks).as_py() or 0) + 1
    best = predictions if most == 1 else predictions.filter(pc.equal(ranks, 0))
    return Subject(best, tally, metadata["task"], metadata, most)


def columns_needed(schema: pa.Schema) -> list[str]:
    """Of a predictions file, what the analyses read."""
    wanted = {"row", "rank", "outcome", "passed", "published_right", "log_probability"}
    wanted |= {"reference_error_l1", "correct_rank", "problem_tokens", "task", "spectrum", "confused_with"}
    wanted |= set(measure_names(schema)) | set(covariate_names(schema))
    if "problem" in schema.names:
        wanted.discard("problem_tokens")
    return [name for name in schema.names if name in wanted]


_NAMES = {
    "rows": "rows of the problem",
    "cols": "columns of the problem",
    "largest": "largest entry",
    "norm": "norm of the problem",
    "condition_number": "condition number of the problem",
    "eigenvalue_gap": "smallest gap between eigenvalues",
    "positive_share": "share of positive eigenvalues",
    "largest_share": "largest eigenvalue against all",
    "predicted_condition": "condition number of the prediction",
    "vectors_condition": "condition number of the predicted V",
    "u_condition": "condition number of the predicted U",
    "v_condition": "condition number of the predicted V",
    "error_reference_l1": "distance from the reference",
    "max_cosine": "largest cosine",
}


def _words(name: str) -> str:
    """What a column is called in a sentence."""
    return _NAMES.get(name, name.replace("_", " "))
