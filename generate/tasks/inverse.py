"""Inversion: square A (n x n) -> X with A X = I.

A prediction H is judged by its residual A H - I, so that any matrix that inverts A within tolerance is right.
"""

from __future__ import annotations

import itertools

import numpy as np

from mathpipe.datasets.grid import compose, decompose
from mathpipe.datasets.matrices import Matrices
from mathpipe.generate.draws import draw_matrices
from mathpipe.generate.law import MatrixLaw
from mathpipe.generate.tasks.base import Errors, Floats, Ints, Mask, Solved, Task, error_measures

TRUSTED = 1e-10  # largest entry of |A X - I| in float64 with which a solution is trusted
_ENUMERATED = 5  # up to 5 x 5, all 3^n neighbours of a column are tried; beyond, coordinate descent alone
_SWEEPS = 8


def sample(rng: np.random.Generator, n: int, law: MatrixLaw) -> Matrices:
    """n square matrices A, singular ones among them (they are rejected when solved)."""
    return draw_matrices(rng, n, law)


def solve(operands: Matrices) -> Solved:
    """A^-1 by LU with partial pivoting; rejected where A is singular or max|A X - I| > 1e-10."""
    n = len(operands)
    singular, untrusted = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    solutions = np.empty_like(operands.values)
    for index, a in operands.groups():
        x, failed = _invert(a)
        with np.errstate(invalid="ignore", over="ignore"):
            residual = np.matmul(a, x)
            residual -= np.eye(a.shape[1])
            wrong = ~(np.abs(residual).max(axis=(1, 2)) <= TRUSTED)
        singular[index] = failed
        untrusted[index] = wrong & ~failed
        if operands.shape is not None:
            solutions = x.reshape(-1)
        else:
            solutions[operands.offsets[index][:, None] + np.arange(a[0].size)] = x.reshape(len(index), -1)
    return Solved(
        Matrices(solutions, operands.rows, operands.cols), {"singular": singular, "untrusted inverse": untrusted}
    )


def _invert(a: Floats) -> tuple[Floats, Mask]:
    """(inverses (k, n, n), singular (k,)); LAPACK refuses a whole batch for one singular matrix, so then one by one."""
    try:
        return np.asarray(np.linalg.inv(a)), np.zeros(len(a), dtype=np.bool_)
    except np.linalg.LinAlgError:
        x, singular = np.zeros_like(a), np.zeros(len(a), dtype=bool)
        for i, matrix in enumerate(a):
            try:
                x[i] = np.linalg.inv(matrix)
            except np.linalg.LinAlgError:
                singular[i] = True
        return x, singular


def residual(operands: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
    """R = A H - I; infinite where a sum is undefined."""
    values = np.empty_like(operands.values)
    for index, a in operands.groups():
        flat = operands.offsets[index][:, None] + np.arange(a[0].size)
        with np.errstate(over="ignore", invalid="ignore"):
            r = np.matmul(a, predicted.values[flat].reshape(a.shape)) - np.eye(a.shape[1])
        values[flat] = np.nan_to_num(r, nan=np.inf, posinf=np.inf, neginf=-np.inf).reshape(len(index), -1)
    return Matrices(values, operands.rows, operands.cols)


def verify(operands: Matrices, references: Matrices, predicted: Matrices) -> Errors:
    """S = I: error_l1 = sum|A H - I| / n."""
    identity = operands.map(lambda a: np.broadcast_to(np.eye(a.shape[1]), a.shape))
    return error_measures(residual(operands, references, predicted), identity, predicted, references)


def best_written(operands: Matrices, solutions: Matrices) -> Matrices:
    """Among 3-digit matrices near X, the one found with the least sum|A H - I|, column by column.

    Column j of H must bring |A h - e_j| down, and columns do not meet in the residual. Up to 5 x 5 all 3^n neighbours of the
    rounded column are tried first; then each entry in turn moves to its best of two neighbours, for up to 8 sweeps. A search,
    so a lower bound on what can be attained.
    """
    best = np.empty_like(solutions.values)
    for index, a in operands.groups():
        n = a.shape[1]
        flat = solutions.offsets[index][:, None] + np.arange(n * n)
        x = solutions.values[flat].reshape(-1, n, n)
        found = np.stack([_best_column(a, x[:, :, j], j) for j in range(n)], axis=2)
        best[flat] = found.reshape(len(index), -1)
    return Matrices(best, solutions.rows, solutions.cols)


def _best_column(a: Floats, column: Floats, j: int) -> Floats:
    """The column h (k, n) on the grid near ``column`` with the least |A h - e_j|_1."""
    target = np.eye(a.shape[1])[j]
    negative, mantissa, exponent = decompose(column)
    signed = np.where(negative, -mantissa, mantissa)
    if a.shape[1] <= _ENUMERATED:
        signed = _best_neighbours(a, signed, exponent, target)
    step = 10.0 ** exponent.astype(np.float64)
    residual = np.einsum("kij,kj->ki", a, signed * step) - target
    for _ in range(_SWEEPS):
        moved = False
        for i in range(a.shape[1]):
            change = a[:, :, i] * step[:, i : i + 1]
            costs = np.stack([np.abs(residual + move * change).sum(axis=1) for move in (0, -1, 1)])
            move = np.array([0, -1, 1])[costs.argmin(axis=0)]
            move = np.where(_writable(signed[:, i] + move), move, 0)
            signed[:, i] += move
            residual += move[:, None] * change
            moved |= bool(move.any())
        if not moved:
            break
    return compose(signed < 0, np.abs(signed), exponent)


def _best_neighbours(a: Floats, signed: Ints, exponent: Ints, target: Floats) -> Ints:
    """The best of all 3^n columns whose mantissas differ by at most 1."""
    step = 10.0 ** exponent.astype(np.float64)
    moves = np.array(list(itertools.product((0, -1, 1), repeat=a.shape[1])))
    scaled = a * step[:, None, :]
    base = np.einsum("kij,kj->ki", scaled, signed.astype(np.float64)) - target
    best_cost = np.abs(base).sum(axis=1)
    best_move = np.zeros_like(signed)
    for move in moves[1:]:
        cost = np.abs(base + scaled @ move.astype(np.float64)).sum(axis=1)
        better = (cost < best_cost) & _writable(signed + move).all(axis=1)
        best_cost[better] = cost[better]
        best_move[better] = move
    return signed + best_move


def _writable(signed: Ints) -> Mask:
    """Mantissas 1..1000 of either sign (1000 carries) keep their exponent's grid; 0 stays 0 only."""
    size = np.abs(signed)
    return np.asarray((size >= 100) & (size <= 1000) | (size == 0))


def answer_shape(operands: Matrices) -> tuple[Ints, Ints]:
    return operands.rows, operands.cols


TASK = Task(
    name="inverse",
    letter="I",
    operand="A (n x n)",
    solution="A^-1 (n x n)",
    source="Charton 2022, section 3.7",
    sample=sample,
    solve=solve,
    verify=verify,
    answer_shape=answer_shape,
    residual=residual,
    residual_formula="A H - I",
    best_written=best_written,
    square_only=True,
)
