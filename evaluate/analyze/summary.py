"""Headline metrics of an evaluation, computed from the columns of its predictions: for DVC, and as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mathpipe.evaluate.analyze.analyses import ERROR_MEASURES, Analysis, EvaluationData
from mathpipe.evaluate.analyze.baselines import CONSTANTS
from mathpipe.evaluate.analyze.columns import string_column
from mathpipe.evaluate.analyze.statistics import wilson
from mathpipe.evaluate.score.matrix_scoring import TOLERANCE, TOLERANCES

Metrics = dict[str, Any]


def compute_metrics(s: EvaluationData, seconds: Mapping[str, float] | None = None) -> Metrics:
    """Metrics of the model and of the baselines; all proportions are of ``n`` problems.

    ``accuracy``: passed verification (matrices: the error test at 5 %), with Wilson's 95 % ``accuracy_interval``;
    ``accuracy_published``: passed or ``exact``; ``accuracy_any``: one of the hypotheses passed; ``by_tolerance``: for each norm,
    the same test with that error measure (``error_l2`` is a squared ratio, compared as is) at 5, 2, 1 and 0.5 %;
    ``outcomes``: count and proportion of each; ``reference`` and ``best_representable`` (a lower bound), ``baselines``: other
    answers, by tolerance (see ``mathpipe.evaluate.analyze.baselines``). Sequences: ``token_accuracy``, the proportion of the
    references' tokens, END included, that the prediction has at the same position; bits: ``bit_accuracy``, 0 for an answer without
    END; ``distinct``: accuracy with each distinct problem counted once. A short problem may occur many times in a stream, while
    the interval of ``accuracy`` assumes independent problems.
    """
    n, outcomes, passed = len(s), string_column(s.table, "outcome"), s.passed
    num_correct = int(passed.sum())
    log_probability = s.of("log_probability")
    log_probability = log_probability[np.isfinite(log_probability)]  # none are finite after divergence
    metrics: Metrics = {
        "task": s.task,
        "n": n,
        "decoding": s.metadata.get("decoding", "greedy"),
        "hypotheses": s.hypotheses,
        "accuracy": num_correct / n,
        "accuracy_interval": list(wilson(num_correct, n)),
        "accuracy_published": float((passed | (outcomes == "exact")).mean()),
        "accuracy_any": float(np.isfinite(s.of("correct_rank")).mean()),
        "outcomes": {
            name: {"count": int((outcomes == name).sum()), "proportion": float((outcomes == name).mean())}
            for name in s.metadata["outcomes"]
        },
        "mean_log_probability": float(log_probability.mean()) if len(log_probability) else None,
    }
    if s.matrices:
        metrics["by_tolerance"] = {
            norm: {percent(t): float(s.within(error, t).mean()) for t in TOLERANCES}
            for norm, error in ERROR_MEASURES.items()
        }
        names = [name for name in ("reference", "best_representable") if name in s.baseline_counts]
        metrics |= {name: _by_tolerance(s, name) for name in names}
        if all(name in s.baseline_counts for name in CONSTANTS):
            metrics["baselines"] = {
                "best_constant": s.baseline_counts.best_constant,
                **{name: _by_tolerance(s, name) for name in ("constant", "copy")},
            }
    elif "reference" in s.baseline_counts:
        metrics["reference"] = s.baseline_counts.accuracy("reference", TOLERANCE)
    if not s.matrices:
        first = np.unique(string_column(s.table, "problem_tokens"), return_index=True)[1]
        once = passed[first]
        metrics["distinct"] = {
            "problems": len(first),
            "accuracy": float(once.mean()),
            "accuracy_interval": list(wilson(int(once.sum()), len(first))),
        }
    if "token_accuracy" in s.table.column_names:
        tokens = s.of("solution_length") + 1  # and END
        metrics["token_accuracy"] = float((s.of("token_accuracy") * tokens).sum() / tokens.sum())
    if "bit_accuracy" in s.table.column_names:
        metrics["bit_accuracy"] = float(np.nan_to_num(s.of("bit_accuracy")).mean())
    metrics["seconds"] = {name: round(value, 3) for name, value in (seconds or {}).items()}
    return metrics


def summary_text(metrics: Metrics, analyses: list[Analysis]) -> str:
    """The metrics as text for a terminal."""
    n, seconds = metrics["n"], metrics["seconds"].get("total")
    low, high = metrics["accuracy_interval"]
    what = f"passed the error test at {percent(TOLERANCE)}" if "by_tolerance" in metrics else "passed verification"
    lines = [
        f"{metrics['task']}: {n:,} problems, {metrics['decoding']}"
        + (f", in {seconds:.1f} s" if seconds is not None else ""),
        "",
        f"accuracy            {_percent(metrics['accuracy'])}   {what} (95 %: {100 * low:.2f} to {100 * high:.2f})",
        f"accuracy_published  {_percent(metrics['accuracy_published'])}   passed, or exactly the reference's tokens",
    ]
    once = metrics.get("distinct", {"problems": n})
    if once["problems"] < n:
        low, high = once["accuracy_interval"]
        detail = f"of the {once['problems']:,} distinct problems (95 %: {100 * low:.2f} to {100 * high:.2f})"
        lines.append(f"accuracy_distinct   {_percent(once['accuracy'])}   {detail}")
    if "token_accuracy" in metrics:
        lines.append(
            f"token_accuracy      {_percent(metrics['token_accuracy'])}   reference tokens predicted at the same position"
        )
    if "bit_accuracy" in metrics:
        lines.append(f"bit_accuracy        {_percent(metrics['bit_accuracy'])}   bits of the answers")
    if metrics["hypotheses"] > 1:
        lines.append(
            f"accuracy_any        {_percent(metrics['accuracy_any'])}   one of {metrics['hypotheses']} hypotheses is correct"
        )
    lines += ["", *_tolerance_lines(metrics)]
    lines += [
        f"{name:<18}{entry['count']:>10,}  {_percent(entry['proportion'])}"
        for name, entry in metrics["outcomes"].items()
    ]
    discriminating = next((a for a in analyses if a.name == "failure_discriminability"), None)
    if discriminating is not None:
        name, auc, _, side, ks, p = discriminating.rows[0]
        detail = f"failures have {side} values (AUC {auc:.3f}, Kolmogorov-Smirnov statistic {ks:.3f}, p {p:.2g})"
        if p * len(discriminating.rows) < 0.05:  # Bonferroni
            lines += ["", f"the covariate that discriminates failures best is the {name}: {detail}"]
        else:
            lines += ["", f"no covariate discriminates failures; the best is the {name}: {detail}"]
    wrong_problem = next((a for a in analyses if a.name == "wrong_problem_answers"), None)
    if wrong_problem is not None:
        name, _, _, proportion, low, _, of_correct = wrong_problem.rows[0]
        if low > (of_correct or 0):
            also = "" if of_correct is None else f" (as do {_percent(of_correct).strip()} of the correct answers)"
            lines += [
                "",
                f"{_percent(proportion).strip()} of the wrong answers solve another problem: {name}{also}",
            ]
    return "\n".join(lines)


def _tolerance_lines(metrics: Metrics) -> list[str]:
    if "by_tolerance" not in metrics:
        reference = metrics.get("reference")
        return (
            []
            if reference is None
            else [f"reference           {_percent(reference)}   stored solutions that pass verification", ""]
        )
    rows = {f"error_{norm} within": metrics["by_tolerance"][norm] for norm in ERROR_MEASURES}
    if "reference" in metrics:
        rows |= {"reference": metrics["reference"]}
    if "best_representable" in metrics:
        rows |= {"best_representable >=": metrics["best_representable"]}
    if "baselines" in metrics:
        base = metrics["baselines"]
        rows |= {f"constant ({base['best_constant']})": base["constant"], "copy": base["copy"]}
    return [
        f"{'% of problems':<22}" + "".join(f"{percent(t):>9}" for t in TOLERANCES),
        *(
            f"{name:<22}" + "".join(f"{100 * proportion:>9.2f}" for proportion in row.values())
            for name, row in rows.items()
        ),
        "",
        "reference: the stored answers, rounded by the encoding. best_representable: the best encodable answers that a search",
        "found, a lower bound on the best possible accuracy. Neither is an upper bound.",
        "",
    ]


def percent(tolerance: float) -> str:
    """0.05 -> '5%'."""
    return f"{100 * tolerance:g}%"


def _percent(proportion: float) -> str:
    return f"{100 * proportion:6.2f} %"


def _by_tolerance(s: EvaluationData, name: str) -> dict[str, float]:
    return {percent(t): s.baseline_counts.accuracy(name, t) for t in TOLERANCES}
