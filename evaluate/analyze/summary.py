"""Headline metrics of an evaluation, computed from the columns of its predictions: as text, and the few that DVC compares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mathpipe.datasets.rendering.plurals import counted
from mathpipe.evaluate.analyze.analysis import Analysis
from mathpipe.evaluate.analyze.baselines import CONSTANTS
from mathpipe.evaluate.analyze.column_roles import bool_column, string_column
from mathpipe.evaluate.analyze.evaluation_data import CLASS, ERROR_MEASURES, EvaluationData, classes_of
from mathpipe.evaluate.analyze.statistics import wilson
from mathpipe.evaluate.score.scoring import TOLERANCES
from mathpipe.generate.tasks.error_measures import TOLERANCE

Metrics = dict[str, Any]

PREDICTED_ACCURACY = 0.95  # of a class that counts as predicted
_INVALID = ("malformed", "unterminated")
_MAX_LISTED = 20  # predicted classes that the text names


def headline_metrics(data: EvaluationData) -> Metrics:
    """Metrics of every problem type; all proportions are of ``n`` problems.

    ``accuracy``: passed verification, with Wilson's 95 % ``accuracy_interval``; ``accuracy_published``: passed, or exactly the
    reference's tokens;
    ``accuracy_any``: one of the hypotheses passed; ``reference_accuracy``: the stored answers, rounded by the encoding;
    ``outcomes``: count and proportion of each.
    """
    n, outcomes, passed = len(data), string_column(data.table, "outcome"), data.passed
    num_correct = int(passed.sum())
    log_probability = data.of("log_probability")
    log_probability = log_probability[np.isfinite(log_probability)]  # none are finite after divergence
    metrics: Metrics = {
        "task": data.task,
        "n": n,
        "decoding": data.metadata.get("decoding", "greedy"),
        "hypotheses": data.hypotheses,
        "accuracy": num_correct / n,
        "accuracy_interval": list(wilson(num_correct, n)),
        "accuracy_published": float((passed | bool_column(data.table, "matches_reference")).mean()),
        "accuracy_any": float(np.isfinite(data.of("correct_rank")).mean()),
        "outcomes": {
            name: {"count": int((outcomes == name).sum()), "proportion": float((outcomes == name).mean())}
            for name in data.metadata["outcomes"]
        },
        "mean_log_probability": float(log_probability.mean()) if len(log_probability) else None,
    }
    if "reference" in data.baseline_counts:
        metrics["reference_accuracy"] = data.baseline_counts.accuracy("reference", TOLERANCE)
    return metrics


def compared_figures(metrics: Metrics) -> dict[str, float]:
    """The eight figures by which people compare evaluations of any problem type: the content of ``metrics.json``.

    ``n`` problems; ``accuracy`` with ``accuracy_low`` and ``accuracy_high``, its 95 % interval; ``accuracy_published``,
    ``accuracy_any``; ``exact`` and ``invalid`` (malformed or unterminated): proportions of these outcomes. All follow from the
    predictions alone, so that equal predictions have equal figures.
    """
    low, high = metrics["accuracy_interval"]
    proportions = {name: outcome["proportion"] for name, outcome in metrics["outcomes"].items()}
    return {
        "n": metrics["n"],
        "accuracy": metrics["accuracy"],
        "accuracy_low": low,
        "accuracy_high": high,
        "accuracy_published": metrics["accuracy_published"],
        "accuracy_any": metrics["accuracy_any"],
        "exact": proportions.get("exact", 0.0),
        "invalid": sum(proportions.get(name, 0.0) for name in _INVALID),
    }


def tolerance_metrics(data: EvaluationData) -> Metrics:
    """Metrics of answers that are measured by numeric errors.

    ``by_tolerance``: for each norm, the error test with that error measure (``error_l2`` is a squared ratio, compared as is) at 5,
    2, 1 and 0.5 %; ``reference``, ``best_representable`` (a lower bound) and ``baselines``: other answers, by tolerance (see
    ``mathpipe.evaluate.analyze.baselines``).
    """
    metrics: Metrics = {
        "by_tolerance": {
            norm: {percent(t): float(data.within(error, t).mean()) for t in TOLERANCES}
            for norm, error in ERROR_MEASURES.items()
        }
    }
    names = [name for name in ("reference", "best_representable") if name in data.baseline_counts]
    metrics |= {name: _by_tolerance(data, name) for name in names}
    if all(name in data.baseline_counts for name in CONSTANTS):
        metrics["baselines"] = {
            "best_constant": data.baseline_counts.best_constant,
            **{name: _by_tolerance(data, name) for name in ("constant", "copy")},
        }
    return metrics


def token_metrics(data: EvaluationData, measures: Sequence[str] = ()) -> Metrics:
    """Metrics of answers that are token sequences.

    ``token_accuracy``: the proportion of the references' tokens, END included, that the prediction has at the same position;
    ``measures``: further columns, averaged over problems, 0 for an answer without END; ``distinct``: accuracy with each distinct
    problem counted once. A short problem may occur many times in a stream, while the interval of ``accuracy`` assumes independent
    problems.
    """
    first = np.unique(string_column(data.table, "problem_tokens"), return_index=True)[1]
    once = data.passed[first]
    num_tokens = data.of("reference_tokens" if data.has("reference_tokens") else "solution_length") + 1  # and END
    return {
        "distinct": {
            "problems": len(first),
            "accuracy": float(once.mean()),
            "accuracy_interval": list(wilson(int(once.sum()), len(first))),
        },
        "token_accuracy": float((data.of("token_accuracy") * num_tokens).sum() / num_tokens.sum()),
        **{name: float(np.nan_to_num(data.of(name)).mean()) for name in measures},
    }


def class_metrics(data: EvaluationData) -> Metrics:
    """``by_class``: problems and accuracy of each class, up to the 100 smallest classes, if the dataset has the column ``class``.

    ``classes_predicted``: how many of these classes have an accuracy of at least 95 % (Charton 2024 counts those of gcd 1..100).
    """
    if not data.has(CLASS):
        return {}
    classes = {}
    for value, here in classes_of(data):
        classes[str(value)] = {"problems": int(here.sum()), "accuracy": float(data.passed[here].mean())}
    predicted = sum(entry["accuracy"] >= PREDICTED_ACCURACY for entry in classes.values())
    return {"classes": len(classes), "classes_predicted": predicted, "by_class": classes}


def summary_text(metrics: Metrics, analyses: list[Analysis], measures: Sequence[str] = ()) -> str:
    """The metrics as text for a terminal. ``measures``: names of further metrics to list."""
    n, seconds = metrics["n"], metrics.get("seconds", {}).get("total")
    lines = [
        f"{metrics['task']}: {counted(n, 'problem')}, {metrics['decoding']}"
        + (f", in {seconds:.1f} s" if seconds is not None else ""),
        "",
        _headline("accuracy", metrics["accuracy"], f"{metrics['criterion']} {_interval(metrics['accuracy_interval'])}"),
        _headline("accuracy_published", metrics["accuracy_published"], "passed, or exactly the reference's tokens"),
    ]
    if "domain" in metrics:
        lines += _domain_lines(metrics)
    once = metrics.get("distinct", {"problems": n})
    if once["problems"] < n:
        detail = f"of the {once['problems']:,} distinct problems {_interval(once['accuracy_interval'])}"
        lines.append(_headline("accuracy_distinct", once["accuracy"], detail))
    if "token_accuracy" in metrics:
        detail = "reference tokens predicted at the same position"
        lines.append(_headline("token_accuracy", metrics["token_accuracy"], detail))
    lines += [_headline(name, metrics[name], "mean over the problems") for name in measures]
    if "by_class" in metrics:
        lines.append(_class_line(metrics))
    if metrics["hypotheses"] > 1:
        detail = f"one of {metrics['hypotheses']} hypotheses is correct"
        lines.append(_headline("accuracy_any", metrics["accuracy_any"], detail))
    lines += ["", *_reference_lines(metrics)]
    lines += _count_lines(metrics["outcomes"])
    lines += _evidence_lines(metrics)
    by_name = {analysis.name: analysis for analysis in analyses}
    lines += _discriminability_lines(by_name.get("failure_discriminability"))
    lines += _wrong_problem_lines(by_name.get("wrong_problem_answers"))
    return "\n".join(lines)


def _class_line(metrics: Metrics) -> str:
    """The number of classes that are predicted, and the first of them by name."""
    names = [name for name, entry in metrics["by_class"].items() if entry["accuracy"] >= PREDICTED_ACCURACY]
    listed = ", ".join([*names[:_MAX_LISTED], *(["..."] if len(names) > _MAX_LISTED else [])])
    return (
        f"{'classes_predicted':<20}{metrics['classes_predicted']:>6} of the {metrics['classes']} smallest classes are "
        f"right in {100 * PREDICTED_ACCURACY:g} % or more of their problems" + (f": {listed}" if names else "")
    )


def _headline(name: str, proportion: float, detail: str) -> str:
    return f"{name:<24}{_percent(proportion)}   {detail}"


def _domain_lines(metrics: Metrics) -> list[str]:
    meaning = {"real": "real_domain counts as correct", "complex": "real_domain does not count as correct"}
    return [
        _headline(
            f"accuracy_{domain}_domain",
            metrics[f"accuracy_{domain}_domain"],
            f"{text} {_interval(metrics[f'accuracy_{domain}_domain_interval'])}",
        )
        for domain, text in meaning.items()
    ]


def _evidence_lines(metrics: Metrics) -> list[str]:
    """The evidence of the correct answers, and how many of them jump; nothing if none is correct."""
    evidence = {name: entry for name, entry in metrics.get("evidence", {}).items() if entry["count"]}
    if not evidence:
        return []
    lines = ["", "evidence of the correct answers", *_count_lines(evidence)]
    jumps = metrics.get("jumps", {"count": 0})["count"]
    return lines + ([f"{jumps:,} of them jump where the integrand is continuous"] if jumps else [])


def _count_lines(entries: dict[str, Any]) -> list[str]:
    return [f"{name:<18}{entry['count']:>10,}  {_percent(entry['proportion'])}" for name, entry in entries.items()]


def _interval(interval: list[float]) -> str:
    low, high = interval
    return f"(95 %: {100 * low:.2f} to {100 * high:.2f})"


def _reference_lines(metrics: Metrics) -> list[str]:
    if "by_tolerance" in metrics:
        return _tolerance_lines(metrics)
    if "reference_accuracy" not in metrics:
        return []
    return [_headline("reference", metrics["reference_accuracy"], "stored solutions that pass verification"), ""]


def _tolerance_lines(metrics: Metrics) -> list[str]:
    rows = {f"error_{norm} within": metrics["by_tolerance"][norm] for norm in ERROR_MEASURES}
    if "reference" in metrics:
        rows |= {"reference": metrics["reference"]}
    if "best_representable" in metrics:
        rows |= {"best_representable >=": metrics["best_representable"]}
    if "baselines" in metrics:
        base = metrics["baselines"]
        rows |= {f"constant ({base['best_constant']})": base["constant"], "copy": base["copy"]}
    width = max(map(len, rows)) + 1
    return [
        f"{'% of problems':<{width}}" + "".join(f"{percent(t):>9}" for t in TOLERANCES),
        *(
            f"{name:<{width}}" + "".join(f"{100 * proportion:>9.2f}" for proportion in row.values())
            for name, row in rows.items()
        ),
        "",
        "reference: the stored answers, rounded by the encoding. best_representable: the best encodable answers that a search",
        "found, a lower bound on the best possible accuracy. Neither is an upper bound.",
        "",
    ]


def _discriminability_lines(analysis: Analysis | None) -> list[str]:
    """The covariate that discriminates failures best, if any does."""
    if analysis is None:
        return []
    name, auc, _, side, ks, p = analysis.rows[0]
    detail = f"failures have {side} values (AUC {auc:.3f}, Kolmogorov-Smirnov statistic {ks:.3f}, p {p:.2g})"
    if p * len(analysis.rows) < 0.05:  # Bonferroni
        return ["", f"the covariate that discriminates failures best is the {name}: {detail}"]
    return ["", f"no covariate discriminates failures; the best is the {name}: {detail}"]


def _wrong_problem_lines(analysis: Analysis | None) -> list[str]:
    """The most frequent other problem, if wrong answers solve it more often than correct ones."""
    if analysis is None:
        return []
    name, _, _, proportion, low, _, of_correct = analysis.rows[0]
    if low <= (of_correct or 0):
        return []
    also = "" if of_correct is None else f" (as do {_percent(of_correct).strip()} of the correct answers)"
    return ["", f"{_percent(proportion).strip()} of the wrong answers solve another problem: {name}{also}"]


def percent(tolerance: float) -> str:
    """0.05 -> '5%'."""
    return f"{100 * tolerance:g}%"


def _percent(proportion: float) -> str:
    return f"{100 * proportion:6.2f} %"


def _by_tolerance(data: EvaluationData, name: str) -> dict[str, float]:
    return {percent(t): data.baseline_counts.accuracy(name, t) for t in TOLERANCES}
