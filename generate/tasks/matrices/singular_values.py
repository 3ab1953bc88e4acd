"""Singular values: A (m x n) -> s_1 >= ... >= s_k >= 0 as a column (k x 1), k = min(m, n).

A prediction h is compared with the stored values s, which are unique: it is right if sum|h - s| <= 5 % of sum|s| (the errors and
the test of ``MatrixTask``). The answer is an ordered list: the same values in another order are wrong.
"""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.linalg.batched import lapack_with_fallback
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.tasks.matrix_task import Floats, Ints, Mask, MatrixTask, solve_by_shape


class SingularValues(MatrixTask):
    """A -> s_1 >= ... >= s_k."""

    name = "singular-values"
    problem = "A (m x n)"
    solution = "singular values, descending (min(m,n) x 1)"
    source = "Charton 2022, singular values"

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n matrices A."""
        return sample_matrices(rng, n, spec)

    def solve(self, problems: Matrices) -> Solved:
        """LAPACK's singular values (dgesdd), descending."""
        return solve_by_shape(problems, _singular_values)

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return np.minimum(problems.rows, problems.cols), np.ones_like(problems.rows)


def _singular_values(a: Floats) -> tuple[Floats, dict[str, Mask]]:
    (values,), failed = lapack_with_fallback(lambda b: (np.linalg.svd(b, compute_uv=False),), ((min(a.shape[1:]),),), a)
    return values[:, :, None], {"no convergence": failed}


TASK = SingularValues()
