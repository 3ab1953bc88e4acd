"""Transposition: A (m x n) -> A^T (n x m). Exact: only positions change."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.spec import MatrixSpec
from mathpipe.generate.tasks.base import Ints, Solved, Task, difference_errors
from mathpipe.generate.tasks.wrong_problems import TRANSPOSED


def sample(rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
    """n matrices A."""
    return sample_matrices(rng, n, spec)


def solve(problems: Matrices) -> Solved:
    """A^T, never rejected."""
    return Solved(problems.map(lambda a: a.transpose(0, 2, 1)))


def answer_shape(problems: Matrices) -> tuple[Ints, Ints]:
    return problems.cols, problems.rows


TASK = Task(
    name="transpose",
    task_token="T",
    problem="A (m x n)",
    solution="A^T (n x m)",
    source="Charton 2022, section 3.1",
    sample=sample,
    solve=solve,
    verify=difference_errors,
    answer_shape=answer_shape,
    wrong_problems=TRANSPOSED,
)
