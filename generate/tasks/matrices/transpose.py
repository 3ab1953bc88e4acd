"""Transposition: A (m x n) -> A^T (n x m). Exact: only positions change."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.tasks.matrix_task import Ints, MatrixTask
from mathpipe.generate.tasks.wrong_problems import TRANSPOSED


class Transposition(MatrixTask):
    """A -> A^T."""

    name = "transpose"
    task_token = "T"
    problem = "A (m x n)"
    solution = "A^T (n x m)"
    source = "Charton 2022, section 3.1"
    wrong_problems = TRANSPOSED

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n matrices A."""
        return sample_matrices(rng, n, spec)

    def solve(self, problems: Matrices) -> Solved:
        """A^T, never rejected."""
        return Solved(problems.map(lambda a: a.transpose(0, 2, 1)))

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return problems.cols, problems.rows


TASK = Transposition()
