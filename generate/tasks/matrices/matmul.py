"""Matrix product: A, B (both m x n), side by side as [A B] (m x 2n) -> A^T B (n x n), transposed as in the papers."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.linalg.batched import transposed
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.spec import MatrixSpec
from mathpipe.generate.tasks.base import Floats, Ints, Solved, Task, difference_errors
from mathpipe.generate.tasks.wrong_problems import transpose_half


def sample(rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
    """n problems [A B]: A and B have one shape, and independent entries."""
    return sample_matrices(rng, n, spec, side_by_side=2)


def solve(problems: Matrices) -> Solved:
    """A^T B, never rejected."""
    return Solved(problems.map(_product))


def _product(ab: Floats) -> Floats:
    n = ab.shape[2] // 2
    return np.asarray(np.matmul(transposed(ab[:, :, :n]), ab[:, :, n:]))


def answer_shape(problems: Matrices) -> tuple[Ints, Ints]:
    return problems.cols // 2, problems.cols // 2


TASK = Task(
    name="matmul",
    task_token="M",
    problem="[A B], side by side (m x 2n)",
    solution="A^T B (n x n)",
    source="Charton 2022, matrix product",
    sample=sample,
    solve=solve,
    verify=difference_errors,
    answer_shape=answer_shape,
    side_by_side=2,
    wrong_problems={"A not transposed": transpose_half},
)
