"""The outcomes of n answers as columns: arrays of outcomes, measures and evidence.

An ``AnswerVerification`` of one answer is made when it is asked for, so that a batch costs little more than the verification of
its arrays. ``results.outcomes``, ``results.correct`` and ``results.measures`` give whole columns without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from types import MappingProxyType
from typing import Any, NamedTuple, Self, overload

import numpy as np
from numpy.typing import NDArray

from mathpipe.generate.outcomes import EVIDENCE, NONE, Verification

MALFORMED, TIMEOUT, UNDECIDED = "malformed", "timeout", "undecided"
INVALID_PROBLEM = "invalid_problem"
"""The outcome where not the answer is at fault: the problem cannot be parsed, or the task cannot pose it."""
_EVIDENCE_NAMES = [None if k == NONE else name for k, name in enumerate(EVIDENCE)]
_OTHER_OUTCOMES = (MALFORMED, TIMEOUT, UNDECIDED, INVALID_PROBLEM)

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class AnswerVerification(NamedTuple):
    """The outcome of one answer, and whether it counts as correct.

    ``measures``: those of the task that are defined, such as ``error_l1``; ``evidence``: proven, enclosed or sampled, None where
    the verifier names none; ``evidence_counts``: what it consists of; ``reason``: why there is no other outcome, None for most.
    """

    outcome: str
    correct: bool = False
    measures: Mapping[str, float] = MappingProxyType({})
    evidence: str | None = None
    evidence_counts: Mapping[str, int] = MappingProxyType({})
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, without those that are empty."""
        return {name: value for name, value in self._asdict().items() if value is not None and value != {}}

    def __reduce__(self) -> tuple[Any, ...]:  # a proxy cannot be pickled
        outcome, correct, measures, evidence, counts, reason = self
        return AnswerVerification, (outcome, correct, dict(measures), evidence, dict(counts), reason)


@dataclass(frozen=True, eq=False)
class AnswerVerifications(Sequence[AnswerVerification]):
    """n results, each an ``AnswerVerification`` by its index.

    ``names``: outcomes; ``outcome`` (n,) int16: indices into ``names``; ``correct`` (n,); ``measures`` and ``evidence_counts``:
    (n,) float64 each, NaN where one is not defined; ``evidence`` (n,) int8: indices into ``EVIDENCE``; ``reasons``: of the few
    answers that have one, by index.
    """

    names: tuple[str, ...]
    outcome: NDArray[np.int16]
    correct: Mask
    measures: Mapping[str, Floats] = field(default_factory=dict)
    evidence: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, dtype=np.int8))
    evidence_counts: Mapping[str, Floats] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of_task(
        cls, outcomes: Sequence[str], correct_outcomes: frozenset[str], verification: Verification
    ) -> AnswerVerifications:
        """What a task found, with the names of its outcomes and of those that count as correct."""
        names = _all_names(outcomes)
        counts_as_correct = np.array([name in correct_outcomes for name in names])
        outcome = verification.outcome.astype(np.int16)
        evidence = verification.evidence
        if len(evidence) != len(outcome):
            evidence = np.full(len(outcome), NONE, dtype=np.int8)
        counts = verification.evidence_counts
        return cls(names, outcome, counts_as_correct[outcome], verification.measures, evidence, counts)

    @classmethod
    def unverified(cls, outcomes: Sequence[str], outcome: str, reasons: Sequence[str]) -> AnswerVerifications:
        """Answers of one outcome that is not correct, each for a reason."""
        names, n = _all_names(outcomes), len(reasons)
        code = np.full(n, names.index(outcome), dtype=np.int16)
        evidence = np.full(n, NONE, dtype=np.int8)
        return cls(names, code, np.zeros(n, dtype=np.bool_), {}, evidence, {}, dict(enumerate(reasons)))

    @classmethod
    def merge(
        cls, outcomes: Sequence[str], n: int, parts: Sequence[tuple[Sequence[int], AnswerVerifications]]
    ) -> AnswerVerifications:
        """n results from parts, each with the positions of its rows; together they hold every position once."""
        if len(parts) == 1 and len(parts[0][1]) == n:
            return parts[0][1]
        outcome, evidence = np.zeros(n, dtype=np.int16), np.full(n, NONE, dtype=np.int8)
        correct, reasons = np.zeros(n, dtype=np.bool_), dict[int, str]()
        columns: tuple[dict[str, Floats], dict[str, Floats]] = {}, {}
        for positions, part in parts:
            index = np.asarray(positions, dtype=np.int64)
            outcome[index], correct[index], evidence[index] = part.outcome, part.correct, part.evidence
            reasons.update((positions[k], reason) for k, reason in part.reasons.items())
            for merged, defined in zip(columns, (part.measures, part.evidence_counts), strict=True):
                for name, values in defined.items():
                    merged.setdefault(name, np.full(n, np.nan))[index] = values
        return cls(_all_names(outcomes), outcome, correct, columns[0], evidence, columns[1], reasons)

    def replace(self, mask: Mask, outcome: str, reason: str) -> Self:
        """The same results, but where ``mask`` (n,) is set ``outcome`` without measures, for a reason."""
        if not mask.any():
            return self
        blank = np.where(mask, np.nan, 0.0)
        reasons = {**self.reasons, **dict.fromkeys(np.flatnonzero(mask).tolist(), reason)}
        return type(self)(
            self.names,
            np.where(mask, self.names.index(outcome), self.outcome).astype(np.int16),
            self.correct & ~mask,
            {name: values + blank for name, values in self.measures.items()},
            np.where(mask, NONE, self.evidence).astype(np.int8),
            {name: values + blank for name, values in self.evidence_counts.items()},
            reasons,
        )

    @property
    def outcomes(self) -> list[str]:
        """The name of each outcome."""
        return [self.names[k] for k in self.outcome.tolist()]

    def __len__(self) -> int:
        return len(self.outcome)

    @overload
    def __getitem__(self, index: int) -> AnswerVerification: ...

    @overload
    def __getitem__(self, index: slice) -> AnswerVerifications: ...

    def __getitem__(self, index: int | slice) -> AnswerVerification | AnswerVerifications:
        positions = range(len(self))[index]
        if isinstance(positions, range):
            return self._take(positions)
        measures, counts = (
            {name: float(values[positions]) for name, values in columns.items() if isfinite(values[positions])}
            for columns in (self.measures, self.evidence_counts)
        )
        return AnswerVerification(
            self.names[self.outcome[positions]],
            bool(self.correct[positions]),
            measures,
            _EVIDENCE_NAMES[self.evidence[positions]],
            {name: int(count) for name, count in counts.items()},
            self.reasons.get(positions),
        )

    def __iter__(self) -> Iterator[AnswerVerification]:
        """All results; faster than one by one, since columns become lists at once."""
        grades = [_EVIDENCE_NAMES[k] for k in self.evidence.tolist()]
        columns = self.outcomes, self.correct.tolist(), _finite_values(self.measures, len(self)), grades
        counts = _finite_values(self.evidence_counts, len(self))
        for i, (outcome, correct, measures, grade, numbers) in enumerate(zip(*columns, counts, strict=True)):
            whole = {name: int(count) for name, count in numbers.items()}
            yield AnswerVerification(outcome, correct, measures, grade, whole, self.reasons.get(i))

    def _take(self, positions: range) -> AnswerVerifications:
        index = np.asarray(positions, dtype=np.int64)
        return AnswerVerifications(
            self.names,
            self.outcome[index],
            self.correct[index],
            {name: values[index] for name, values in self.measures.items()},
            self.evidence[index],
            {name: values[index] for name, values in self.evidence_counts.items()},
            {k: self.reasons[i] for k, i in enumerate(positions) if i in self.reasons},
        )


def _all_names(outcomes: Sequence[str]) -> tuple[str, ...]:
    """The outcomes of a task, then those of answers that it could not verify."""
    return (*outcomes, *(name for name in _OTHER_OUTCOMES if name not in outcomes))


def _finite_values(columns: Mapping[str, NDArray[Any]], n: int) -> list[dict[str, Any]]:
    """For each of n rows, the columns (n,) that have a finite number there."""
    if not columns:
        return [{} for _ in range(n)]
    names, rows = list(columns), zip(*(values.tolist() for values in columns.values()), strict=True)
    finite = np.logical_and.reduce([np.isfinite(values) for values in columns.values()]).tolist()
    return [
        dict(zip(names, row, strict=True))
        if complete
        else {k: v for k, v in zip(names, row, strict=True) if isfinite(v)}
        for row, complete in zip(rows, finite, strict=True)
    ]
