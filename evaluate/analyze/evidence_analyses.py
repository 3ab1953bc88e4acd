"""What the outcomes rest on: evidence of the correct answers, and their shares under both policies on the domain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.evaluate.analyze.analysis import Analysis, Chart, proportion
from mathpipe.evaluate.analyze.column_roles import string_column
from mathpipe.evaluate.analyze.evaluation_data import EvaluationData
from mathpipe.evaluate.analyze.statistics import wilson
from mathpipe.evaluate.analyze.summary import Metrics
from mathpipe.generate.outcomes import DOMAINS, EVIDENCE, REAL_DOMAIN

Mask = NDArray[np.bool_]

EVIDENCE_KINDS = EVIDENCE[1:]
"""The kinds of evidence, the strongest first."""


def domain_metrics(data: EvaluationData) -> Metrics:
    """The shares of correct answers under both policies; none for tasks without the outcome ``real_domain``.

    ``domain``: the policy by which ``accuracy`` counts; ``accuracy_real_domain``: correct if ``real_domain`` is;
    ``accuracy_complex_domain``: correct if it is not; each with Wilson's 95 % interval.
    """
    if REAL_DOMAIN not in data.metadata["outcomes"]:
        return {}
    on_reals = string_column(data.table, "outcome") == REAL_DOMAIN
    correct = {"real": data.passed | on_reals, "complex": data.passed & ~on_reals}
    metrics: Metrics = {"domain": data.metadata.get("domain", "real")}
    for domain in DOMAINS:
        num_correct = int(correct[domain].sum())
        metrics[f"accuracy_{domain}_domain"] = num_correct / len(data)
        metrics[f"accuracy_{domain}_domain_interval"] = list(wilson(num_correct, len(data)))
    return metrics


def evidence_metrics(data: EvaluationData) -> Metrics:
    """The evidence of the correct answers; nothing for tasks whose verifier names none.

    ``evidence``: count, proportion of the correct answers and Wilson's 95 % interval of each kind; ``evidence_by_outcome``: count
    and proportion of the correct answers by outcome and kind; ``jumps``: the correct antiderivatives that jump where the integrand
    is continuous, as a proportion of those in which jumps were counted.
    """
    evidence, correct = _evidence(data), data.passed
    if evidence is None:
        return {}
    outcomes, num_correct = string_column(data.table, "outcome"), int(correct.sum())
    metrics: Metrics = {
        "evidence": {name: _share(int((correct & (evidence == name)).sum()), num_correct) for name in EVIDENCE_KINDS},
        "evidence_by_outcome": {
            outcome: {
                name: _count(int((correct & (outcomes == outcome) & (evidence == name)).sum()), num_correct)
                for name in EVIDENCE_KINDS
            }
            for outcome in data.metadata["outcomes"]
            if (correct & (outcomes == outcome)).any()
        },
    }
    jumps = _jumps(data)
    return metrics if jumps is None else metrics | {"jumps": _share(*jumps)}


def by_evidence(data: EvaluationData) -> Iterator[Analysis]:
    """What the correct answers rest on."""
    evidence = _evidence(data)
    if evidence is None or not data.passed.any():
        return
    of_correct = evidence[data.passed]
    yield Analysis(
        "evidence",
        "Evidence of the correct answers",
        "A correct answer is proven by an exact identity, enclosed by balls around 0 on every interval between critical points, or "
        f"sampled: checked at points on some of them only, or by SymPy.{_jump_remark(data)}",
        ["evidence", "correct_answers", "proportion", "low", "high"],
        [[name, k, p, low, high] for name in EVIDENCE_KINDS for p, low, high, k in [proportion(of_correct == name)]],
        Chart("bars", "evidence", ("proportion",), "low", "high", y_title="proportion of correct answers"),
        ("proportion", "low", "high"),
    )


def evidence_by_outcome(data: EvaluationData) -> Iterator[Analysis]:
    """Counts by outcome and evidence, of correct and of wrong answers."""
    evidence = _evidence(data)
    if evidence is None:
        return
    outcomes = string_column(data.table, "outcome")
    rows = []
    for outcome in data.metadata["outcomes"]:
        here = evidence[outcomes == outcome]
        if len(here):
            counts = [int((here == name).sum()) for name in EVIDENCE_KINDS]
            rows.append([outcome, len(here), *counts, len(here) - sum(counts)])
    yield Analysis(
        "evidence_by_outcome",
        "Evidence by outcome",
        "Number of problems. An answer is proven wrong by a point where a ball of the difference excludes 0; none: nothing could "
        "be verified.",
        ["outcome", "problems", *EVIDENCE_KINDS, "none"],
        rows,
    )


def _evidence(data: EvaluationData) -> NDArray[np.object_] | None:
    """The evidence of each problem's best hypothesis, (n,); None if no answer has any."""
    if not data.has("evidence") or data.table["evidence"].null_count == len(data):
        return None
    return string_column(data.table, "evidence")


def _jumps(data: EvaluationData) -> tuple[int, int] | None:
    """(correct answers that jump, correct answers in which jumps were counted); None if they were counted in none."""
    if not data.has("evidence_jumps"):
        return None
    jumps = data.of("evidence_jumps")[data.passed]
    counted = int(np.isfinite(jumps).sum())
    return (int((jumps > 0).sum()), counted) if counted else None


def _jump_remark(data: EvaluationData) -> str:
    jumps = _jumps(data)
    if jumps is None or not jumps[0]:
        return ""
    return (
        f" Of the correct antiderivatives, {jumps[0]:,} jump at isolated points where the integrand is continuous; the column "
        "evidence_jumps of the predictions counts these points."
    )


def _count(count: int, of: int) -> dict[str, Any]:
    return {"count": count, "proportion": count / of if of else None}


def _share(count: int, of: int) -> dict[str, Any]:
    return _count(count, of) | {"interval": list(wilson(count, of))}
