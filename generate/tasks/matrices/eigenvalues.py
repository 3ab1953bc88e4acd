"""Eigenvalues: symmetric A (n x n) -> its eigenvalues l_1 >= ... >= l_n as a column (n x 1).

Verification: a prediction h is compared with the stored values l, which are unique. It is right if sum|h - l| <= 5 % of sum|l|
(``errors`` and ``passes``, inherited from ``MatrixTask`` in ``generate/tasks/matrix_task.py``). The answer is an
ordered list: the same values in another order are wrong.
"""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.linalg.batched import lapack_with_fallback
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.spectra import distinct_symmetric, sample_symmetric
from mathpipe.generate.tasks.matrix_task import Floats, Ints, Mask, MatrixTask, solve_by_shape
from mathpipe.generate.tasks.wrong_problems import SIGN_OFF_DIAGONAL


class Eigenvalues(MatrixTask):
    """Symmetric A -> l_1 >= ... >= l_n."""

    name = "eigenvalues"
    task_token = "E"
    problem = "symmetric A (n x n)"
    solution = "eigenvalues, descending (n x 1)"
    source = "Charton 2022, eigenvalues"
    square_only = True
    symmetric = True
    takes_spectrum = True
    wrong_problems = SIGN_OFF_DIAGONAL

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n symmetric matrices of the spec's spectrum."""
        return sample_symmetric(rng, n, spec)

    def solve(self, problems: Matrices) -> Solved:
        """LAPACK's symmetric eigenvalues (dsyevd), descending."""
        return solve_by_shape(problems, _eigenvalues)

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return problems.rows, np.ones_like(problems.rows)

    def distinct_problems(self, spec: MatrixSpec) -> float:
        return distinct_symmetric(spec)


def _eigenvalues(a: Floats) -> tuple[Floats, dict[str, Mask]]:
    (values,), failed = lapack_with_fallback(lambda b: (np.linalg.eigvalsh(b),), ((a.shape[1],),), a)
    return values[:, ::-1, None], {"no convergence": failed}


TASK = Eigenvalues()
