"""Outcomes of predicted token sequences, and the evidence for them; shared by generation, verification and evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

REAL_DOMAIN = "real_domain"
"""Right wherever problem and answer are real, the answer being real on a whole interval of the problem's real domain."""
# Outcomes of predictions for symbolic problems; the first two are correct, and `real_domain` under `--domain real`.
SYMBOLIC_OUTCOMES = (
    *("exact", "equivalent", "particular", "partial", "wrong_value"),
    *("malformed", "unterminated", "undecided", "timeout", REAL_DOMAIN),
)
EVIDENCE = ("none", "proven", "enclosed", "sampled")
"""What an outcome rests on.

``proven``: right, an exact identity; wrong, a ball of F' - f that excludes 0. ``enclosed``: balls around zero, of a radius of at
most 1e-40 of the terms, on every interval between critical points. ``sampled``: the same at some points only, or SymPy's word.
"""
NONE, PROVEN, ENCLOSED, SAMPLED = range(len(EVIDENCE))


@dataclass(frozen=True)
class Verification:
    """n verified predictions: ``outcome`` (n,) int8, indices into ``task.outcomes``; ``measures``: more columns, NaN if unknown.

    ``evidence`` (n,) int8: indices into ``EVIDENCE``; empty for tasks whose verifier names none, such as error tests of matrices.
    ``evidence_counts``: (n,) each, what it consists of: points that hold, intervals between critical points that hold and that were
    not tried, jumps of an antiderivative where f is continuous; NaN where they were not counted.
    """

    outcome: NDArray[np.int8]
    measures: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    evidence: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, dtype=np.int8))
    evidence_counts: dict[str, NDArray[np.float64]] = field(default_factory=dict)


EVIDENCE_COUNTS = ("points", "intervals", "untried_intervals", "jumps")

UNCONFIRMED = ("undecided", "timeout")
"""Outcomes that say nothing for or against a solution; their evidence is ``none``."""

Domain = Literal["real", "complex"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)


def counted_as_correct(correct_outcomes: frozenset[str], domain: Domain) -> frozenset[str]:
    """The outcomes that count as correct: ``real`` counts ``real_domain`` where the task does, ``complex`` does not."""
    return correct_outcomes if domain == "real" else correct_outcomes - {REAL_DOMAIN}


FaultKind = Literal["file", "row", "solution", "unconfirmed"]
"""What is at fault in a dataset: a file, a row that is not what its spec says, or the solution of a row. ``unconfirmed``: none of
these, but the solution is neither proven nor refuted."""


@dataclass(frozen=True)
class RowFault:
    """What may be wrong with a row of a dataset. ``outcome``: of its solution, if a verifier has named one."""

    what: str
    kind: FaultKind = "row"
    outcome: str | None = None


def solution_fault(outcome: str) -> RowFault:
    """The fault of a stored solution of an outcome that is not correct."""
    if outcome in UNCONFIRMED:
        return RowFault(f"its solution is not confirmed ({outcome})", "unconfirmed", outcome)
    return RowFault(f"its solution is not correct ({outcome})", "solution", outcome)


def exact_evidence(well_formed: NDArray[np.bool_]) -> NDArray[np.int8]:
    """(n,) evidence of answers compared by exact arithmetic: ``proven``, right or wrong; ``none`` where malformed."""
    return np.where(well_formed, PROVEN, NONE).astype(np.int8)
