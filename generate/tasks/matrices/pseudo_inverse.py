"""Pseudo-inverse: A (m x n) -> A^+ (n x m), the one matrix H for which (Penrose)

    A H A = A,   H A H = H,   A H symmetric,   H A symmetric.

A prediction is verified by all four: each error measure is the largest of the four, every condition relative to what its
right side is with the reference X (A, X, A X, X A), never with the prediction.
"""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.linalg.batched import lapack_with_fallback, map_together, transposed
from mathpipe.generate.linalg.rounding_search import coordinate_descent
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.tasks.error_measures import Errors, error_measures
from mathpipe.generate.tasks.matrices.inverse import TRUSTED, invert
from mathpipe.generate.tasks.matrix_task import Floats, Ints, Mask, MatrixTask, solve_by_shape


class PseudoInverse(MatrixTask):
    """A -> A^+."""

    name = "pseudo-inverse"
    problem = "A (m x n)"
    solution = "A^+ (n x m)"
    source = "Penrose 1955"
    residual_formula = "A H A - A (the errors: the largest of Penrose's four conditions)"

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n matrices A, almost all of full rank."""
        return sample_matrices(rng, n, spec)

    def solve(self, problems: Matrices) -> Solved:
        """A^-1 for square A; R^-1 Q^T with A = Q R for tall ones; transposed for wide ones.

        Rejected where A lacks full rank, or A^+ A (tall), A A^+ (wide or square) misses I by more than 1e-10.
        """
        return solve_by_shape(problems, _pseudo_inverse)

    def residual(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
        """R = A H A - A, the first of the four conditions; infinite where a sum is undefined."""
        return map_together(lambda a, h: np.matmul(np.matmul(a, h), a) - a, problems, predicted)

    def errors(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Errors:
        """The largest of the four conditions' errors; scales A, X, A X and X A."""
        first = error_measures(self.residual(problems, references, predicted), problems, predicted, references)
        product = lambda a, b: np.matmul(a, b)  # noqa: E731
        ah, ha = map_together(product, problems, predicted), map_together(product, predicted, problems)
        others = [
            (map_together(lambda h, a: np.matmul(np.matmul(h, a), h) - h, predicted, problems), references),
            (map_together(lambda p: p - transposed(p), ah), map_together(product, problems, references)),
            (map_together(lambda p: p - transposed(p), ha), map_together(product, references, problems)),
        ]
        for other_residual, scale in others:
            errors = error_measures(other_residual, scale, predicted, references)
            for name in ("error_l1", "error_l2", "error_max"):
                first[name] = np.maximum(first[name], errors[name])
        return first

    def best_representable(self, problems: Matrices, solutions: Matrices) -> Matrices:
        """Coordinate descent on error_l1 from the rounded solution; never worse."""
        return coordinate_descent(solutions, lambda h: self.errors(problems, solutions, h)["error_l1"])

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return problems.cols, problems.rows


def _pseudo_inverse(a: Floats) -> tuple[Floats, dict[str, Mask]]:
    _, m, n = a.shape
    if m < n:
        x, rejected = _pseudo_inverse(np.ascontiguousarray(transposed(a)))
        return transposed(x), rejected
    if m == n:
        x, singular, _ = invert(a)
    else:
        q, r = np.linalg.qr(a)
        (x,), singular = lapack_with_fallback(lambda b, c: (np.linalg.solve(b, c),), ((n, m),), r, transposed(q))
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = np.abs(np.matmul(x, a) - np.eye(n)).max(axis=(1, 2))
    return x, {"rank deficient": singular, "untrusted pseudo-inverse": ~(deviation <= TRUSTED) & ~singular}


TASK = PseudoInverse()
