"""Scoring: what became of each prediction, by mathematics.

words -> read -> of the right shape? -> verified against the problem -> outcome:

===================  =============================================================================
exact                the reference's own words, verified like all others
within_tolerance     other words that pass the task's error test at 5 %
wrong_value          readable, of the right shape, and does not pass
wrong_shape          a well-formed matrix, but not of the answer's shape
malformed            ended, but no well-formed matrix, or anything after a complete one
unterminated         no end within the words that the longest right answer needs
===================  =============================================================================

Two headline shares: ``accuracy`` counts what passed the error test, whatever its words; ``accuracy_published`` counts
what passed or is ``exact``, as the published evaluations do without checking: rounded references of ill-conditioned
problems can fail the test themselves. No prediction whatever makes scoring fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.format.matrix_columns import Rows
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD, MatrixTokenizer, Reading
from mathpipe.evaluate.decode.decoding import Decoded
from mathpipe.evaluate.score.diagnostics import diagnostic_names, diagnostics
from mathpipe.generate.tasks.registry import Task

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Errors = dict[str, Floats]

TOLERANCE = 0.05  # the published headline
TOLERANCES = (0.05, 0.02, 0.01, 0.005)
OUTCOMES = ("exact", "within_tolerance", "wrong_value", "wrong_shape", "malformed", "unterminated")
EXACT, WITHIN_TOLERANCE, WRONG_VALUE, WRONG_SHAPE, MALFORMED, UNTERMINATED = range(len(OUTCOMES))


@dataclass(frozen=True, eq=False)
class Verdicts:
    """n hypotheses and what became of each, whatever they are; ``problems`` has one row a hypothesis.

    ``rank`` (n,): 0 for the best hypothesis of its problem, those of a problem together; ``outcome`` (n,): indices of
    ``outcomes``; ``passed`` (n,): right by mathematics; ``errors``: every measure, NaN where there is none.
    """

    problems: Any  # rows of a dataset: ``Rows`` or ``SequenceRows``
    rank: Ints
    decoded: Decoded
    readable: Mask
    outcome: NDArray[np.int8]
    passed: Mask
    errors: Errors
    reference_errors: Errors

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The names of outcomes, exact first."""
        return OUTCOMES

    def __len__(self) -> int:
        return len(self.problems)

    @cached_property
    def lengths(self) -> Ints:
        """Words of each prediction before END (all of them where there is none), (n,)."""
        return lengths_before_end(self.decoded.tokens)

    @cached_property
    def best(self) -> Mask:
        """Rank 0: one a problem, (n,)."""
        return np.asarray(self.rank == 0)

    @property
    def correct_published(self) -> Mask:
        """Passed or exact, (n,)."""
        return np.asarray(self.passed | (self.outcome == 0))

    @cached_property
    def correct_rank(self) -> Floats:
        """The rank of the best-scoring right hypothesis of the problem, NaN where none is right; (n,), NaN beyond rank 0."""
        found = np.full(len(self), np.nan)
        starts = np.flatnonzero(self.best)
        if len(starts):
            ranks = np.where(self.passed, self.rank.astype(np.float64), np.inf)
            first = np.minimum.reduceat(ranks, starts)
            found[starts] = np.where(np.isfinite(first), first, np.nan)
        return found


@dataclass(frozen=True, eq=False)
class Scored(Verdicts):
    """Matrices and what became of each.

    ``matrices``: the predictions as read, 0 x 0 where not ``readable``; ``passed``: the error test; ``errors``: every measure of
    the task, NaN where nothing of the right shape was read; ``reference_errors``: the same of the references as written.
    """

    matrices: Matrices


def score(
    task: Task,
    tokenizer: MatrixTokenizer,
    problems: Rows,
    decoded: Decoded,
    tolerance: float = TOLERANCE,
) -> Scored:
    """Score hypotheses for the problems they name (``decoded.problem``), written by ``tokenizer`` (the output encoding).

    UserError only for a reference that this encoding cannot write.
    """
    references, lengths = tokenizer.encode(problems.solutions)
    written, _ = tokenizer.decode(ended(references, lengths))
    matrices, reading = tokenizer.decode(decoded.tokens)
    readable = reading == Reading.OK
    with np.errstate(all="ignore"):
        reference_errors = errors_of(task, problems, written)  # once a problem
        if len(problems) != len(decoded) or (decoded.problem != np.arange(len(decoded))).any():
            problems = problems.take(decoded.problem)
            references, lengths = references[decoded.problem], lengths[decoded.problem]
            reference_errors = {name: values[decoded.problem] for name, values in reference_errors.items()}
        shaped = readable & matrices.same_shape(problems.solutions)
        names = (*reference_errors, *diagnostic_names(task.name))
        errors = _errors_where(shaped, task, problems, matrices, names)
    passed = shaped & task.passes(errors, tolerance)
    outcome = np.select(
        [reading == Reading.UNTERMINATED, ~readable, ~shaped, equal_words(decoded.tokens, references, lengths), passed],
        [UNTERMINATED, MALFORMED, WRONG_SHAPE, EXACT, WITHIN_TOLERANCE],
        default=WRONG_VALUE,
    ).astype(np.int8)
    return Scored(
        problems, decoded.rank, decoded, readable, outcome, passed, errors, reference_errors, matrices=matrices
    )


def errors_of(task: Task, problems: Rows, answers: Matrices) -> Errors:
    """Every error measure of answers that have the right shapes, against the clean problems where there is noise.

    With noise ``error_l1_written`` is the error against the problem as written, besides.
    """
    errors = task.verify(problems.solved, problems.solutions, answers)
    if problems.clean is not None:
        errors["error_l1_written"] = task.verify(problems.problems, problems.solutions, answers)["error_l1"]
    return errors


def ended(tokens: NDArray[np.int32], lengths: Ints) -> Ints:
    """Written matrices (n, L) with END after each: (n, L + 1)."""
    sequences = np.full((len(tokens), tokens.shape[1] + 1), PAD, dtype=np.int64)
    sequences[:, :-1] = tokens
    sequences[np.arange(len(tokens)), lengths] = END
    return sequences


def lengths_before_end(tokens: Ints) -> Ints:
    """Words of each row (n, L) before its END; L where there is none, for then all of them were generated."""
    n, width = tokens.shape
    if not width:
        return np.zeros(n, dtype=np.int64)
    ends = tokens == END
    return np.asarray(np.where(ends.any(axis=1), ends.argmax(axis=1), width))


def _errors_where(shaped: Mask, task: Task, problems: Rows, matrices: Matrices, names: tuple[str, ...]) -> Errors:
    """The errors of predictions that have the right shape, NaN for all others."""
    errors = {name: np.full(len(problems), np.nan) for name in names}
    index = np.flatnonzero(shaped)
    if len(index):
        chosen = problems.take(index)
        read = matrices.take(index)
        found = errors_of(task, chosen, read)
        found |= diagnostics(task.name, chosen.problems, chosen.solutions, read)
        for name in names:
            errors[name][index] = found[name]
    return errors


def equal_words(tokens: Ints, references: NDArray[np.int32], lengths: Ints) -> Mask:
    """Which predictions, if they have an END, are up to there the reference's own words, (n,)."""
    ends = lengths_before_end(tokens) == lengths
    width = min(tokens.shape[1], references.shape[1])
    same = (tokens[:, :width] == references[:, :width]) | (np.arange(width) >= lengths[:, None])
    return np.asarray(ends & same.all(axis=1))
