"""Determinant: square A (n x n) -> det A (1 x 1), verified by the relative difference."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.linalg.batched import transposed
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.tasks.matrix_task import Floats, Ints, Mask, MatrixTask, solve_by_shape
from mathpipe.generate.tasks.wrong_problems import swap_rows

TRUSTED = 1e-10  # relative difference between two computations up to which a determinant is trusted


class Determinant(MatrixTask):
    """A -> det A."""

    name = "determinant"
    problem = "A (n x n)"
    solution = "det A (1 x 1)"
    source = "Golub and Van Loan 2013, chapter 3 (LU factorisation)"
    square_only = True
    wrong_problems = {"two rows in the other order": swap_rows}

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n square matrices A."""
        return sample_matrices(rng, n, spec)

    def solve(self, problems: Matrices) -> Solved:
        """det A by LU with partial pivoting; rejected where a second computation differs: A^T with its rows and columns in
        reverse order has the same determinant but other rounding errors.

        Cancellation leaves a nearly singular matrix few certain digits. Determinants grow fast with n and c: with c = 10 most
        10 x 10 ones are beyond 1e9, which no dataset holds (about c n^(1/2) / 4 for each dimension: choose a smaller c).
        """
        return solve_by_shape(problems, _determinant)

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return np.ones_like(problems.rows), np.ones_like(problems.cols)


def _determinant(a: Floats) -> tuple[Floats, dict[str, Mask]]:
    det = np.linalg.det(a)
    untrusted = np.abs(det - np.linalg.det(transposed(a)[:, ::-1, ::-1])) > TRUSTED * np.abs(det)
    return det[:, None, None], {"untrusted determinant": untrusted}


TASK = Determinant()
