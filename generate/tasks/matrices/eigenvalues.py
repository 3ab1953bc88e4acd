"""Eigenvalues: symmetric A (n x n) -> its eigenvalues l_1 >= ... >= l_n as a column (n x 1).

The answer is an ordered list: the same values in another order are wrong.
"""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.linalg.batched import lapack_with_fallback
from mathpipe.generate.sampling.spectra import distinct_symmetric, sample_symmetric
from mathpipe.generate.spec import MatrixSpec
from mathpipe.generate.tasks.base import (
    Floats,
    Ints,
    Mask,
    Solved,
    Task,
    difference_errors,
    solve_by_shape,
)
from mathpipe.generate.tasks.wrong_problems import SIGN_OFF_DIAGONAL


def sample(rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
    """n symmetric matrices of the spec's spectrum."""
    return sample_symmetric(rng, n, spec)


def solve(problems: Matrices) -> Solved:
    """LAPACK's symmetric eigenvalues (dsyevd), descending."""
    return solve_by_shape(problems, _eigenvalues)


def _eigenvalues(a: Floats) -> tuple[Floats, dict[str, Mask]]:
    (values,), failed = lapack_with_fallback(lambda b: (np.linalg.eigvalsh(b),), ((a.shape[1],),), a)
    return values[:, ::-1, None], {"no convergence": failed}


def answer_shape(problems: Matrices) -> tuple[Ints, Ints]:
    return problems.rows, np.ones_like(problems.rows)


TASK = Task(
    name="eigenvalues",
    task_token="E",
    problem="symmetric A (n x n)",
    solution="eigenvalues, descending (n x 1)",
    source="Charton 2022, eigenvalues",
    sample=sample,
    solve=solve,
    verify=difference_errors,
    answer_shape=answer_shape,
    square_only=True,
    symmetric=True,
    takes_spectrum=True,
    distinct=distinct_symmetric,
    wrong_problems=SIGN_OFF_DIAGONAL,
)
