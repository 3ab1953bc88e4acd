"""Verify answers that any model wrote: text -> parsed by the problem type -> verified by the task.

An answer that cannot be parsed has the outcome ``malformed``, one whose verification exceeds its time ``timeout``, and one at
which the verifier fails ``undecided``; none raises an error. Text is parsed and never evaluated.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.import_records import Fault
from mathpipe.generate.answers.answer_text import Extraction, NoAnswer, check_extraction, extract_answer
from mathpipe.generate.answers.time_limit import TimeLimitExceeded, time_limit
from mathpipe.generate.curate.import_parts.import_part import SIDES, WRONG_SHAPE, ImportPart
from mathpipe.generate.curate.import_parts.import_registry import IMPORT_PARTS
from mathpipe.generate.dataset_spec import ImportedSpec, SourceFormat
from mathpipe.generate.outcomes import DOMAINS, EVIDENCE, NONE, Domain, Verification, counted_as_correct
from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.task_registry import load_task

MALFORMED, TIMEOUT, UNDECIDED = "malformed", "timeout", "undecided"
INVALID_PROBLEM = "invalid_problem"
"""The outcome where not the answer is at fault: the problem cannot be parsed, or the task cannot pose it."""
AUTO = "auto"
SECONDS = 30.0  # for one answer; the limits of the verifiers themselves are below
_EVIDENCE_NAMES = [None if k == NONE else name for k, name in enumerate(EVIDENCE)]
_OUTCOME_OF_FAULT = {WRONG_SHAPE: "wrong_shape"}  # of an answer that is no answer; else it is malformed


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


@dataclass(frozen=True)
class Answer:
    """An answer to a problem, as text or as plain values of JSON; ``reference``: the stored solution, for tasks that need one."""

    problem: object
    answer: object
    reference: object = None


@dataclass(frozen=True)
class ParsedAnswer:
    """Values as containers hold them: matrices, tokens or flat rows of integers."""

    problem: Any
    answer: Any
    reference: Any = None


@dataclass(frozen=True)
class AnswerVerifier:
    """Verifies answers to problems of one task.

    ``notation``: how problems and answers are written, ``auto`` by default for expressions (each by itself), lists for matrices and
    integers, tokens for sequences. ``extraction``: where in a text the answer stands. ``seconds``: time limit of one answer.
    """

    task: Task[Any]
    notation: str | None = None
    extraction: Extraction | None = None
    domain: Domain = "real"
    seconds: float = SECONDS

    def __post_init__(self) -> None:
        check_extraction(self.extraction)
        if self.domain not in DOMAINS:
            raise UserError(f"there is no domain {self.domain!r}", expected=" or ".join(DOMAINS), got=self.domain)
        if not self.seconds > 0:
            raise UserError("the time limit is out of range", expected="more than 0 seconds", got=self.seconds)
        if self.notation is not None and self.notation not in self.part.notations:
            raise UserError(
                f"{self.part.problem_type} are not written as {self.notation}",
                expected=" or ".join(self.part.notations),
                got=self.notation,
            )
        if self.part.required_roles(self.task, self._notation) != SIDES:
            raise UserError(
                f"{self.task.name} mixes problems of several tasks",
                expected="the task of each problem",
                next_step="verify the answers of each task apart, such as --task transpose",
            )

    @functools.cached_property
    def part(self) -> ImportPart:
        """How values of the problem type are parsed and verified."""
        return IMPORT_PARTS[self.task.problem_type]

    @property
    def _notation(self) -> str:
        notations = self.part.notations
        return self.notation or (AUTO if AUTO in notations else notations[0])

    @functools.cached_property
    def _spec(self) -> ImportedSpec:
        source = SourceFormat.model_validate({"format": "jsonl", "notation": self._notation})
        stored = self.part.stored_fields(self.task, source, None, lambda: iter(()))
        return ImportedSpec(problem_type=self.part.problem_type, sources=(), source=source, **stored)

    def parse_problem(self, problem: object) -> Any:
        """The problem as containers hold it, or a ``Fault``."""
        return self.part.parse(self.task, self._spec, "problem", problem)

    def parse_solution(self, answer: object) -> Any:
        """The solution as containers hold it, or a ``Fault``."""
        return self.part.parse(self.task, self._spec, "solution", answer)

    def parse_answer(self, answer: object) -> Any:
        """What a model answered, as containers hold it, or the ``AnswerVerification`` of a malformed answer."""
        try:
            text = extract_answer(answer, self.extraction) if isinstance(answer, str) else answer
        except NoAnswer as error:
            return AnswerVerification(MALFORMED, reason=str(error))
        parsed = self.parse_solution(text)
        if not isinstance(parsed, Fault):
            return parsed
        outcome = _OUTCOME_OF_FAULT.get(parsed.kind, MALFORMED)
        reason = parsed.reason.removeprefix("solution: ")
        return AnswerVerification(outcome if outcome in self.task.outcomes else MALFORMED, reason=reason)

    def verify(self, answers: Sequence[Answer]) -> list[AnswerVerification]:
        """The outcome of each answer, in order; it depends on no other answer."""
        results: list[AnswerVerification | None] = [None] * len(answers)
        parsed, index = [], []
        for i, answer in enumerate(answers):
            values = self._parse_safely(answer)
            if isinstance(values, AnswerVerification):
                results[i] = values
            else:
                parsed.append(values)
                index.append(i)
        for i, result in zip(index, self.verify_parsed(parsed), strict=True):
            results[i] = result
        return [result for result in results if result is not None]

    def _parse_safely(self, answer: Answer) -> ParsedAnswer | AnswerVerification:
        try:
            with time_limit(self.seconds):
                return self._parse(answer)
        except TimeLimitExceeded:
            return AnswerVerification(TIMEOUT, reason=f"parsing took more than {self.seconds:g} s")
        except Exception as error:  # a fault of the parser, which says nothing about the answer
            return AnswerVerification(UNDECIDED, reason=f"the parser failed: {type(error).__name__}")

    def _parse(self, answer: Answer) -> ParsedAnswer | AnswerVerification:
        problem = self._parse_text_once(answer.problem)
        if isinstance(problem, Fault):
            return AnswerVerification(INVALID_PROBLEM, reason=problem.reason)
        reference = None if answer.reference is None else self.parse_solution(answer.reference)
        if isinstance(reference, Fault):
            reason = reference.reason.replace("solution: ", "reference: ", 1)
            return AnswerVerification(INVALID_PROBLEM, reason=reason)
        if reference is None and self.task.needs_reference:
            reason = f"{self.task.name} verifies by comparison: expected the reference of each problem"
            return AnswerVerification(INVALID_PROBLEM, reason=reason)
        parsed = self.parse_answer(answer.answer)
        return parsed if isinstance(parsed, AnswerVerification) else ParsedAnswer(problem, parsed, reference)

    @functools.cached_property
    def _recent_problems(self) -> dict[str, Any]:
        return {}

    def _parse_text_once(self, problem: object) -> Any:
        """The parsed problem; the last one is remembered, because the answers of a model to one problem follow one another."""
        if not isinstance(problem, str):
            return self.parse_problem(problem)
        if problem not in self._recent_problems:
            parsed = self.parse_problem(problem)
            self._recent_problems.clear()
            self._recent_problems[problem] = parsed
        return self._recent_problems[problem]

    def verify_parsed(self, answers: Sequence[ParsedAnswer]) -> list[AnswerVerification]:
        """The outcome of each parsed answer. A batch that takes too long, or fails, is divided to isolate the answer at fault."""
        if not answers:
            return []
        try:
            with time_limit(self.seconds), np.errstate(all="ignore"):
                return self._verify_together(answers)
        except TimeLimitExceeded:
            if len(answers) == 1:
                return [AnswerVerification(TIMEOUT, reason=f"verification took more than {self.seconds:g} s")]
        except Exception as error:  # whatever an answer does to a verifier
            if len(answers) == 1:
                reason = str(error) if isinstance(error, UserError) else type(error).__name__
                return [AnswerVerification(UNDECIDED, reason=f"the verifier failed: {reason}")]
        middle = len(answers) // 2
        return [*self.verify_parsed(answers[:middle]), *self.verify_parsed(answers[middle:])]

    def _verify_together(self, answers: Sequence[ParsedAnswer]) -> list[AnswerVerification]:
        results: list[AnswerVerification | None] = [None] * len(answers)
        for has_reference in (False, True):
            index = [i for i, each in enumerate(answers) if (each.reference is not None) == has_reference]
            if not index:
                continue
            group = [answers[i] for i in index]
            problems, predicted = (self.part.batch([getattr(a, name) for a in group]) for name in ("problem", "answer"))
            references = self.part.batch([a.reference for a in group]) if has_reference else None
            graded = self.part.grade(self.task, problems, predicted, references)
            for i, result in zip(index, self._results(graded.verification), strict=True):
                results[i] = result
            for mask, fault in graded.problem_faults:
                for k in np.flatnonzero(mask).tolist():
                    results[index[k]] = AnswerVerification(INVALID_PROBLEM, reason=fault.reason)
        return [result for result in results if result is not None]

    def _results(self, verification: Verification) -> list[AnswerVerification]:
        correct_outcomes = counted_as_correct(self.task.correct_outcomes, self.domain)
        n = len(verification.outcome)
        graded = len(verification.evidence) == n
        evidence = [_EVIDENCE_NAMES[k] for k in verification.evidence.tolist()] if graded else [None] * n
        names = [self.task.outcomes[k] for k in verification.outcome.tolist()]
        measures = _finite_values(verification.measures, n)
        counts = [
            {name: int(count) for name, count in row.items()} for row in _finite_values(verification.evidence_counts, n)
        ]
        return [
            AnswerVerification(name, name in correct_outcomes, values, grade, numbers)
            for name, values, grade, numbers in zip(names, measures, evidence, counts, strict=True)
        ]


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


@functools.lru_cache(maxsize=32)
def _cached_verifier(
    task: str, notation: str | None, extraction: Extraction | None, domain: Domain, seconds: float
) -> AnswerVerifier:
    return AnswerVerifier(load_task(task), notation, extraction, domain, seconds)


def verify_answer(
    task: str,
    problem: object,
    answer: object,
    *,
    reference: object = None,
    notation: str | None = None,
    extract: Extraction | None = None,
    domain: Domain = "real",
    seconds: float = SECONDS,
) -> AnswerVerification:
    """The outcome of an answer to a problem of a task, with measures and evidence.

    ``problem``, ``answer``: for expressions text as prefix tokens, infix or LaTeX; for matrices nested lists or their text, with
    entries such as ``1/3`` and ``2.5e3``, or LaTeX; for integers nested lists or their text; for sequences text. ``reference``: the
    stored solution; with it a right answer equal to it is ``exact``. ``notation``: one notation instead of any. ``extract``:
    ``boxed`` or ``last-line``, where other text surrounds the answer. ``domain``: ``complex`` does not count ``real_domain`` as
    correct. ``seconds``: time limit.

    No answer raises an error. UserError for an unknown task, or a problem that the task does not have.
    """
    verifier = _cached_verifier(task, notation, extract, domain, seconds)
    (result,) = verifier.verify([Answer(problem, answer, reference)])
    if result.outcome == INVALID_PROBLEM:
        raise UserError(
            f"{result.reason}",
            got=ascii(problem)[:60],
            cause=f"it is no problem of {verifier.task.name}, or its notation is another",
        )
    return result
