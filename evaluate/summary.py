"""The figures of an evaluation, computed from the predictions' columns: metrics for DVC, a curve to plot, a text to read."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mathpipe.evaluate.baselines import GRID, Yardsticks
from mathpipe.evaluate.scoring import OUTCOMES, TOLERANCE, TOLERANCES, Errors
from mathpipe.generate.tasks import Task

Metrics = dict[str, Any]
Mask = NDArray[np.bool_]

NORMS = {"l1": "error_l1", "l2": "error_l2", "max": "error_max"}
COLUMNS = ("rank", "outcome", "log_probability", *NORMS.values(), "orthogonality")  # of the predictions, if there
YARDSTICKS = ("reference", "attainable", "constant", "copy")


def summarise(
    predictions: pa.Table, task: Task, yardsticks: Yardsticks, seconds: Mapping[str, float] | None = None
) -> Metrics:
    """The metrics of a predictions table (its rank-0 rows) and of the yardsticks; all shares are of ``n``.

    ``accuracy``: passed the error test at 5 %; ``accuracy_published``: passed or ``exact``; ``by_tolerance``: for each norm,
    the same test with that error measure (``error_l2`` is a squared ratio and is compared as it is) at 5, 2, 1 and 0.5 %;
    ``outcomes``: count and share of each; ``reference`` and ``attainable`` (a lower bound), ``baselines``: the same
    problems answered otherwise, by tolerance. See ``mathpipe.evaluate.baselines``.
    """
    best = predictions.filter(pc.equal(predictions["rank"], 0))
    errors, outcomes = _errors(best), best["outcome"].to_numpy()
    n = len(best)
    passed = passes(task, errors, TOLERANCE)
    log_probability = _floats(best, "log_probability")
    log_probability = log_probability[np.isfinite(log_probability)]  # a model that diverged has none
    return {
        "task": task.name,
        "n": n,
        "accuracy": _share(passed, n),
        "accuracy_published": _share(passed | (outcomes == "exact"), n),
        "by_tolerance": {
            norm: {percent(t): _share(passes(task, errors, t, norm), n) for t in TOLERANCES} for norm in NORMS
        },
        "outcomes": {
            name: {"count": int((outcomes == name).sum()), "share": _share(outcomes == name, n)} for name in OUTCOMES
        },
        **{name: _by_tolerance(yardsticks, name) for name in ("reference", "attainable")},
        "baselines": {
            "best_constant": yardsticks.best_constant,
            **{name: _by_tolerance(yardsticks, name) for name in ("constant", "copy")},
        },
        "mean_log_probability": float(log_probability.mean()) if len(log_probability) else None,
        "seconds": {name: round(value, 3) for name, value in (seconds or {}).items()},
    }


def passes(task: Task, errors: Errors, tolerance: float, norm: str = "l1") -> Mask:
    """Which predictions pass the task's error test with the error of this norm in place of ``error_l1``."""
    return task.passes({**errors, "error_l1": errors[NORMS[norm]]}, tolerance)


def accuracy_curve(predictions: pa.Table, task: Task, yardsticks: Yardsticks) -> str:
    """CSV for a plot: accuracy over the papers' grid of tolerances, in each norm, and that of the yardsticks."""
    best = predictions.filter(pc.equal(predictions["rank"], 0))
    errors = _errors(best)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["tolerance", "accuracy", "accuracy_l2", "accuracy_max", *YARDSTICKS])
    for tolerance in GRID:
        norms = [_share(passes(task, errors, tolerance, norm), len(best)) for norm in NORMS]
        table.writerow([tolerance, *norms, *(yardsticks.accuracy(name, tolerance) for name in YARDSTICKS)])
    return text.getvalue()


def summary_text(metrics: Metrics) -> str:
    """The metrics for a person at a terminal."""
    n, constant = metrics["n"], metrics["baselines"]["best_constant"]
    seconds = metrics["seconds"].get("total")
    rows = {
        "error_l1 within": metrics["by_tolerance"]["l1"],
        "error_l2 within": metrics["by_tolerance"]["l2"],
        "error_max within": metrics["by_tolerance"]["max"],
        "reference": metrics["reference"],
        "attainable, at least": metrics["attainable"],
        f"constant ({constant})": metrics["baselines"]["constant"],
        "copy": metrics["baselines"]["copy"],
    }
    lines = [
        f"{metrics['task']}: {n:,} problems" + (f" in {seconds:.1f} s" if seconds is not None else ""),
        "",
        f"accuracy            {_percent(metrics['accuracy'])}   passed the error test at {percent(TOLERANCE)}",
        f"accuracy_published  {_percent(metrics['accuracy_published'])}   passed, or the reference's own words",
        "",
        f"{'% of problems':<22}" + "".join(f"{percent(t):>9}" for t in TOLERANCES),
        *(f"{name:<22}" + "".join(f"{100 * share:>9.2f}" for share in row.values()) for name, row in rows.items()),
        "",
        *(
            f"{name:<18}{found['count']:>10,}  {_percent(found['share'])}"
            for name, found in metrics["outcomes"].items()
        ),
        "",
        "reference: the stored answers as written, what a perfect imitator gets. attainable: the best written answers a",
        "search found, a lower bound of what can be had. Neither is an upper bound.",
    ]
    return "\n".join(lines)


def percent(tolerance: float) -> str:
    """0.05 -> '5%'."""
    return f"{100 * tolerance:g}%"


def _percent(share: float) -> str:
    return f"{100 * share:6.2f} %"


def _by_tolerance(yardsticks: Yardsticks, name: str) -> dict[str, float]:
    return {percent(t): yardsticks.accuracy(name, t) for t in TOLERANCES}


def _errors(predictions: pa.Table) -> Errors:
    """The error columns, NaN where null (which passes nothing)."""
    names = {*NORMS.values(), "orthogonality"} & set(predictions.column_names)
    return {name: _floats(predictions, name) for name in names}


def _floats(predictions: pa.Table, name: str) -> NDArray[np.float64]:
    return np.asarray(predictions[name].cast(pa.float64()).to_numpy(), dtype=np.float64)


def _share(mask: Mask, n: int) -> float:
    return float(np.count_nonzero(mask) / n)
