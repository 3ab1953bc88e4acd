"""Matrix times vector: [A v] (m x (n + 1)) -> A^T v (n x 1), transposed as in the papers, so that both fit side by side."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.linalg.batched import transposed
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.tasks.matrix_task import Floats, Ints, MatrixTask
from mathpipe.generate.tasks.wrong_problems import transpose_all_but_last


class MatrixVectorProduct(MatrixTask):
    """A, v -> A^T v."""

    name = "matvec"
    task_token = "D"
    problem = "[A v], side by side (m x (n+1))"
    solution = "A^T v (n x 1)"
    source = "Charton 2022, matrix-vector product"
    extra_cols = 1
    wrong_problems = {"A not transposed": transpose_all_but_last}

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n problems [A v]: v is one more column of the same spec."""
        return sample_matrices(rng, n, spec, extra_cols=1)

    def solve(self, problems: Matrices) -> Solved:
        """A^T v, never rejected."""
        return Solved(problems.map(_product))

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return problems.cols - 1, np.ones_like(problems.cols)


def _product(av: Floats) -> Floats:
    return np.asarray(np.matmul(transposed(av[:, :, :-1]), av[:, :, -1:]))


TASK = MatrixVectorProduct()
