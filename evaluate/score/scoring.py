"""Scoring: the outcome of each prediction, by verification. One path for all problem types.

    tokens -> decoded answers -> verified against their problems -> outcomes

A ``Verifier`` does what depends on the problem type. Every problem type has the outcomes ``exact`` (exactly the reference's tokens,
verified like all others), ``malformed`` (terminated, but not an answer) and ``unterminated`` (no END within the maximum length).

Two headline metrics: ``accuracy`` counts predictions that pass verification; ``accuracy_published`` counts those that pass or have
exactly the reference's tokens, as published evaluations do without verification: rounded references of ill-conditioned problems
can fail the test themselves. Scoring never raises because of a prediction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.tokenizers.tokenizer import END, PAD, DecodeStatus
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.score.token_accuracy import correct_tokens

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Errors = dict[str, Floats]

TOLERANCES = (0.05, 0.02, 0.01, 0.005)

ExamplesT = TypeVar("ExamplesT", bound=Any)
AnswersT = TypeVar("AnswersT")
ExamplesT_contra = TypeVar("ExamplesT_contra", contravariant=True)
AnswersT_contra = TypeVar("AnswersT_contra", contravariant=True)


class AnswerTokenizer(Protocol[AnswersT]):
    """A tokenizer of problems or answers of one problem type."""

    @property
    def vocabulary(self) -> tuple[str, ...]: ...

    def encode(self, answers: AnswersT, /) -> tuple[NDArray[np.int32], Ints]: ...

    def decode(self, tokens: NDArray[np.integer], /) -> tuple[AnswersT, NDArray[np.int8]]: ...

    def ids_to_tokens(self, ids: Iterable[int], /) -> list[str]: ...


@dataclass(frozen=True, eq=False)
class VerifiedAnswers:
    """n verified answers.

    ``outcome`` (n,) int8: indices into the verifier's outcomes; ``passed`` (n,): correct; ``errors``: measures (n,), NaN where
    undefined. A verifier may leave measures out that no answer has. ``evidence`` (n,) int8: indices into ``EVIDENCE``;
    ``evidence_counts``: what it consists of (see ``Verification``), (n,) each, NaN where not counted.
    """

    outcome: NDArray[np.int8]
    passed: Mask
    errors: Errors
    evidence: NDArray[np.int8]
    evidence_counts: dict[str, Floats] = field(default_factory=dict)

    def take(self, index: Ints) -> VerifiedAnswers:
        """The answers at ``index`` (k,)."""
        errors, counts = (
            {name: values[index] for name, values in columns.items()} for columns in (self.errors, self.evidence_counts)
        )
        return VerifiedAnswers(self.outcome[index], self.passed[index], errors, self.evidence[index], counts)

    def followed_by(self, others: VerifiedAnswers) -> VerifiedAnswers:
        """These answers, then the others, with the columns of the others."""
        errors, counts = (
            {name: np.concatenate([first[name], values]) for name, values in second.items()}
            for first, second in ((self.errors, others.errors), (self.evidence_counts, others.evidence_counts))
        )
        outcome, passed, evidence = (
            np.concatenate([getattr(part, name) for part in (self, others)])
            for name in ("outcome", "passed", "evidence")
        )
        return VerifiedAnswers(outcome, passed, errors, evidence, counts)


class Verifier(Protocol[ExamplesT_contra, AnswersT_contra]):
    """Verification of one problem type. ``outcomes``: their names, ``exact`` first."""

    @property
    def outcomes(self) -> tuple[str, ...]: ...

    def verify(
        self, examples: ExamplesT_contra, answers: AnswersT_contra, readable: Mask, exact: Mask, /
    ) -> VerifiedAnswers:
        """Verify one answer per example. ``exact``: has the reference's tokens. Outcomes of unreadable answers are ignored."""
        ...


@dataclass(frozen=True, eq=False)
class ScoredHypotheses(Generic[ExamplesT, AnswersT]):
    """n scored hypotheses; ``problems`` has one row per hypothesis.

    ``answers``: the decoded predictions, empty where not ``readable``; ``outcome`` (n,): index into ``outcomes``; ``passed`` (n,):
    passed verification; ``errors``: error measures, NaN where undefined; ``evidence``, ``evidence_counts``: see
    ``VerifiedAnswers``; ``matches_reference`` (n,): exactly the reference's tokens; ``reference``: the stored solutions as encoded,
    verified in the same way; ``num_correct_tokens``, ``num_tokens`` (n,): see ``mathpipe.evaluate.score.token_accuracy``.
    """

    outcomes: tuple[str, ...]
    problems: ExamplesT
    decoded: Hypotheses
    answers: AnswersT
    readable: Mask
    outcome: NDArray[np.int8]
    passed: Mask
    errors: Errors
    evidence: NDArray[np.int8]
    evidence_counts: dict[str, Floats]
    matches_reference: Mask
    reference: VerifiedAnswers
    num_correct_tokens: Ints
    num_tokens: Ints

    def __len__(self) -> int:
        return len(self.decoded)

    @property
    def rank(self) -> Ints:
        """0 for the best hypothesis of its problem; hypotheses of a problem are contiguous, (n,)."""
        return self.decoded.rank

    @cached_property
    def lengths(self) -> Ints:
        """Number of tokens before END (all tokens if there is none), (n,)."""
        return lengths_before_end(self.decoded.tokens)

    @cached_property
    def best(self) -> Mask:
        """Mask of rank 0, one per problem, (n,)."""
        return np.asarray(self.rank == 0)

    @property
    def correct_published(self) -> Mask:
        """Passed, or exactly the reference's tokens, (n,)."""
        return np.asarray(self.passed | self.matches_reference)

    @cached_property
    def correct_rank(self) -> Floats:
        """(n,): at rank 0, the lowest rank of a correct hypothesis of the problem, NaN if none; NaN at other ranks."""
        correct_rank = np.full(len(self), np.nan)
        starts = np.flatnonzero(self.best)
        if len(starts):
            ranks = np.where(self.passed, self.rank.astype(np.float64), np.inf)
            first = np.minimum.reduceat(ranks, starts)
            correct_rank[starts] = np.where(np.isfinite(first), first, np.nan)
        return correct_rank


def score(
    verifier: Verifier[ExamplesT, AnswersT],
    tokenizer: AnswerTokenizer[AnswersT],
    examples: ExamplesT,
    decoded: Hypotheses,
) -> ScoredHypotheses[ExamplesT, AnswersT]:
    """Score hypotheses of the examples ``decoded.problem``, encoded by ``tokenizer`` (the output encoding).

    UserError only for a reference that the encoding cannot represent.
    """
    tokens, lengths = tokenizer.encode(examples.solutions)
    answers, status = tokenizer.decode(decoded.tokens)
    readable = status == DecodeStatus.OK
    one_each = len(examples) == len(decoded) and bool((decoded.problem == np.arange(len(decoded))).all())
    problems: ExamplesT = examples if one_each else examples.take(decoded.problem)
    reference_tokens, reference_lengths = tokens[decoded.problem], lengths[decoded.problem]
    exact = readable & matches_reference(decoded.tokens, reference_tokens, reference_lengths)
    with np.errstate(all="ignore"):
        verified = verifier.verify(problems, answers, readable, exact)
        reference = _verify_references(verifier, tokenizer, examples, (tokens, lengths), decoded, exact, verified)
    names = dict.fromkeys([*reference.errors, *verified.errors])
    num_correct_tokens, num_tokens = correct_tokens(decoded.tokens, append_end(reference_tokens, reference_lengths))
    unread = {DecodeStatus.UNTERMINATED: "unterminated", DecodeStatus.MALFORMED: "malformed"}
    return ScoredHypotheses(
        outcomes=verifier.outcomes,
        problems=problems,
        decoded=decoded,
        answers=answers,
        readable=readable,
        outcome=np.select(
            [status == each for each in unread],
            [verifier.outcomes.index(name) for name in unread.values()],
            default=verified.outcome,
        ).astype(np.int8),
        passed=verified.passed,
        errors={name: verified.errors.get(name, np.full(len(decoded), np.nan)) for name in names},
        evidence=verified.evidence,
        evidence_counts=verified.evidence_counts,
        matches_reference=exact,
        reference=reference.take(decoded.problem),
        num_correct_tokens=num_correct_tokens,
        num_tokens=num_tokens,
    )


def _verify_references(
    verifier: Verifier[ExamplesT, AnswersT],
    tokenizer: AnswerTokenizer[AnswersT],
    examples: ExamplesT,
    encoded: tuple[NDArray[np.int32], Ints],
    decoded: Hypotheses,
    exact: Mask,
    verified: VerifiedAnswers,
) -> VerifiedAnswers:
    """The stored solutions as encoded, one per example: an exact prediction is its reference, all others are verified."""
    same = np.full(len(examples), -1)  # an exact hypothesis of each example
    same[decoded.problem[exact]] = np.flatnonzero(exact)
    rest = np.flatnonzero(same < 0)
    if not len(rest):
        return verified.take(same)
    tokens, lengths = encoded
    rounded, _ = tokenizer.decode(append_end(tokens[rest], lengths[rest]))
    every = np.ones(len(rest), dtype=np.bool_)
    others = verifier.verify(examples.take(rest), rounded, every, every)
    if len(rest) == len(examples):
        return others
    source = np.where(
        same < 0, len(verified.passed) + np.cumsum(same < 0) - 1, same
    )  # into the two, one after the other
    return verified.followed_by(others).take(source)


def append_end(tokens: NDArray[np.int32], lengths: Ints) -> Ints:
    """Encoded answers (n, L) followed by END: (n, L + 1)."""
    sequences = np.full((len(tokens), tokens.shape[1] + 1), PAD, dtype=np.int64)
    sequences[:, :-1] = tokens
    sequences[np.arange(len(tokens)), lengths] = END
    return sequences


def lengths_before_end(tokens: Ints) -> Ints:
    """Number of tokens of each row (n, L) before its END; L if there is none."""
    n, width = tokens.shape
    if not width:
        return np.zeros(n, dtype=np.int64)
    ends = tokens == END
    return np.asarray(np.where(ends.any(axis=1), ends.argmax(axis=1), width))


def matches_reference(tokens: Ints, references: NDArray[np.int32], lengths: Ints) -> Mask:
    """(n,): mask of predictions whose tokens before END are exactly the reference's."""
    ends = lengths_before_end(tokens) == lengths
    width = min(tokens.shape[1], references.shape[1])
    same = (tokens[:, :width] == references[:, :width]) | (np.arange(width) >= lengths[:, None])
    return np.asarray(ends & same.all(axis=1))
