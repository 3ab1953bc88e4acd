"""Inversion of symmetric matrices with a chosen spectrum: A (n x n) -> A^-1, symmetric too. Verified as ``inverse`` is."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.linalg.batched import transposed
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.spectra import distinct_symmetric, sample_symmetric
from mathpipe.generate.tasks.matrices.inverse import Inverse
from mathpipe.generate.tasks.wrong_problems import SIGN_OFF_DIAGONAL


class SymmetricInverse(Inverse):
    """Symmetric A -> A^-1."""

    name = "symmetric-inverse"
    problem = "symmetric A (n x n)"
    solution = "A^-1 (n x n)"
    source = "Charton 2022 (What is my math transformer doing?), inversion of symmetric matrices"
    task_token = None
    symmetric = True
    takes_spectrum = True
    wrong_problems = SIGN_OFF_DIAGONAL

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n symmetric matrices of the spec's spectrum."""
        return sample_symmetric(rng, n, spec)

    def solve(self, problems: Matrices) -> Solved:
        """The inverse, made exactly symmetric: (X + X^T) / 2 differs from X by less than X from the true inverse."""
        solved = super().solve(problems)
        return Solved(solved.solutions.map(lambda x: (x + transposed(x)) / 2), solved.rejected)

    def distinct_problems(self, spec: MatrixSpec) -> float:
        return distinct_symmetric(spec)


TASK = SymmetricInverse()
