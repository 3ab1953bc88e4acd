"""Eigenvectors: symmetric A (n x n) -> (n + 1) x n: row 0 the eigenvalues l, ascending, and below them V, A V = V diag(l).

Column j of V (rows 1..n) belongs to entry j of row 0; the largest-magnitude entry of each column is positive, so that the target
is a function of the problem. A prediction (l, V) is verified by V^T A V - diag(l) and by V^T V - I: any signs, any order of the
pairs, any orthonormal basis for a repeated eigenvalue are right.
"""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_per_matrix
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.linalg.batched import column_signs, lapack_with_fallback, map_together, orthogonality, transposed
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.spectra import distinct_symmetric, sample_symmetric
from mathpipe.generate.tasks.error_measures import Errors, error_measures
from mathpipe.generate.tasks.matrix_task import Floats, Ints, Mask, MatrixTask, solve_by_shape
from mathpipe.generate.tasks.wrong_problems import SIGN_OFF_DIAGONAL

# Two eigenvalues this close (relative to the largest) are equal to float32, and their vectors are not a function of the problem: a
# last bit would rotate them. Such problems are rejected; with a wider gap every CPU finds vectors equal to about 1e-8.
NEARLY_EQUAL = 1e-7
_FLOAT32 = 5e-7  # errors of a correct solution that was stored as float32, for each dimension


class Eigenvectors(MatrixTask):
    """Symmetric A -> eigenvalues l over eigenvectors V: A V = V diag(l)."""

    name = "eigenvectors"
    task_token = "F"
    problem = "symmetric A (n x n)"
    solution = "eigenvalues, ascending, over eigenvectors as columns ((n+1) x n)"
    source = "Charton 2022, eigenvectors"
    residual_formula = "V^T A V - diag(l), [l; V] = H"
    square_only = True
    symmetric = True
    takes_spectrum = True
    wrong_problems = SIGN_OFF_DIAGONAL

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n symmetric matrices of the spec's spectrum."""
        return sample_symmetric(rng, n, spec)

    def solve(self, problems: Matrices) -> Solved:
        """LAPACK's symmetric eigenproblem (dsyevd); rejected where two eigenvalues are nearly equal."""
        return solve_by_shape(problems, _eigenvectors)

    def residual(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
        """R = V^T A V - diag(l), l and V from the prediction; infinite where a sum is undefined."""
        return map_together(_residual, problems, predicted)

    def errors(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Errors:
        """S = diag(l) of the reference; also ``orthogonality`` = max|V^T V - I|, which a correct solution must also satisfy."""
        scale = references.map(lambda x: x[:, :1])
        errors = error_measures(self.residual(problems, references, predicted), scale, predicted, references)
        errors["orthogonality"] = map_together(lambda h: orthogonality(h[:, 1:]), predicted).values
        return errors

    def matches_recomputed(self, problems: Matrices, solved: Matrices, stored: Matrices) -> Mask:
        """Stored eigenvalues equal the solved ones, in their order, and the stored vectors are eigenvectors, to float32."""
        values, recomputed = (m.map(lambda x: x[:, :1]) for m in (stored, solved))
        deviation = reduce_per_matrix(np.abs(values.values - recomputed.values), recomputed, np.maximum)
        largest = reduce_per_matrix(np.abs(recomputed.values), recomputed, np.maximum)
        errors = self.errors(problems, solved, stored)
        correct = (errors["error_l1"] <= _FLOAT32 * problems.rows) & (
            errors["orthogonality"] <= _FLOAT32 * problems.rows
        )
        return np.asarray(correct & (deviation <= 1.2e-7 * largest))

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return problems.rows + 1, problems.cols

    def distinct_problems(self, spec: MatrixSpec) -> float:
        return distinct_symmetric(spec)


def _eigenvectors(a: Floats) -> tuple[Floats, dict[str, Mask]]:
    n = a.shape[1]
    (values, vectors), failed = lapack_with_fallback(lambda b: tuple(np.linalg.eigh(b)), ((n,), (n, n)), a)
    answer = np.empty((len(a), n + 1, n))
    answer[:, 0] = values
    np.multiply(vectors, column_signs(vectors), out=answer[:, 1:])
    gaps = np.diff(values, axis=1).min(axis=1, initial=np.inf)
    close = gaps <= NEARLY_EQUAL * np.abs(values).max(axis=1)
    return answer, {"no convergence": failed, "nearly equal eigenvalues": close & ~failed}


def _residual(a: Floats, h: Floats) -> Floats:
    v = h[:, 1:]
    r = np.matmul(transposed(v), np.matmul(a, v))
    i = np.arange(a.shape[1])
    r[:, i, i] -= h[:, 0]
    return np.asarray(r)


TASK = Eigenvectors()
