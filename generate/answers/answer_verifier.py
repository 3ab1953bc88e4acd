"""Verify answers that any model wrote: text -> parsed by the problem type -> verified by the task.

An answer that cannot be parsed has the outcome ``malformed``, one whose verification exceeds its time ``timeout``, and one at
which the verifier fails ``undecided``; none raises an error. Text is parsed and never evaluated.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.import_records import Fault
from mathpipe.generate.answers.answer_text import Extraction, NoAnswer, check_extraction, extract_answer
from mathpipe.generate.answers.answer_verifications import (
    INVALID_PROBLEM,
    MALFORMED,
    TIMEOUT,
    UNDECIDED,
    AnswerVerification,
    AnswerVerifications,
)
from mathpipe.generate.answers.time_limit import TimeLimitExceeded, time_limit
from mathpipe.generate.curate.import_parts.import_part import SIDES, WRONG_SHAPE, ImportPart
from mathpipe.generate.curate.import_parts.import_registry import IMPORT_PARTS
from mathpipe.generate.dataset_spec import ImportedSpec, SourceFormat
from mathpipe.generate.outcomes import DOMAINS, Domain, counted_as_correct
from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.task_registry import load_task_with

AUTO = "auto"
SECONDS = 30.0  # for one answer; the limits of the verifiers themselves are below
_OUTCOME_OF_FAULT = {WRONG_SHAPE: "wrong_shape"}  # of an answer that is no answer; else it is malformed


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
                next_step="verify the answers of each task apart, such as transpose; `mathpipe score` reads the task of each line",
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

    def verify(self, answers: Sequence[Answer]) -> AnswerVerifications:
        """The outcome of each answer, in order; it depends on no other answer."""
        values = [self._parse_safely(answer) for answer in answers]
        parsed = [i for i, each in enumerate(values) if isinstance(each, ParsedAnswer)]
        verified = self.verify_parsed([each for each in values if isinstance(each, ParsedAnswer)])
        parts: list[tuple[Sequence[int], AnswerVerifications]] = [(parsed, verified)]
        for i, each in enumerate(values):
            if not isinstance(each, ParsedAnswer):
                parts.append(([i], self._undecided(each.outcome, each.reason or "")))
        return AnswerVerifications.merge(self.task.outcomes, len(answers), parts)

    def _undecided(self, outcome: str, reason: str) -> AnswerVerifications:
        return AnswerVerifications.unverified(self.task.outcomes, outcome, [reason])

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

    def verify_parsed(self, answers: Sequence[ParsedAnswer]) -> AnswerVerifications:
        """The outcome of each parsed answer. A batch that takes too long, or fails, is divided to isolate the answer at fault."""
        outcomes = self.task.outcomes
        if not answers:
            return AnswerVerifications.merge(outcomes, 0, [])
        try:
            with time_limit(self.seconds), np.errstate(all="ignore"):
                return self._verify_together(answers)
        except TimeLimitExceeded:
            if len(answers) == 1:
                return self._undecided(TIMEOUT, f"verification took more than {self.seconds:g} s")
        except Exception as error:  # whatever an answer does to a verifier
            if len(answers) == 1:
                reason = str(error) if isinstance(error, UserError) else type(error).__name__
                return self._undecided(UNDECIDED, f"the verifier failed: {reason}")
        n, middle = len(answers), len(answers) // 2
        halves = [
            (range(first, end), self.verify_parsed(answers[first:end])) for first, end in ((0, middle), (middle, n))
        ]
        return AnswerVerifications.merge(outcomes, n, halves)

    def _verify_together(self, answers: Sequence[ParsedAnswer]) -> AnswerVerifications:
        """Verify the answers with a reference, and those without, as one batch each."""
        missing = [answer.reference is None for answer in answers]
        if all(missing) or not any(missing):
            return self._verify_group(answers, not missing[0])
        parts = []
        for has_reference in (False, True):
            index = [i for i, without in enumerate(missing) if without != has_reference]
            parts.append((index, self._verify_group([answers[i] for i in index], has_reference)))
        return AnswerVerifications.merge(self.task.outcomes, len(answers), parts)

    def _verify_group(self, answers: Sequence[ParsedAnswer], has_reference: bool) -> AnswerVerifications:
        batch = self.part.batch
        problems = self.part.problem_batch([each.problem for each in answers])
        predicted = batch([each.answer for each in answers])
        references = batch([each.reference for each in answers]) if has_reference else None
        return self.verify_batch(problems, predicted, references)

    def verify_batch(self, problems: Any, answers: Any, references: Any | None = None) -> AnswerVerifications:
        """The outcome of each answer of a container, such as ``Matrices``; problems as a dataset stores them, no time limit."""
        graded = self.part.grade(self.task, problems, answers, references)
        correct_outcomes = counted_as_correct(self.task.correct_outcomes, self.domain)
        results = AnswerVerifications.of_task(self.task.outcomes, correct_outcomes, graded.verification)
        for mask, fault in graded.problem_faults:
            results = results.replace(mask, INVALID_PROBLEM, fault.reason)
        return results


@functools.lru_cache(maxsize=32)
def _cached_verifier(
    task: str,
    notation: str | None,
    extraction: Extraction | None,
    domain: Domain,
    seconds: float,
    options: tuple[tuple[str, Any], ...],
) -> AnswerVerifier:
    return AnswerVerifier(load_task_with(task, dict(options)), notation, extraction, domain, seconds)


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
    **options: Any,
) -> AnswerVerification:
    """The outcome of an answer to a problem of a task, with measures and evidence.

    ``problem``, ``answer``: for expressions text as prefix tokens, infix or LaTeX; for matrices nested lists or their text, with
    entries such as ``1/3`` and ``2.5e3``, or LaTeX; for integers nested lists or their text; for sequences text. ``reference``: the
    stored solution; with it a right answer equal to it is ``exact``. ``notation``: one notation instead of any. ``extract``:
    ``boxed`` or ``last-line``, where other text surrounds the answer. ``domain``: ``complex`` does not count ``real_domain`` as
    correct. ``seconds``: time limit. ``options``: parameters of the problems, such as ``modulus=97``.

    No answer raises an error. UserError for an unknown task or option, or a problem that the task does not have.
    """
    chosen = tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in sorted(options.items()))
    if not all(isinstance(value, Hashable) for _, value in chosen):
        raise UserError(
            f"{task}: no option takes a value of this type", expected="numbers, text or lists", got=repr(options)
        )
    verifier = _cached_verifier(task, notation, extract, domain, seconds, chosen)
    (result,) = verifier.verify([Answer(problem, answer, reference)])
    if result.outcome == INVALID_PROBLEM:
        raise UserError(
            f"{result.reason}",
            got=ascii(problem)[:60],
            cause=f"it is no problem of {verifier.task.name}, or its notation is another",
        )
    return result
