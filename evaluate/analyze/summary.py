"""The headline figures of an evaluation, computed from the predictions' columns: metrics for DVC, a text to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mathpipe.evaluate.analyze.analyses import NORMS, Analysis, Subject
from mathpipe.evaluate.analyze.baselines import CONSTANTS
from mathpipe.evaluate.analyze.columns import texts
from mathpipe.evaluate.analyze.statistics import wilson
from mathpipe.evaluate.score.matrix_scoring import TOLERANCE, TOLERANCES

Metrics = dict[str, Any]


def summarise(s: Subject, seconds: Mapping[str, float] | None = None) -> Metrics:
    """The metrics of the problems of a subject and of the yardsticks; all shares are of ``n``.

    ``accuracy``: right by mathematics (matrices: passed the error test at 5 %), with Wilson's 95 % ``accuracy_interval``;
    ``accuracy_published``: right or ``exact``; ``accuracy_any``: one of the hypotheses is right; ``by_tolerance``: for each norm,
    the same test with that error measure (``error_l2`` is a squared ratio and is compared as it is) at 5, 2, 1 and 0.5 %;
    ``outcomes``: count and share of each; ``reference`` and ``attainable`` (a lower bound), ``baselines``: the same
    problems answered otherwise, by tolerance. See ``mathpipe.evaluate.analyze.baselines``. Of sequences ``token_accuracy``: the
    share of the references' words, END included, that stand at their place in the prediction; of bits ``bit_accuracy``, where an
    answer without an end has no right bit; ``distinct``: the same accuracy with each written problem counted once, for a stream
    may hold a short problem many times, and the interval of ``accuracy`` takes all for draws of their own.
    """
    n, outcomes, passed = len(s), texts(s.table, "outcome"), s.passed
    right = int(passed.sum())
    log_probability = s.of("log_probability")
    log_probability = log_probability[np.isfinite(log_probability)]  # a model that diverged has none
    metrics: Metrics = {
        "task": s.task,
        "n": n,
        "decoding": s.metadata.get("decoding", "greedy"),
        "hypotheses": s.hypotheses,
        "accuracy": right / n,
        "accuracy_interval": list(wilson(right, n)),
        "accuracy_published": float((passed | (outcomes == "exact")).mean()),
        "accuracy_any": float(np.isfinite(s.of("correct_rank")).mean()),
        "outcomes": {
            name: {"count": int((outcomes == name).sum()), "share": float((outcomes == name).mean())}
            for name in s.metadata["outcomes"]
        },
        "mean_log_probability": float(log_probability.mean()) if len(log_probability) else None,
    }
    if s.matrices:
        metrics["by_tolerance"] = {
            norm: {percent(t): float(s.within(error, t).mean()) for t in TOLERANCES} for norm, error in NORMS.items()
        }
        names = [name for name in ("reference", "attainable") if name in s.tally]
        metrics |= {name: _by_tolerance(s, name) for name in names}
        if all(name in s.tally for name in CONSTANTS):
            metrics["baselines"] = {
                "best_constant": s.tally.best_constant,
                **{name: _by_tolerance(s, name) for name in ("constant", "copy")},
            }
    elif "reference" in s.tally:
        metrics["reference"] = s.tally.accuracy("reference", TOLERANCE)
    if not s.matrices:
        first = np.unique(texts(s.table, "problem_tokens"), return_index=True)[1]
        once = passed[first]
        metrics["distinct"] = {
            "problems": len(first),
            "accuracy": float(once.mean()),
            "accuracy_interval": list(wilson(int(once.sum()), len(first))),
        }
    if "token_accuracy" in s.table.column_names:
        words = s.of("solution_words") + 1  # and END
        metrics["token_accuracy"] = float((s.of("token_accuracy") * words).sum() / words.sum())
    if "bit_accuracy" in s.table.column_names:
        metrics["bit_accuracy"] = float(np.nan_to_num(s.of("bit_accuracy")).mean())
    metrics["seconds"] = {name: round(value, 3) for name, value in (seconds or {}).items()}
    return metrics


def summary_text(metrics: Metrics, analyses: list[Analysis]) -> str:
    """The metrics for a person at a terminal."""
    n, seconds = metrics["n"], metrics["seconds"].get("total")
    low, high = metrics["accuracy_interval"]
    what = f"passed the error test at {percent(TOLERANCE)}" if "by_tolerance" in metrics else "right by mathematics"
    lines = [
        f"{metrics['task']}: {n:,} problems, {metrics['decoding']}"
        + (f", in {seconds:.1f} s" if seconds is not None else ""),
        "",
        f"accuracy            {_percent(metrics['accuracy'])}   {what} (95 %: {100 * low:.2f} to {100 * high:.2f})",
        f"accuracy_published  {_percent(metrics['accuracy_published'])}   right, or the reference's own words",
    ]
    once = metrics.get("distinct", {"problems": n})
    if once["problems"] < n:
        low, high = once["accuracy_interval"]
        told = f"of the {once['problems']:,} different problems, each once (95 %: {100 * low:.2f} to {100 * high:.2f})"
        lines.append(f"accuracy_distinct   {_percent(once['accuracy'])}   {told}")
    if "token_accuracy" in metrics:
        lines.append(
            f"token_accuracy      {_percent(metrics['token_accuracy'])}   words of the references at their place"
        )
    if "bit_accuracy" in metrics:
        lines.append(f"bit_accuracy        {_percent(metrics['bit_accuracy'])}   bits of the answers")
    if metrics["hypotheses"] > 1:
        lines.append(
            f"accuracy_any        {_percent(metrics['accuracy_any'])}   one of {metrics['hypotheses']} hypotheses is right"
        )
    lines += ["", *_tolerance_lines(metrics)]
    lines += [
        f"{name:<18}{found['count']:>10,}  {_percent(found['share'])}" for name, found in metrics["outcomes"].items()
    ]
    separating = next((a for a in analyses if a.name == "what_separates_failures"), None)
    if separating is not None:
        name, auc, _, side, ks, p = separating.rows[0]
        told = f"failures have {side} ones (AUC {auc:.3f}, Kolmogorov-Smirnov distance {ks:.3f}, p {p:.2g})"
        if p * len(separating.rows) < 0.05:  # of as many tests
            lines += ["", f"failures are told apart best by their {name}: {told}"]
        else:
            lines += ["", f"no covariate tells failures apart; nearest to it is the {name}: {told}"]
    confused = next((a for a in analyses if a.name == "confusions"), None)
    if confused is not None:
        name, _, _, share, low, _, of_right = confused.rows[0]
        if low > (of_right or 0):
            told = "" if of_right is None else f" (so are {_percent(of_right).strip()} of the right ones)"
            lines += ["", f"{_percent(share).strip()} of the wrong answers are right for another problem: {name}{told}"]
    return "\n".join(lines)


def _tolerance_lines(metrics: Metrics) -> list[str]:
    if "by_tolerance" not in metrics:
        found = metrics.get("reference")
        return [] if found is None else [f"reference           {_percent(found)}   stored solutions judged right", ""]
    rows = {f"error_{norm} within": metrics["by_tolerance"][norm] for norm in NORMS}
    if "reference" in metrics:
        rows |= {"reference": metrics["reference"]}
    if "attainable" in metrics:
        rows |= {"attainable, at least": metrics["attainable"]}
    if "baselines" in metrics:
        base = metrics["baselines"]
        rows |= {f"constant ({base['best_constant']})": base["constant"], "copy": base["copy"]}
    return [
        f"{'% of problems':<22}" + "".join(f"{percent(t):>9}" for t in TOLERANCES),
        *(f"{name:<22}" + "".join(f"{100 * share:>9.2f}" for share in row.values()) for name, row in rows.items()),
        "",
        "reference: the stored answers as written, what a perfect imitator gets. attainable: the best written answers a",
        "search found, a lower bound of what can be had. Neither is an upper bound.",
        "",
    ]


def percent(tolerance: float) -> str:
    """0.05 -> '5%'."""
    return f"{100 * tolerance:g}%"


def _percent(share: float) -> str:
    return f"{100 * share:6.2f} %"


def _by_tolerance(s: Subject, name: str) -> dict[str, float]:
    return {percent(t): s.tally.accuracy(name, t) for t in TOLERANCES}
