"""Transposition: A (m x n) -> A^T (n x m). Exact: no number changes, only its place."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.sampling.random_matrices import draw_matrices
from mathpipe.generate.spec import MatrixLaw
from mathpipe.generate.tasks.base import Ints, Solved, Task, difference_errors
from mathpipe.generate.tasks.wrong_problems import TRANSPOSED


def sample(rng: np.random.Generator, n: int, law: MatrixLaw) -> Matrices:
    """n matrices A."""
    return draw_matrices(rng, n, law)


def solve(operands: Matrices) -> Solved:
    """A^T, never rejected."""
    return Solved(operands.map(lambda a: a.transpose(0, 2, 1)))


def answer_shape(operands: Matrices) -> tuple[Ints, Ints]:
    return operands.cols, operands.rows


TASK = Task(
    name="transpose",
    letter="T",
    operand="A (m x n)",
    solution="A^T (n x m)",
    source="Charton 2022, section 3.1",
    sample=sample,
    solve=solve,
    verify=difference_errors,
    answer_shape=answer_shape,
    confusions=TRANSPOSED,
)
