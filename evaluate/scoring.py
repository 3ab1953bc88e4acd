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

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.matrices import Matrices
from mathpipe.datasets.sequences import END, PAD, MatrixWriter, Reading
from mathpipe.datasets.shards import Rows
from mathpipe.evaluate.decoding import Decoded
from mathpipe.generate.tasks import Task

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Errors = dict[str, Floats]

TOLERANCE = 0.05  # the published headline
TOLERANCES = (0.05, 0.02, 0.01, 0.005)
OUTCOMES = ("exact", "within_tolerance", "wrong_value", "wrong_shape", "malformed", "unterminated")
EXACT, WITHIN_TOLERANCE, WRONG_VALUE, WRONG_SHAPE, MALFORMED, UNTERMINATED = range(len(OUTCOMES))


@dataclass(frozen=True, eq=False)
class Scored:
    """n hypotheses and what became of each; ``problems`` has one row a hypothesis (repeated where a problem has several).

    ``rank`` (n,): 0 for the best hypothesis of its problem; ``matrices``: the predictions as read, 0 x 0 where not
    ``readable``; ``outcome`` (n,): indices of ``OUTCOMES``; ``passed`` (n,): the error test; ``errors``: every measure of
    the task, NaN where nothing of the right shape was read; ``reference_errors``: the same of the references as written.
    """

    problems: Rows
    rank: Ints
    decoded: Decoded
    matrices: Matrices
    readable: Mask
    outcome: NDArray[np.int8]
    passed: Mask
    errors: Errors
    reference_errors: Errors

    def __len__(self) -> int:
        return len(self.problems)

    @cached_property
    def lengths(self) -> Ints:
        """Words of each prediction before END (all of them where there is none), (n,)."""
        return lengths_before_end(self.decoded.tokens)

    @property
    def correct_published(self) -> Mask:
        """Passed or exact, (n,)."""
        return np.asarray(self.passed | (self.outcome == EXACT))


def score(
    task: Task,
    writer: MatrixWriter,
    problems: Rows,
    decoded: Decoded,
    rank: Ints | None = None,
    tolerance: float = TOLERANCE,
) -> Scored:
    """Score n hypotheses for n problems, written by ``writer`` (the output encoding).

    UserError only for a reference that this encoding cannot write.
    """
    references, lengths = writer.write(problems.solutions)
    written, _ = writer.read(ended(references, lengths))
    matrices, reading = writer.read(decoded.tokens)
    readable = reading == Reading.OK
    shaped = readable & matrices.same_shape(problems.solutions)
    with np.errstate(all="ignore"):
        reference_errors = errors_of(task, problems, written)
        errors = _errors_where(shaped, task, problems, matrices, tuple(reference_errors))
    passed = shaped & task.passes(errors, tolerance)
    outcome = np.select(
        [reading == Reading.UNTERMINATED, ~readable, ~shaped, _equal(decoded.tokens, references, lengths), passed],
        [UNTERMINATED, MALFORMED, WRONG_SHAPE, EXACT, WITHIN_TOLERANCE],
        default=WRONG_VALUE,
    ).astype(np.int8)
    ranks = np.zeros(len(problems), dtype=np.int64) if rank is None else rank
    return Scored(problems, ranks, decoded, matrices, readable, outcome, passed, errors, reference_errors)


def errors_of(task: Task, problems: Rows, answers: Matrices) -> Errors:
    """Every error measure of answers that have the right shapes, against the clean operands where there is noise.

    With noise ``error_l1_written`` is the error against the operand as written, besides.
    """
    errors = task.verify(problems.solved, problems.solutions, answers)
    if problems.clean is not None:
        errors["error_l1_written"] = task.verify(problems.operands, problems.solutions, answers)["error_l1"]
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
        found = errors_of(task, chosen, matrices.take(index))
        for name in names:
            errors[name][index] = found[name]
    return errors


def _equal(tokens: Ints, references: NDArray[np.int32], lengths: Ints) -> Mask:
    """Which predictions, if they have an END, are up to there the reference's own words, (n,)."""
    ends = lengths_before_end(tokens) == lengths
    width = min(tokens.shape[1], references.shape[1])
    same = (tokens[:, :width] == references[:, :width]) | (np.arange(width) >= lengths[:, None])
    return np.asarray(ends & same.all(axis=1))
