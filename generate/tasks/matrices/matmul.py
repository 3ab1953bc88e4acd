"""Matrix product: A, B (both m x n), side by side as [A B] (m x 2n) -> A^T B (n x n), transposed as in the papers."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.linalg.batched import transposed
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.tasks.matrix_task import Floats, Ints, MatrixTask
from mathpipe.generate.tasks.wrong_problems import transpose_half


class MatrixProduct(MatrixTask):
    """A, B -> A^T B."""

    name = "matmul"
    task_token = "M"
    problem = "[A B], side by side (m x 2n)"
    solution = "A^T B (n x n)"
    source = "Charton 2022, matrix product"
    side_by_side = 2
    wrong_problems = {"A not transposed": transpose_half}

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n problems [A B]: A and B have one shape, and independent entries."""
        return sample_matrices(rng, n, spec, side_by_side=2)

    def solve(self, problems: Matrices) -> Solved:
        """A^T B, never rejected."""
        return Solved(problems.map(_product))

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return problems.cols // 2, problems.cols // 2


def _product(ab: Floats) -> Floats:
    n = ab.shape[2] // 2
    return np.asarray(np.matmul(transposed(ab[:, :, :n]), ab[:, :, n:]))


TASK = MatrixProduct()
