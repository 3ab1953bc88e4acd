"""Matrix exponential: square A (n x n) with coefficients up to 1 -> exp A (n x n), verified by the relative difference."""

from __future__ import annotations

import math

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import sample_matrices
from mathpipe.generate.tasks.matrix_task import Floats, Ints, Mask, MatrixTask, solve_by_shape
from mathpipe.generate.tasks.wrong_problems import TRANSPOSED, negate

LARGEST_COEFFICIENT = 1.0
_DEGREE = 13
_THETA = (
    5.371920351148152  # largest |A|_1 for which the [13/13] approximant is right to float64 (Higham 2005, table 2.3)
)
# Coefficients of the numerator p of the [13/13] Pade approximant, exp A = p(A) / p(-A), with p_13 = 1: integers.
_PADE = [
    float(math.comb(_DEGREE, j) * math.factorial(2 * _DEGREE - j) // math.factorial(_DEGREE))
    for j in range(_DEGREE + 1)
]


class MatrixExponential(MatrixTask):
    """A -> exp A."""

    name = "expm"
    problem = "A, coefficients up to 1 (n x n)"
    solution = "exp A (n x n)"
    source = "Higham 2005 (scaling and squaring)"
    square_only = True
    default_spec = MatrixSpec(max_coeff=1.0)
    wrong_problems = {**TRANSPOSED, "A negated": negate}

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n square matrices A."""
        return sample_matrices(rng, n, spec)

    def check_problems(self, spec: MatrixSpec) -> None:
        if spec.max_coeff > LARGEST_COEFFICIENT:
            raise UserError(
                "expm needs small coefficients",
                expected=f"--max-coeff {LARGEST_COEFFICIENT:g} or less",
                got=f"--max-coeff {spec.max_coeff:g}",
                cause="the exponential of a 5 x 5 matrix with coefficients up to 10 is beyond what can be written",
                next_step="pass --max-coeff 1",
            )

    def solve(self, problems: Matrices) -> Solved:
        """exp A by scaling and squaring: exp A = (exp(A / 2^s))^(2^s), the inner one by the [13/13] Pade approximant."""
        return solve_by_shape(problems, _exponential)

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return problems.rows, problems.cols


def _exponential(a: Floats) -> tuple[Floats, dict[str, Mask]]:
    norm = np.abs(a).sum(axis=1).max(axis=1)
    squarings = np.maximum(np.frexp(norm / _THETA)[1], 0)
    x = _pade(a * np.ldexp(1.0, -squarings)[:, None, None])
    for done in range(int(squarings.max(initial=0))):
        more = np.flatnonzero(squarings > done)
        x[more] = np.matmul(x[more], x[more])
    return x, {}


def _pade(a: Floats) -> Floats:
    """p(A) / p(-A) for |A|_1 <= 5.37: with p = u + v of odd and even powers, (v - u)^-1 (v + u). Six products."""
    b, identity = _PADE, np.eye(a.shape[1])
    a2 = np.matmul(a, a)
    a4 = np.matmul(a2, a2)
    a6 = np.matmul(a4, a2)
    u = np.matmul(a6, b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * identity
    u = np.matmul(a, u)
    v = np.matmul(a6, b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * identity
    return np.asarray(np.linalg.solve(v - u, v + u))


TASK = MatrixExponential()
