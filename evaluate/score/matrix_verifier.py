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
from mathpipe.evaluate.score.scoring import Mask, ScoredHypotheses, VerifiedAnswers
from mathpipe.generate.outcomes import NONE
from mathpipe.generate.tasks.error_measures import TOLERANCE
from mathpipe.generate.tasks.matrix_task import EXACT, WITHIN_TOLERANCE, WRONG_SHAPE, WRONG_VALUE, MatrixTask

ScoredMatrices = ScoredHypotheses[MatrixExamples, Matrices]


@dataclass(frozen=True)
class MatrixVerifier:
    """Verifies matrices by their task. Errors are NaN unless the prediction has the correct shape.

    With noise, errors are those against the clean problems, and ``error_l1_written`` is the error against the noisy problem.
    """

    task: MatrixTask
    tolerance: float = TOLERANCE

    @property
    def outcomes(self) -> tuple[str, ...]:
        return self.task.outcomes

    def verify(self, examples: MatrixExamples, answers: Matrices, readable: Mask, exact: Mask) -> VerifiedAnswers:
        verification = self.task.verify(examples.solved, examples.solutions, answers, self.tolerance)
        correct_shape = readable & (verification.outcome <= WRONG_VALUE)
        passed = correct_shape & (verification.outcome <= WITHIN_TOLERANCE if self.task.verifies else exact)
        outcome = np.select(
            [~correct_shape, exact, passed], [WRONG_SHAPE, EXACT, WITHIN_TOLERANCE], default=WRONG_VALUE
        )
        errors = {name: np.where(correct_shape, values, np.nan) for name, values in verification.measures.items()}
        if examples.clean is not None and errors:
            errors_as_written = self.task.verify(examples.problems, examples.solutions, answers).measures["error_l1"]
            errors["error_l1_written"] = np.where(correct_shape, errors_as_written, np.nan)
        no_evidence = np.full(len(examples), NONE, dtype=np.int8)  # an error test in floating point proves nothing
        return VerifiedAnswers(outcome.astype(np.int8), passed, errors, no_evidence)


def has_correct_shape(scored: ScoredMatrices) -> Mask:
    """(n,): mask of the predictions that are matrices of the shape of their reference."""
    return np.asarray(scored.outcome <= WRONG_VALUE)
