"""Cholesky factorisation: symmetric positive definite A (n x n) -> L, lower triangular, L_ii > 0, with A = L L^T.

Problems are M^T M rounded (the spectrum ``marcenko``: M has coefficient bound sqrt c); rounding makes some indefinite, which
are rejected. A prediction is verified by L L^T - A and by the entries above the diagonal, both against A; changing the
sign of a column of L is right as well.
"""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.linalg.batched import map_together, transposed
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.spectra import distinct_symmetric, sample_symmetric
from mathpipe.generate.tasks.error_measures import Errors, error_measures
from mathpipe.generate.tasks.matrix_task import Floats, Ints, Mask, MatrixTask, solve_by_shape

DEFINITE = 1e-9  # the smallest pivot L_jj^2, relative to A_jj, of a matrix that counts as positive definite


class Cholesky(MatrixTask):
    """A -> L with A = L L^T."""

    name = "cholesky"
    problem = "A = M^T M, positive definite (n x n)"
    solution = "L, lower, L_ii > 0, A = L L^T (n x n)"
    source = "Golub and Van Loan 2013, section 4.2"
    residual_formula = "[H H^T - A; H above its diagonal]"
    square_only = True
    symmetric = True

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n matrices M^T M, rounded, indefinite ones among them (``solve`` rejects them)."""
        return sample_symmetric(rng, n, spec, ("marcenko",))

    def solve(self, problems: Matrices) -> Solved:
        """L column by column over the whole batch; rejected where A is not positive definite (a pivot <= 1e-9 A_jj).

        Only + - * / and square roots of single entries: the same bits on every CPU. LAPACK would refuse every batch, for 6 % of
        5 x 5 and 11 % of 10 x 10 matrices are indefinite.
        """
        return solve_by_shape(problems, _factorise)

    def residual(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
        """R = [L L^T - A; the entries above the diagonal of L]; infinite where a sum is undefined."""
        return map_together(
            lambda a, h: np.concatenate([np.matmul(h, transposed(h)) - a, np.triu(h, 1)], axis=1), problems, predicted
        )

    def errors(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Errors:
        """S = A."""
        return error_measures(self.residual(problems, references, predicted), problems, predicted, references)

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return problems.rows, problems.cols

    def distinct_problems(self, spec: MatrixSpec) -> float:
        return distinct_symmetric(spec)


def _factorise(a: Floats) -> tuple[Floats, dict[str, Mask]]:
    k, n, _ = a.shape
    rest = np.array(a.transpose(1, 2, 0), order="C")  # (n, n, k), a copy: what remains to be factorised
    factor = np.zeros_like(rest)
    least = DEFINITE * np.diagonal(a, axis1=1, axis2=2)
    definite = np.ones(k, dtype=np.bool_)
    for j in range(n):
        pivot = rest[j, j]
        definite &= (pivot > least[:, j]) & (pivot > 0)
        factor[j:, j] = rest[j:, j] / np.sqrt(np.where(definite, pivot, 1.0))
        column = factor[j + 1 :, j]
        rest[j + 1 :, j + 1 :] -= column[:, None] * column[None, :]
        if not definite.all():
            rest[:, :, ~definite] = 0  # of what is rejected nothing grows
    factor[:, :, ~definite] = 0
    return factor.transpose(2, 0, 1), {"not positive definite": ~definite}


TASK = Cholesky()
