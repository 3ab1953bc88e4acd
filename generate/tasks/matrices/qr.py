"""QR factorisation: A (m x n, m >= n) -> Q over R ((m + n) x n): A = Q R, Q^T Q = I, R upper triangular, R_ii > 0.

Stacked: rows 0..m-1 hold Q (m x n), rows m..m+n-1 hold R (n x n). A prediction is verified by Q R - A and by the entries below
the diagonal of R, both against A, and by Q^T Q - I. Changing the sign of a column of Q and of the row of R is right as well.
"""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.linalg.batched import map_together, orthogonality
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.tasks.error_measures import Errors, error_measures
from mathpipe.generate.tasks.matrix_task import Floats, Ints, Mask, MatrixTask, solve_by_shape

NEARLY_DEPENDENT = 1e-7  # smallest |R_ii|, relative to the largest, with which Q is a function of A to float32


class QR(MatrixTask):
    """A -> Q over R: A = Q R."""

    name = "qr"
    problem = "A (m x n, m >= n)"
    solution = "Q over R, R_ii > 0 ((m+n) x n)"
    source = "Golub and Van Loan 2013, section 5.2"
    residual_formula = "[Q R - A; R below its diagonal], [Q; R] = H"

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n matrices A; the larger of two sampled dimensions is the number of rows."""
        return sample_matrices(rng, n, spec, tall=True)

    def check_problems(self, spec: MatrixSpec) -> None:
        if spec.rows is not None and spec.cols is not None and spec.rows < spec.cols:
            raise UserError(
                "qr needs at least as many rows as columns",
                expected=f"--rows {spec.cols} --cols {spec.rows}",
                got=f"--rows {spec.rows} --cols {spec.cols}",
                cause="Q has orthonormal columns, of which there can be no more than rows",
                next_step="swap them, or pass --rectangular, which orders the two sampled dimensions",
            )

    def solve(self, problems: Matrices) -> Solved:
        """Householder QR (dgeqrf), signs turned so that R_ii > 0; rejected where columns are nearly dependent."""
        return solve_by_shape(problems, _factorise)

    def residual(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
        """R = [Q R - A; the entries below the diagonal of R]; infinite where a sum is undefined."""
        return map_together(_residual, problems, predicted)

    def errors(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Errors:
        """S = A; also ``orthogonality`` = max|Q^T Q - I|, which a correct solution must also satisfy."""
        errors = error_measures(self.residual(problems, references, predicted), problems, predicted, references)
        errors["orthogonality"] = map_together(
            lambda a, h: orthogonality(h[:, : a.shape[1]]), problems, predicted
        ).values
        return errors

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return problems.rows + problems.cols, problems.cols


def _factorise(a: Floats) -> tuple[Floats, dict[str, Mask]]:
    k, m, n = a.shape
    q, r = np.linalg.qr(a)
    diagonal = np.diagonal(r, axis1=1, axis2=2)
    sign = np.where(diagonal < 0, -1.0, 1.0)
    answer = np.empty((k, m + n, n))
    np.multiply(q, sign[:, None, :], out=answer[:, :m])
    np.multiply(r, sign[:, :, None], out=answer[:, m:])
    answer += 0.0  # no -0
    size = np.abs(diagonal)
    return answer, {"nearly dependent columns": size.min(axis=1) <= NEARLY_DEPENDENT * size.max(axis=1)}


def _residual(a: Floats, h: Floats) -> Floats:
    m = a.shape[1]
    q, r = h[:, :m], h[:, m:]
    return np.concatenate([np.matmul(q, r) - a, np.tril(r, -1)], axis=1)


TASK = QR()
