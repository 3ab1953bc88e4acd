"""Verification of matrices: the task's error test decides.

===================  =============================================================================
exact                exactly the reference's tokens; verified like all others
within_tolerance     other tokens that pass the task's error test at 5 %
wrong_value          well-formed, of the correct shape, and fails the test
wrong_shape          a well-formed matrix of another shape than the answer
malformed            terminated, but not a well-formed matrix, or tokens after a complete one
unterminated         no END within the length of the longest correct answer
===================  =============================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.evaluate.score.scoring import TOLERANCE, Errors, Mask, ScoredHypotheses, VerifiedAnswers
from mathpipe.generate.tasks.matrix_task import MatrixTask

OUTCOMES = ("exact", "within_tolerance", "wrong_value", "wrong_shape", "malformed", "unterminated")
EXACT, WITHIN_TOLERANCE, WRONG_VALUE, WRONG_SHAPE = range(4)

ScoredMatrices = ScoredHypotheses[MatrixExamples, Matrices]


@dataclass(frozen=True)
class MatrixVerifier:
    """Verifies matrices by the error test of their task. Errors are NaN unless the prediction has the correct shape."""

    task: MatrixTask
    tolerance: float = TOLERANCE

    @property
    def outcomes(self) -> tuple[str, ...]:
        return OUTCOMES

    def verify(self, examples: MatrixExamples, answers: Matrices, readable: Mask, exact: Mask) -> VerifiedAnswers:
        correct_shape = readable & answers.same_shape(examples.solutions)
        passed = np.zeros(len(examples), dtype=np.bool_)
        errors: Errors = {}
        index = np.flatnonzero(correct_shape)
        if len(index):
            measured = error_measures(self.task, examples.take(index), answers.take(index))
            passed[index] = self.task.passes(measured, self.tolerance)
            errors = {name: np.full(len(examples), np.nan) for name in measured}
            for name, values in measured.items():
                errors[name][index] = values
        outcome = np.select(
            [~correct_shape, exact, passed], [WRONG_SHAPE, EXACT, WITHIN_TOLERANCE], default=WRONG_VALUE
        )
        return VerifiedAnswers(outcome.astype(np.int8), passed, errors)


def has_correct_shape(scored: ScoredMatrices) -> Mask:
    """(n,): mask of the predictions that are matrices of the shape of their reference."""
    return np.asarray(scored.outcome <= WRONG_VALUE)


def error_measures(task: MatrixTask, examples: MatrixExamples, answers: Matrices) -> Errors:
    """All error measures of answers of the correct shapes, against the clean problems if there is noise.

    With noise, ``error_l1_written`` is additionally the error against the noisy problem.
    """
    errors = task.errors(examples.solved, examples.solutions, answers)
    if examples.clean is not None:
        errors["error_l1_written"] = task.errors(examples.problems, examples.solutions, answers)["error_l1"]
    return errors
