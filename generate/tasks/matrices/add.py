"""Addition: A, B (both m x n), written side by side as [A B] (m x 2n) -> A + B (m x n)."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.tasks.matrix_task import Floats, Ints, MatrixTask
from mathpipe.generate.tasks.wrong_problems import subtract


class Addition(MatrixTask):
    """A, B -> A + B."""

    name = "add"
    task_token = "A"
    problem = "[A B], side by side (m x 2n)"
    solution = "A + B (m x n)"
    source = "Charton 2022, section 3.2"
    side_by_side = 2
    wrong_problems = {"B subtracted": subtract}

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n problems [A B]: A and B have one shape, and independent entries."""
        return sample_matrices(rng, n, spec, side_by_side=2)

    def solve(self, problems: Matrices) -> Solved:
        """A + B, never rejected."""
        return Solved(problems.map(_sum_of_halves))

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return problems.rows, problems.cols // 2


def _sum_of_halves(ab: Floats) -> Floats:
    n = ab.shape[2] // 2
    return ab[:, :, :n] + ab[:, :, n:]


TASK = Addition()
