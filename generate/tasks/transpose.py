"""Transposition: A (m x n) -> A^T (n x m). Exact: no number changes, only its place."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.matrices import Matrices
from mathpipe.generate.confusions import TRANSPOSED
from mathpipe.generate.draws import draw_matrices
from mathpipe.generate.law import MatrixLaw
from mathpipe.generate.tasks.base import Ints, Solved, Task, difference_errors


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
