"""Singular value decomposition: A (m x n) -> (1 + m + n) x k, k = min(m, n): A = U diag(s) V^T.

Stacked without padding: row 0 holds s_1 >= ... >= s_k, rows 1..m hold U (m x k), rows m+1..m+n hold V (n x k); the problem's shape
says where U ends. Column j of U and of V belong to entry j of row 0. The largest-magnitude entry of each column of U is
positive (V follows), so that the target is a function of the problem.

A prediction (s, U, V) is verified by U^T A V - diag(s), and by U^T U - I and V^T V - I: any order of the triplets and any common
signs of u_j and v_j are right. For square A that is all. For m > n it would not do: A = (3, 4)^T, U = (1, 0)^T, V = 1 give
U^T A V = 3 without a residual, but s is 5. So what U or V leaves of A is appended: A V - U U^T A V where m > n, and
A^T U - V V^T A^T U where m < n. Singular values are not negative: a negative s_j, which a sign of u_j alone would explain, adds
2 |s_j| to its entry of the residual.
"""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_per_matrix
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.linalg.batched import column_signs, lapack_with_fallback, map_together, orthogonality, transposed
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.tasks.error_measures import Errors, error_measures
from mathpipe.generate.tasks.matrix_task import Floats, Ints, Mask, MatrixTask, solve_by_shape

# Two singular values this close (relative to the largest) are one to float32, and their vectors no function of what is written:
# a last bit would turn them. The same goes for a value this close to 0, whose two vectors have no common sign.
NEARLY_EQUAL = 1e-7
_FLOAT32 = 5e-7  # errors of a correct solution that was stored as float32, for each dimension


class SVD(MatrixTask):
    """A -> s over U over V: A = U diag(s) V^T."""

    name = "svd"
    problem = "A (m x n)"
    solution = "singular values, descending, over U over V ((1+m+n) x k, k = min(m,n))"
    source = "Charton 2022, singular value decomposition"
    residual_formula = "U^T A V - diag(s), [s; U; V] = H (m != n: and what U or V leaves of A)"

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n matrices A."""
        return sample_matrices(rng, n, spec)

    def solve(self, problems: Matrices) -> Solved:
        """LAPACK's thin decomposition (dgesdd); rejected where two singular values, or one and 0, are nearly equal."""
        return solve_by_shape(problems, _decompose)

    def residual(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
        """R = U^T A V - diag(s), for m != n with what U or V leaves of A below it; infinite where a sum is undefined."""
        return map_together(_residual, problems, predicted)

    def errors(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Errors:
        """S = diag(s) of the reference; also ``orthogonality`` = max of |U^T U - I| and |V^T V - I|."""
        scale = references.map(lambda x: x[:, :1])
        errors = error_measures(self.residual(problems, references, predicted), scale, predicted, references)
        errors["orthogonality"] = map_together(_orthogonality, problems, predicted).values
        return errors

    def matches_recomputed(self, problems: Matrices, solved: Matrices, stored: Matrices) -> Mask:
        """Stored singular values equal the solved ones, in their order, and the stored vectors belong to them, to float32."""
        values, recomputed = (m.map(lambda x: x[:, :1]) for m in (stored, solved))
        deviation = reduce_per_matrix(np.abs(values.values - recomputed.values), recomputed, np.maximum)
        largest = reduce_per_matrix(np.abs(recomputed.values), recomputed, np.maximum)
        errors = self.errors(problems, solved, stored)
        allowed = _FLOAT32 * np.maximum(problems.rows, problems.cols)
        correct = (errors["error_l1"] <= allowed) & (errors["orthogonality"] <= allowed)
        return np.asarray(correct & (deviation <= 1.2e-7 * largest))

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return 1 + problems.rows + problems.cols, np.minimum(problems.rows, problems.cols)


def _decompose(a: Floats) -> tuple[Floats, dict[str, Mask]]:
    k, m, n = a.shape
    r = min(m, n)
    (u, s, vt), failed = lapack_with_fallback(
        lambda b: tuple(np.linalg.svd(b, full_matrices=False)), ((m, r), (r,), (r, n)), a
    )
    sign = column_signs(u)
    answer = np.empty((k, 1 + m + n, r))
    answer[:, 0] = s
    np.multiply(u, sign, out=answer[:, 1 : m + 1])
    np.multiply(transposed(vt), sign, out=answer[:, m + 1 :])
    gaps = np.minimum(-np.diff(s, axis=1).max(axis=1, initial=-np.inf), s[:, -1])
    close = gaps <= NEARLY_EQUAL * s[:, 0]
    return answer, {"no convergence": failed, "nearly equal singular values": close & ~failed}


def _parts(a: Floats, h: Floats) -> tuple[Floats, Floats, Floats]:
    """(s (b, k), U (b, m, k), V (b, n, k))."""
    m = a.shape[1]
    return h[:, 0], h[:, 1 : m + 1], h[:, m + 1 :]


def _residual(a: Floats, h: Floats) -> Floats:
    s, u, v = _parts(a, h)
    av = np.matmul(a, v)
    r = np.matmul(transposed(u), av)
    rest = None
    if a.shape[1] > a.shape[2]:
        rest = av - np.matmul(u, r)
    elif a.shape[1] < a.shape[2]:
        rest = np.matmul(transposed(a), u) - np.matmul(v, transposed(r))
    r = r if rest is None else np.concatenate([r, rest], axis=1)
    i = np.arange(s.shape[1])
    deviation = r[:, i, i] - s
    r[:, i, i] = deviation + np.copysign(2 * np.maximum(-s, 0), deviation)
    return r


def _orthogonality(a: Floats, h: Floats) -> Floats:
    _, u, v = _parts(a, h)
    return np.maximum(orthogonality(u), orthogonality(v))


TASK = SVD()
