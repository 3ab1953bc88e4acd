"""Matrix product: A, B (both m x n), side by side as [A B] (m x 2n) -> A^T B (n x n), transposed as the papers have it."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.linalg.batched import transposed
from mathpipe.generate.sampling.random_matrices import draw_matrices
from mathpipe.generate.spec import MatrixLaw
from mathpipe.generate.tasks.base import Floats, Ints, Solved, Task, difference_errors
from mathpipe.generate.tasks.wrong_problems import transpose_half


def sample(rng: np.random.Generator, n: int, law: MatrixLaw) -> Matrices:
    """n operands [A B]: A and B have one shape, and independent entries."""
    return draw_matrices(rng, n, law, side_by_side=2)


def solve(operands: Matrices) -> Solved:
    """A^T B, never rejected here."""
    return Solved(operands.map(_product))


def _product(ab: Floats) -> Floats:
    n = ab.shape[2] // 2
    return np.asarray(np.matmul(transposed(ab[:, :, :n]), ab[:, :, n:]))


def answer_shape(operands: Matrices) -> tuple[Ints, Ints]:
    return operands.cols // 2, operands.cols // 2


TASK = Task(
    name="matmul",
    letter="M",
    operand="[A B], side by side (m x 2n)",
    solution="A^T B (n x n)",
    source="Charton 2022, matrix product",
    sample=sample,
    solve=solve,
    verify=difference_errors,
    answer_shape=answer_shape,
    side_by_side=2,
    confusions={"A not transposed": transpose_half},
)
