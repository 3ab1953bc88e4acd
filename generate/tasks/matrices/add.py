"""Addition: A, B (both m x n), written side by side as [A B] (m x 2n) -> A + B (m x n)."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.spec import MatrixSpec
from mathpipe.generate.tasks.base import Floats, Ints, Solved, Task, difference_errors
from mathpipe.generate.tasks.wrong_problems import subtract


def sample(rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
    """n problems [A B]: A and B have one shape, and independent entries."""
    return sample_matrices(rng, n, spec, side_by_side=2)


def solve(problems: Matrices) -> Solved:
    """A + B, never rejected."""
    return Solved(problems.map(_sum_of_halves))


def _sum_of_halves(ab: Floats) -> Floats:
    n = ab.shape[2] // 2
    return ab[:, :, :n] + ab[:, :, n:]


def answer_shape(problems: Matrices) -> tuple[Ints, Ints]:
    return problems.rows, problems.cols // 2


TASK = Task(
    name="add",
    task_token="A",
    problem="[A B], side by side (m x 2n)",
    solution="A + B (m x n)",
    source="Charton 2022, section 3.2",
    sample=sample,
    solve=solve,
    verify=difference_errors,
    answer_shape=answer_shape,
    side_by_side=2,
    wrong_problems={"B subtracted": subtract},
)
