"""Scoring of matrices: the outcome of each prediction, by verification.

tokens -> decoded -> shape check -> verified against the problem -> outcome:

===================  =============================================================================
exact                exactly the reference's tokens; verified like all others
within_tolerance     other tokens that pass the task's error test at 5 %
wrong_value          well-formed, of the correct shape, and fails the test
wrong_shape          a well-formed matrix of another shape than the answer
malformed            terminated, but not a well-formed matrix, or tokens after a complete one
unterminated         no END within the length of the longest correct answer
===================  =============================================================================

Two headline metrics: ``accuracy`` counts predictions that pass the error test; ``accuracy_published`` counts those that
pass or are ``exact``, as published evaluations do without verification: rounded references of ill-conditioned problems
can fail the test themselves. Scoring never raises because of a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD, DecodeStatus, MatrixTokenizer
from mathpipe.evaluate.decode.decoding import Hypotheses
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
class ScoredHypotheses:
    """n scored hypotheses of any problem type; ``problems`` has one row per hypothesis.

    ``rank`` (n,): 0 for the best hypothesis of its problem, hypotheses of a problem being contiguous; ``outcome`` (n,): indices
    into ``outcomes``; ``passed`` (n,): passed verification; ``errors``: error measures, NaN where undefined.
    """

    problems: Any  # rows of a dataset: ``MatrixExamples`` or ``SequenceExamples``
    rank: Ints
    decoded: Hypotheses
    readable: Mask
    outcome: NDArray[np.int8]
    passed: Mask
    errors: Errors
    reference_errors: Errors

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Names of the outcomes, exact first."""
        return OUTCOMES

    def __len__(self) -> int:
        return len(self.problems)

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
        """Passed or exact, (n,)."""
        return np.asarray(self.passed | (self.outcome == 0))

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


@dataclass(frozen=True, eq=False)
class ScoredMatrices(ScoredHypotheses):
    """Scored matrices.

    ``matrices``: the decoded predictions, 0 x 0 where not ``readable``; ``passed``: the error test; ``errors``: the measures of the
    task, NaN unless the prediction has the correct shape; ``reference_errors``: those of the encoded references.
    """

    matrices: Matrices


def score(
    task: Task,
    tokenizer: MatrixTokenizer,
    problems: MatrixExamples,
    decoded: Hypotheses,
    tolerance: float = TOLERANCE,
) -> ScoredMatrices:
    """Score hypotheses of the problems ``decoded.problem``, encoded by ``tokenizer`` (the output encoding).

    UserError only for a reference that the encoding cannot represent.
    """
    references, lengths = tokenizer.encode(problems.solutions)
    rounded, _ = tokenizer.decode(append_end(references, lengths))
    matrices, reading = tokenizer.decode(decoded.tokens)
    readable = reading == DecodeStatus.OK
    with np.errstate(all="ignore"):
        reference_errors = error_measures(task, problems, rounded)  # once per problem
        if len(problems) != len(decoded) or (decoded.problem != np.arange(len(decoded))).any():
            problems = problems.take(decoded.problem)
            references, lengths = references[decoded.problem], lengths[decoded.problem]
            reference_errors = {name: values[decoded.problem] for name, values in reference_errors.items()}
        correct_shape = readable & matrices.same_shape(problems.solutions)
        names = (*reference_errors, *diagnostic_names(task.name))
        errors = _errors_where(correct_shape, task, problems, matrices, names)
    passed = correct_shape & task.passes(errors, tolerance)
    outcome = np.select(
        [
            reading == DecodeStatus.UNTERMINATED,
            ~readable,
            ~correct_shape,
            matches_reference(decoded.tokens, references, lengths),
            passed,
        ],
        [UNTERMINATED, MALFORMED, WRONG_SHAPE, EXACT, WITHIN_TOLERANCE],
        default=WRONG_VALUE,
    ).astype(np.int8)
    return ScoredMatrices(
        problems, decoded.rank, decoded, readable, outcome, passed, errors, reference_errors, matrices=matrices
    )


def error_measures(task: Task, problems: MatrixExamples, answers: Matrices) -> Errors:
    """All error measures of answers of the correct shapes, against the clean problems if there is noise.

    With noise, ``error_l1_written`` is additionally the error against the noisy problem.
    """
    errors = task.verify(problems.solved, problems.solutions, answers)
    if problems.clean is not None:
        errors["error_l1_written"] = task.verify(problems.problems, problems.solutions, answers)["error_l1"]
    return errors


def append_end(tokens: NDArray[np.int32], lengths: Ints) -> Ints:
    """Encoded matrices (n, L) followed by END: (n, L + 1)."""
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


def _errors_where(
    correct_shape: Mask, task: Task, problems: MatrixExamples, matrices: Matrices, names: tuple[str, ...]
) -> Errors:
    """The errors of predictions of the correct shape, NaN for all others."""
    errors = {name: np.full(len(problems), np.nan) for name in names}
    index = np.flatnonzero(correct_shape)
    if len(index):
        selected = problems.take(index)
        decoded_matrices = matrices.take(index)
        measures = error_measures(task, selected, decoded_matrices)
        measures |= diagnostics(task.name, selected.problems, selected.solutions, decoded_matrices)
        for name in names:
            errors[name][index] = measures[name]
    return errors


def matches_reference(tokens: Ints, references: NDArray[np.int32], lengths: Ints) -> Mask:
    """(n,): mask of predictions whose tokens before END are exactly the reference's."""
    ends = lengths_before_end(tokens) == lengths
    width = min(tokens.shape[1], references.shape[1])
    same = (tokens[:, :width] == references[:, :width]) | (np.arange(width) >= lengths[:, None])
    return np.asarray(ends & same.all(axis=1))
