"""Inversion of symmetric matrices with a chosen spectrum: A (n x n) -> A^-1, symmetric too. Judged as ``inverse`` is."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.linalg.batched import transposed
from mathpipe.generate.sampling.spectra import distinct_symmetric, sample_symmetric
from mathpipe.generate.spec import MatrixSpec
from mathpipe.generate.tasks.base import Solved, Task
from mathpipe.generate.tasks.matrices import inverse
from mathpipe.generate.tasks.wrong_problems import SIGN_OFF_DIAGONAL


def sample(rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
    """n symmetric matrices of the spec's spectrum."""
    return sample_symmetric(rng, n, spec)


def solve(problems: Matrices) -> Solved:
    """The inverse, made exactly symmetric: (X + X^T) / 2 differs from X by less than X from the true inverse."""
    solved = inverse.solve(problems)
    return Solved(solved.solutions.map(lambda x: (x + transposed(x)) / 2), solved.rejected)


TASK = Task(
    name="symmetric-inverse",
    task_token=None,
    problem="symmetric A (n x n)",
    solution="A^-1 (n x n)",
    source="Charton 2022 (What is my math transformer doing?), inversion of symmetric matrices",
    sample=sample,
    solve=solve,
    verify=inverse.verify,
    answer_shape=inverse.answer_shape,
    residual=inverse.residual,
    residual_formula="A H - I",
    best_representable=inverse.best_representable,
    square_only=True,
    symmetric=True,
    takes_spectrum=True,
    distinct=distinct_symmetric,
    wrong_problems=SIGN_OFF_DIAGONAL,
)
