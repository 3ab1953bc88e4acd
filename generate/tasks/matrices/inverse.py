"""Inversion: square A (n x n) -> X with A X = I.

A prediction H is verified by its residual A H - I, so that any matrix that inverts A within tolerance is right.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.linalg.batched import gauss_jordan_inverse
from mathpipe.generate.linalg.rounding_search import best_column
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.tasks.error_measures import Errors, error_measures
from mathpipe.generate.tasks.matrix_task import Floats, Ints, Mask, MatrixTask
from mathpipe.generate.tasks.wrong_problems import TRANSPOSED

MAX_ELIMINATED = 12  # larger matrices: LAPACK is as fast
ACCURATE = 1e-12  # max|A X - I| up to which elimination without pivoting is as good as LAPACK
TRUSTED = 1e-10  # largest entry of |A X - I| in float64 up to which a solution is trusted


class Inverse(MatrixTask):
    """A -> A^-1."""

    name = "inverse"
    task_token: ClassVar[str | None] = "I"
    problem = "A (n x n)"
    solution = "A^-1 (n x n)"
    source = "Charton 2022, section 3.7"
    residual_formula = "A H - I"
    square_only = True
    wrong_problems = TRANSPOSED

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n square matrices A, singular ones among them (``solve`` rejects them)."""
        return sample_matrices(rng, n, spec)

    def solve(self, problems: Matrices) -> Solved:
        """A^-1; rejected where A is singular or max|A X - I| > 1e-10."""
        n = len(problems)
        singular, untrusted = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        solutions = np.empty_like(problems.values)
        for index, a in problems.groups():
            x, failed, deviation = invert(a)
            singular[index] = failed
            untrusted[index] = ~(deviation <= TRUSTED) & ~failed
            if problems.shape is not None:
                solutions = x.reshape(-1)
            else:
                solutions[problems.offsets[index][:, None] + np.arange(a[0].size)] = x.reshape(len(index), -1)
        return Solved(
            Matrices(solutions, problems.rows, problems.cols), {"singular": singular, "untrusted inverse": untrusted}
        )

    def residual(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
        """R = A H - I; infinite where a sum is undefined."""
        values = np.empty_like(problems.values)
        for index, a in problems.groups():
            flat = problems.offsets[index][:, None] + np.arange(a[0].size)
            with np.errstate(over="ignore", invalid="ignore"):
                r = np.matmul(a, predicted.values[flat].reshape(a.shape))
                r -= np.eye(a.shape[1])
            undefined = np.isnan(r)
            if undefined.any():
                r[undefined] = np.inf
            values[flat] = r.reshape(len(index), -1)
        return Matrices(values, problems.rows, problems.cols)

    def errors(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Errors:
        """S = I: error_l1 = sum|A H - I| / n."""
        identity = problems.map(lambda a: np.broadcast_to(np.eye(a.shape[1]), a.shape))
        return error_measures(self.residual(problems, references, predicted), identity, predicted, references)

    def best_representable(self, problems: Matrices, solutions: Matrices) -> Matrices:
        """The 3-digit matrix near X with the smallest found sum|A H - I|, column by column.

        Column j of H must reduce |A h - e_j|; the residuals of the columns are independent. See
        ``mathpipe.generate.linalg.rounding_search``.
        """
        best = np.empty_like(solutions.values)
        for index, a in problems.groups():
            n = a.shape[1]
            flat = solutions.offsets[index][:, None] + np.arange(n * n)
            x = solutions.values[flat].reshape(-1, n, n)
            columns = np.stack([best_column(a, x[:, :, j], np.eye(n)[j]) for j in range(n)], axis=2)
            best[flat] = columns.reshape(len(index), -1)
        return Matrices(best, solutions.rows, solutions.cols)

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return problems.rows, problems.cols


def invert(a: Floats) -> tuple[Floats, Mask, Floats]:
    """(inverses (k, n, n), singular (k,), max|A X - I| (k,)).

    Small matrices by elimination across the batch, at a third of LAPACK's time; where A X misses I by more than 1e-12 (a
    small pivot: 4 in 1,000 at 5x5), and for large ones, LU with partial pivoting.
    """
    k, n = a.shape[:2]
    singular = np.zeros(k, dtype=np.bool_)
    if n > MAX_ELIMINATED:
        x, singular = _lapack_inverse(a)
        return x, singular, _max_residual(a, x)
    x = gauss_jordan_inverse(a)
    deviation = _max_residual(a, x)
    retry = np.flatnonzero(~(deviation <= ACCURATE))
    if len(retry):
        x[retry], singular[retry] = _lapack_inverse(a[retry])
        deviation[retry] = _max_residual(a[retry], x[retry])
    return x, singular, deviation


def _max_residual(a: Floats, x: Floats) -> Floats:
    """max|A X - I| of each, (k,)."""
    with np.errstate(invalid="ignore", over="ignore"):
        r = np.matmul(a, x)
        r -= np.eye(a.shape[1])
        return np.asarray(np.abs(r, out=r).max(axis=(1, 2)))


def _lapack_inverse(a: Floats) -> tuple[Floats, Mask]:
    """(inverses, singular (k,)): LAPACK rejects a whole batch for one singular matrix; then invert one by one."""
    try:
        return np.asarray(np.linalg.inv(a)), np.zeros(len(a), dtype=np.bool_)
    except np.linalg.LinAlgError:
        x, singular = np.zeros_like(a), np.zeros(len(a), dtype=bool)
        for i, matrix in enumerate(a):
            try:
                x[i] = np.linalg.inv(matrix)
            except np.linalg.LinAlgError:
                singular[i] = True
        return x, singular


TASK = Inverse()
