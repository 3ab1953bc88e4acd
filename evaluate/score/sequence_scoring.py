"""Scoring of expressions and bits: the task's verifier determines the outcome of each prediction.

tokens -> decoded up to END -> verified against the problem -> outcome:

===================  =============================================================================
exact                exactly the reference's tokens; verified like all others
equivalent           other tokens, verified as correct
particular           a solution, but not the general one (differential equations)
partial              correct at some of the test points
wrong_value          well-formed and wrong
malformed            terminated, but not a well-formed expression
unterminated         no END within the maximum length
undecided, timeout   neither verified nor refuted within the limits of the check
===================  =============================================================================

Each task defines its outcomes and which of them are correct. Verification takes milliseconds per prediction; ``VerifierPool``
distributes it over processes. The outcome of a prediction does not depend on its batch.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.format.sequence_columns import SequenceExamples
from mathpipe.datasets.tokenizers.bit_tokenizer import BitTokenizer
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.matrix_tokenizer import DecodeStatus
from mathpipe.evaluate.decode.decoding import Hypotheses
from mathpipe.evaluate.score.matrix_scoring import ScoredHypotheses, append_end, matches_reference
from mathpipe.evaluate.score.token_accuracy import correct_tokens
from mathpipe.generate.tasks.sequence_base import SequenceTask, Verification

VerifyFunction = Callable[[Sequences, Sequences, Sequences], Verification]

TOKEN_ACCURACY = "token_accuracy"  # proportion of the reference's tokens predicted at the same position
_BATCH_SIZE = 256  # predictions per task of a worker


@dataclass(frozen=True, eq=False)
class ScoredSequences(ScoredHypotheses):
    """Scored sequences. ``sequences``: the decoded predictions, empty where not ``readable``.

    ``errors``: the verifier's measures; ``reference_passed`` (n,): whether the stored solution itself passes verification.
    """

    sequences: Sequences
    reference_passed: NDArray[np.bool_]
    names: tuple[str, ...] = field(default=())

    @property
    def outcomes(self) -> tuple[str, ...]:
        return self.names


class VerifierPool:
    """Verifies predictions of one task in this process, or in ``workers`` other processes."""

    def __init__(self, task: SequenceTask, workers: int = 0) -> None:
        self.task, self._workers = task, workers
        self._pool: ProcessPoolExecutor | None = None

    @contextmanager
    def __call__(self) -> Iterator[VerifierPool]:
        """Start the worker processes, and stop them at the end of the block."""
        if not self._workers:
            yield self
            return
        # not forked: the parent has threads, of torch and of Arrow
        with ProcessPoolExecutor(self._workers, multiprocessing.get_context("spawn")) as self._pool:
            try:
                yield self
            finally:
                self._pool = None

    def verify(self, problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
        n = len(predicted)
        if self._pool is None or n <= _BATCH_SIZE:
            return self.task.verify(problems, references, predicted)
        batches = [np.arange(first, min(first + _BATCH_SIZE, n)) for first in range(0, n, _BATCH_SIZE)]
        results = list(
            self._pool.map(
                _verify_batch,
                [self.task.verify] * len(batches),
                *([part.take(index) for index in batches] for part in (problems, references, predicted)),
            )
        )
        measures = {name: np.concatenate([part.measures[name] for part in results]) for name in results[0].measures}
        return Verification(np.concatenate([part.outcome for part in results]), measures)


def _verify_batch(
    verify: VerifyFunction, problems: Sequences, references: Sequences, predicted: Sequences
) -> Verification:
    return verify(problems, references, predicted)


def score_sequences(
    verifier: VerifierPool,
    tokenizer: ExpressionTokenizer | BitTokenizer,
    problems: SequenceExamples,
    decoded: Hypotheses,
) -> ScoredSequences:
    """Score hypotheses of the problems ``decoded.problem``; exact ones are verified, too."""
    task = verifier.task
    codes = {name: k for k, name in enumerate(task.outcomes)}
    is_correct = np.array([name in task.correct_outcomes for name in task.outcomes])
    tokens, lengths = tokenizer.encode(problems.solutions)
    examples = problems
    if len(problems) != len(decoded) or (decoded.problem != np.arange(len(decoded))).any():
        problems = problems.take(decoded.problem)
        tokens, lengths = tokens[decoded.problem], lengths[decoded.problem]
    sequences, reading = tokenizer.decode(decoded.tokens)
    readable = reading == DecodeStatus.OK
    exact = matches_reference(decoded.tokens, tokens, lengths)
    num_correct, num_tokens = correct_tokens(decoded.tokens, append_end(tokens, lengths))
    outcome = np.select(
        [reading == DecodeStatus.UNTERMINATED, ~readable], [codes["unterminated"], codes["malformed"]], default=-1
    ).astype(np.int8)
    errors = {TOKEN_ACCURACY: num_correct / num_tokens}
    errors |= {name: np.full(len(decoded), np.nan) for name in task.measures}
    index = np.flatnonzero(readable)
    if len(index):
        verification = verifier.verify(
            problems.problems.take(index), problems.solutions.take(index), sequences.take(index)
        )
        outcome[index] = verification.outcome
        for name, values in verification.measures.items():
            errors[name][index] = values
    passed = is_correct[outcome]
    # the outcome of the reference: that of an exact prediction if there is one, else verify it
    reference = np.zeros(len(examples), dtype=bool)
    verified = np.zeros(len(examples), dtype=bool)
    at = decoded.problem[exact & readable]
    reference[at], verified[at] = passed[exact & readable], True
    rest = np.flatnonzero(~verified)
    if len(rest):
        unverified = examples.take(rest)
        solutions = tokenizer.decode(append_end(*tokenizer.encode(unverified.solutions)))[0]
        reference[rest] = is_correct[verifier.verify(unverified.problems, unverified.solutions, solutions).outcome]
    return ScoredSequences(
        problems,
        decoded.rank,
        decoded,
        readable,
        outcome,
        passed,
        errors,
        {},
        sequences=sequences,
        reference_passed=reference[decoded.problem],
        names=task.outcomes,
    )
