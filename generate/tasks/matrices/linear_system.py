"""Linear systems: [A b] (n x (n + 1)), A square -> x (n x 1) with A x = b.

A prediction h is verified by A h - b against b, so that any vector that solves the system within tolerance is right.
"""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.linalg.batched import lapack_with_fallback, map_together
from mathpipe.generate.linalg.rounding_search import best_column
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.tasks.error_measures import Errors, error_measures
from mathpipe.generate.tasks.matrix_task import Floats, Ints, Mask, MatrixTask, solve_by_shape
from mathpipe.generate.tasks.wrong_problems import transpose_all_but_last

TRUSTED = 1e-10  # max|A x - b| / max|b| in float64 up to which a solution is trusted
_FLOAT32 = 2.0**-23  # twice the relative error of storing x as float32


class LinearSystem(MatrixTask):
    """A, b -> x with A x = b."""

    name = "solve"
    problem = "[A b], side by side (n x (n+1))"
    solution = "x with A x = b (n x 1)"
    source = "Golub and Van Loan 2013, chapter 3 (LU factorisation)"
    residual_formula = "A H - b"
    square_only = True
    extra_cols = 1
    wrong_problems = {"A transposed": transpose_all_but_last}

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n problems [A b]: b is one more column of the same spec."""
        return sample_matrices(rng, n, spec, extra_cols=1)

    def solve(self, problems: Matrices) -> Solved:
        """x by LU with partial pivoting; rejected where A is singular or max|A x - b| > 1e-10 max|b|."""
        return solve_by_shape(problems, _solve)

    def residual(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
        """R = A h - b; infinite where a sum is undefined."""
        return map_together(lambda ab, h: np.matmul(ab[:, :, :-1], h) - ab[:, :, -1:], problems, predicted)

    def errors(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Errors:
        """S = b."""
        b = problems.map(lambda ab: ab[:, :, -1:])
        return error_measures(self.residual(problems, references, predicted), b, predicted, references)

    def best_representable(self, problems: Matrices, solutions: Matrices) -> Matrices:
        """Among 3-digit vectors near x, the one with the least |A h - b|_1 that ``rounding_search`` finds."""
        return map_together(
            lambda ab, x: best_column(ab[:, :, :-1], x[:, :, 0], ab[:, :, -1])[:, :, None], problems, solutions
        )

    def matches_recomputed(self, problems: Matrices, solved: Matrices, stored: Matrices) -> Mask:
        """The stored x solves its system as well as float32 can: |A h - b| <= 2 u |A| |h|, entry by entry.

        An ill-conditioned system has a small residual for solutions that differ beyond float32 between CPUs.
        """

        def within(ab: Floats, h: Floats) -> Floats:
            a, b = ab[:, :, :-1], ab[:, :, -1:]
            allowed = _FLOAT32 * np.matmul(np.abs(a), np.abs(h)) + TRUSTED * np.abs(b).max(axis=1, keepdims=True)
            return np.asarray(
                (np.abs(np.matmul(a, h) - b) <= allowed).all(axis=(1, 2), keepdims=True), dtype=np.float64
            )

        return map_together(within, problems, stored).values > 0

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return problems.rows, np.ones_like(problems.rows)


def _solve(ab: Floats) -> tuple[Floats, dict[str, Mask]]:
    a, b = ab[:, :, :-1], ab[:, :, -1:]
    (x,), singular = lapack_with_fallback(lambda m, v: (np.linalg.solve(m, v),), ((a.shape[1], 1),), a, b)
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = np.abs(np.matmul(a, x) - b).max(axis=(1, 2))
    untrusted = ~(deviation <= TRUSTED * np.abs(b).max(axis=(1, 2)))
    return x, {"singular": singular, "untrusted solution": untrusted & ~singular}


TASK = LinearSystem()
