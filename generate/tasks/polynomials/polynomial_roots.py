"""Roots of a polynomial: real coefficients (1 x (d + 1), the leading 1 first) -> its d complex roots (d x 2: real, imaginary part).

Roots are sampled, real ones U(-c, c) and conjugate pairs uniform in the disc of radius c. The coefficients are rounded to 3
digits; the solution is the roots of the rounded polynomial, sorted by real part, then by imaginary part, descending. The answer is
real, so this is a matrix task. Roots are a multiset: a prediction is right if some assignment puts each predicted root within 5 %
of the magnitude of a root of its own (of the largest magnitude, for a root 0). Polynomials whose roots are too close to tell apart
are rejected.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic.fields import FieldInfo

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import round_entries
from mathpipe.generate.tasks.error_measures import Errors, error_measures
from mathpipe.generate.tasks.matrix_task import Floats, Ints, Mask, MatrixTask, solve_by_shape

Complexes = NDArray[np.complex128]
LARGEST_DEGREE = 10
_MAX_CONDITION = 1e6  # relative error of a root, in units of rounding of the coefficients


class PolynomialRoots(MatrixTask):
    """p -> the roots of p."""

    name = "polynomial-roots"
    problem = "real coefficients of a polynomial of degree d, the leading 1 first (1 x (d + 1))"
    solution = "its complex roots (d x 2), in any order"
    source = "numerical mathematics"
    residual_formula = "H - X, rows matched"
    default_spec = MatrixSpec(min_dim=1, max_dim=5, max_coeff=5)

    def options(self) -> dict[str, FieldInfo]:
        names = ("dim", "min_dim", "max_dim", "max_coeff", "round_problems", "noise")
        return {name: field for name, field in super().options().items() if name in names}

    def check_problems(self, spec: MatrixSpec) -> None:
        if spec.max_dim > LARGEST_DEGREE:
            raise UserError(
                "the degree is too large for an exact assignment of roots",
                expected=f"--max-dim of at most {LARGEST_DEGREE}",
                got=spec.max_dim,
            )

    def largest_problem(self, spec: MatrixSpec) -> tuple[int, int]:
        return 1, spec.max_dim + 1

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        return problems.cols - 1, np.full_like(problems.cols, 2)

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        degrees = rng.integers(spec.min_dim, spec.max_dim, n, endpoint=True)
        polynomials = Matrices(np.zeros(int((degrees + 1).sum())), np.ones_like(degrees), degrees + 1)
        for degree in np.unique(degrees).tolist():
            index = np.flatnonzero(degrees == degree)
            coefficients = _polynomials(_sample_roots(rng, len(index), degree, spec.max_coeff))
            polynomials.values[polynomials.offsets[index][:, None] + np.arange(degree + 1)] = coefficients
        return polynomials.with_values(round_entries(polynomials.values, spec))

    def solve(self, problems: Matrices) -> Solved:
        """Eigenvalues of the companion matrix, refined by Newton's method."""
        return solve_by_shape(problems, _roots)

    def residual(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
        matched = _matched(references, predicted)[0]
        return Matrices(matched.values - references.values, references.rows, references.cols)

    def errors(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Errors:
        """``error_l1``: the largest error of a root relative to its magnitude, of the assignment in which it is least."""
        matched, largest_error = _matched(references, predicted)
        residual = Matrices(matched.values - references.values, references.rows, references.cols)
        return error_measures(residual, references, matched, references) | {"error_l1": largest_error}


def _sample_roots(rng: np.random.Generator, n: int, degree: int, scale: float) -> Complexes:
    """(n, degree) roots, with a number of conjugate pairs uniform in 0..degree // 2."""
    pairs = rng.integers(0, degree // 2, n, endpoint=True)
    real = rng.uniform(-scale, scale, (n, degree)).astype(np.complex128)
    radius, angle = scale * np.sqrt(rng.random((n, degree // 2))), np.pi * rng.random((n, degree // 2))
    upper = radius * np.exp(1j * angle)
    paired = np.stack([upper, upper.conj()], axis=2).reshape(n, -1)
    is_paired = np.arange(degree) < 2 * pairs[:, None]
    return np.where(is_paired, np.pad(paired, ((0, 0), (0, degree % 2))), real)


def _polynomials(roots: Complexes) -> Floats:
    """(n, d + 1) coefficients of prod (x - r), the leading 1 first."""
    n, degree = roots.shape
    coefficients = np.zeros((n, degree + 1), dtype=np.complex128)
    coefficients[:, 0] = 1
    for k in range(degree):
        coefficients[:, 1:] = coefficients[:, 1:] - roots[:, k : k + 1] * coefficients[:, :-1]
    return coefficients.real


def _roots(problems: Floats) -> tuple[Floats, dict[str, Mask]]:
    coefficients = problems[:, 0, :]
    n, degree = len(coefficients), coefficients.shape[1] - 1
    companion = np.zeros((n, degree, degree))
    companion[:, 0, :] = -coefficients[:, 1:] / coefficients[:, :1]
    companion[:, np.arange(1, degree), np.arange(degree - 1)] = 1
    roots = np.linalg.eigvals(companion).astype(np.complex128)
    with np.errstate(all="ignore"):
        for _ in range(2):
            value, slope, size = _evaluate(coefficients, roots)
            step = np.where(slope != 0, value / slope, 0)
            roots = np.where(np.abs(step) < 1e-3 * np.abs(roots), roots - step, roots)
        value, slope, size = _evaluate(coefficients, roots)
        condition = size / (np.abs(slope) * np.maximum(np.abs(roots), 1e-300))
    close = ~(condition < _MAX_CONDITION).all(axis=1)
    roots = _conjugate(roots)
    order = np.lexsort((-roots.imag, -np.round(roots.real, 9)))
    roots = np.take_along_axis(roots, order, axis=1)
    return np.stack([roots.real, roots.imag], axis=2), {"roots too close": close}


def _evaluate(coefficients: Floats, x: Complexes) -> tuple[Complexes, Complexes, Floats]:
    """p(x), p'(x) and sum |a_k| |x|^k at x (n, d), by Horner's scheme."""
    value, slope, size = np.zeros_like(x), np.zeros_like(x), np.zeros(x.shape)
    for k in range(coefficients.shape[1]):
        slope = slope * x + value
        value = value * x + coefficients[:, k : k + 1]
        size = size * np.abs(x) + np.abs(coefficients[:, k : k + 1])
    return value, slope, size


def _conjugate(roots: Complexes) -> Complexes:
    """Roots whose imaginary part is rounding error are real."""
    small = np.abs(roots.imag) <= 1e-9 * np.abs(roots)
    return np.where(small, roots.real + 0j, roots)


def _matched(references: Matrices, predicted: Matrices) -> tuple[Matrices, Floats]:
    """(the predictions with their rows in the order of the references', the largest relative error of a root (n,))."""
    values, errors = np.empty_like(references.values), np.zeros(len(references))
    for index, dense in references.groups():
        degree = dense.shape[1]
        answers = predicted.take(index).dense()
        roots, guesses = (m[:, :, 0] + 1j * m[:, :, 1] for m in (dense, answers))
        magnitude = np.abs(roots)
        scale = np.where(magnitude > 0, magnitude, magnitude.max(axis=1, keepdims=True))
        with np.errstate(all="ignore"):
            cost = np.abs(guesses[:, None, :] - roots[:, :, None]) / scale[:, :, None]
        cost = np.where(np.isnan(cost), np.inf, cost)
        order, errors[index] = _assign(cost)
        rows = np.take_along_axis(answers, order[:, :, None], axis=1)
        values[references.offsets[index][:, None] + np.arange(2 * degree)] = rows.reshape(len(index), -1)
    return Matrices(values, references.rows, references.cols), errors


def _assign(cost: Floats) -> tuple[Ints, Floats]:
    """(column of each row (n, d), largest cost (n,)) of the assignment whose largest cost is least, of costs (n, d, d).

    By dynamic programming over the sets of columns that the first rows take: exact, 2^d d steps for all n at once.
    """
    n, d = cost.shape[:2]
    best = np.full((n, 1 << d), np.inf)
    choice = np.zeros((n, 1 << d), dtype=np.int8)
    best[:, 0] = 0
    for columns in range(1, 1 << d):
        row = columns.bit_count() - 1
        members = np.array([j for j in range(d) if columns >> j & 1])
        worst = np.maximum(best[:, columns ^ (1 << members)], cost[:, row, members])
        k = worst.argmin(axis=1)
        best[:, columns], choice[:, columns] = worst[np.arange(n), k], members[k]
    order, left = np.zeros((n, d), dtype=np.int64), np.full(n, (1 << d) - 1)
    for row in range(d - 1, -1, -1):
        order[:, row] = choice[np.arange(n), left]
        left ^= 1 << order[:, row]
    return order, best[:, -1]


TASK = PolynomialRoots()
