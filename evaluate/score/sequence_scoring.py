"""Scoring of expressions and bits: the task's own judge says what became of each prediction, by mathematics.

words -> read up to the end -> judged against the problem -> outcome:

===================  =============================================================================
exact                the reference's own words, verified like all others
equivalent           other words, verified
particular           holds, but is not the general solution (differential equations)
partial              holds on part of the points
wrong_value          well-formed and wrong
malformed            ended, but no well-formed expression
unterminated         no end within the words that were allowed
undecided, timeout   neither shown right nor wrong within the bounds of the check
===================  =============================================================================

Each task names its own outcomes and which of them are right. The judge takes milliseconds a prediction: ``Judges`` shares the
work out among processes. What a judge says of a prediction does not depend on the others it is judged with.
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
from mathpipe.datasets.format.sequence_columns import SequenceRows
from mathpipe.datasets.tokenizers.bit_tokenizer import BitTokenizer
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.matrix_tokenizer import Reading
from mathpipe.evaluate.decode.decoding import Decoded
from mathpipe.evaluate.score.matrix_scoring import Verdicts, ended, equal_words
from mathpipe.evaluate.score.token_accuracy import right_tokens
from mathpipe.generate.tasks.sequence_base import Judged, SequenceTask

Judge = Callable[[Sequences, Sequences, Sequences], Judged]

TOKEN_ACCURACY = "token_accuracy"  # the share of the reference's words that stand at the same place
_PIECE = 256  # predictions a worker judges at a time


@dataclass(frozen=True, eq=False)
class ScoredSequences(Verdicts):
    """Sequences and what became of each. ``sequences``: the predictions as read, empty where not ``readable``.

    ``errors``: the judge's measures; ``reference_passed`` (n,): whether the stored solution itself is judged right.
    """

    sequences: Sequences
    reference_passed: NDArray[np.bool_]
    names: tuple[str, ...] = field(default=())

    @property
    def outcomes(self) -> tuple[str, ...]:
        return self.names


class Judges:
    """Judges predictions of one task in this process, or in ``workers`` others."""

    def __init__(self, task: SequenceTask, workers: int = 0) -> None:
        self.task, self._workers = task, workers
        self._pool: ProcessPoolExecutor | None = None

    @contextmanager
    def __call__(self) -> Iterator[Judges]:
        """Worker processes live as long as the block."""
        if not self._workers:
            yield self
            return
        # not forked: the parent has threads, of torch and of Arrow
        with ProcessPoolExecutor(self._workers, multiprocessing.get_context("spawn")) as self._pool:
            try:
                yield self
            finally:
                self._pool = None

    def judge(self, problems: Sequences, references: Sequences, predicted: Sequences) -> Judged:
        n = len(predicted)
        if self._pool is None or n <= _PIECE:
            return self.task.judge(problems, references, predicted)
        pieces = [np.arange(first, min(first + _PIECE, n)) for first in range(0, n, _PIECE)]
        found = list(
            self._pool.map(
                _judge_piece,
                [self.task.judge] * len(pieces),
                *([part.take(index) for index in pieces] for part in (problems, references, predicted)),
            )
        )
        measures = {name: np.concatenate([part.measures[name] for part in found]) for name in found[0].measures}
        return Judged(np.concatenate([part.outcome for part in found]), measures)


def _judge_piece(judge: Judge, problems: Sequences, references: Sequences, predicted: Sequences) -> Judged:
    return judge(problems, references, predicted)


def score_sequences(
    judges: Judges, tokenizer: ExpressionTokenizer | BitTokenizer, problems: SequenceRows, decoded: Decoded
) -> ScoredSequences:
    """Score hypotheses for the problems they name; every one is judged, those with the reference's words too."""
    task = judges.task
    places = {name: k for k, name in enumerate(task.outcomes)}
    right = np.array([name in task.right for name in task.outcomes])
    words, lengths = tokenizer.encode(problems.solutions)
    whole = problems
    if len(problems) != len(decoded) or (decoded.problem != np.arange(len(decoded))).any():
        problems = problems.take(decoded.problem)
        words, lengths = words[decoded.problem], lengths[decoded.problem]
    sequences, reading = tokenizer.decode(decoded.tokens)
    readable = reading == Reading.OK
    same = equal_words(decoded.tokens, words, lengths)
    right_words, all_words = right_tokens(decoded.tokens, ended(words, lengths))
    outcome = np.select(
        [reading == Reading.UNTERMINATED, ~readable], [places["unterminated"], places["malformed"]], default=-1
    ).astype(np.int8)
    errors = {TOKEN_ACCURACY: right_words / all_words}
    errors |= {name: np.full(len(decoded), np.nan) for name in task.measures}
    index = np.flatnonzero(readable)
    if len(index):
        judged = judges.judge(problems.problems.take(index), problems.solutions.take(index), sequences.take(index))
        outcome[index] = judged.outcome
        for name, values in judged.measures.items():
            errors[name][index] = values
    passed = right[outcome]
    # the reference's own verdict: that of an exact prediction where there is one, else its own
    reference = np.zeros(len(whole), dtype=bool)
    known = np.zeros(len(whole), dtype=bool)
    at = decoded.problem[same & readable]
    reference[at], known[at] = passed[same & readable], True
    rest = np.flatnonzero(~known)
    if len(rest):
        others = whole.take(rest)
        read = tokenizer.decode(ended(*tokenizer.encode(others.solutions)))[0]
        reference[rest] = right[judges.judge(others.problems, others.solutions, read).outcome]
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
