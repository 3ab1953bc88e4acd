"""Local search for the best representable solution: a 3-digit matrix near the solution with a smaller residual.

Only neighbours of the rounded solution are tried, so the best representable solution may be better still.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.tokenizers.decimal_grid import compose, decompose

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

_ENUMERATED = 5  # up to 5 entries, all 3^n neighbours of a column are tried; beyond, coordinate descent alone
_SWEEPS = 8


def best_column(a: Floats, column: Floats, target: Floats) -> Floats:
    """The column h (k, n) on the grid near ``column`` found with the least |A h - target|_1; A is (k, m, n).

    Up to n = 5 all 3^n neighbours of the rounded column are tried first; then each entry in turn moves to its best of two
    neighbours, for up to 8 sweeps. Never worse than rounding.
    """
    negative, mantissa, exponent = decompose(column)
    signed = np.where(negative, -mantissa, mantissa)
    if a.shape[2] <= _ENUMERATED:
        signed = _best_neighbours(a, signed, exponent, target)
    step = 10.0 ** exponent.astype(np.float64)
    residual = np.einsum("kij,kj->ki", a, signed * step) - target
    for _ in range(_SWEEPS):
        moved = False
        for i in range(a.shape[2]):
            change = a[:, :, i] * step[:, i : i + 1]
            costs = np.stack([np.abs(residual + move * change).sum(axis=1) for move in (0, -1, 1)])
            move = np.array([0, -1, 1])[costs.argmin(axis=0)]
            move = np.where(_on_grid(signed[:, i] + move), move, 0)
            signed[:, i] += move
            residual += move[:, None] * change
            moved |= bool(move.any())
        if not moved:
            break
    return compose(signed < 0, np.abs(signed), exponent)


def _best_neighbours(a: Floats, signed: Ints, exponent: Ints, target: Floats) -> Ints:
    """The best of all 3^n columns whose mantissas differ by at most 1."""
    step = 10.0 ** exponent.astype(np.float64)
    moves = np.array(list(itertools.product((0, -1, 1), repeat=a.shape[2])))
    scaled = a * step[:, None, :]
    base = np.einsum("kij,kj->ki", scaled, signed.astype(np.float64)) - target
    best_cost = np.abs(base).sum(axis=1)
    best_move = np.zeros_like(signed)
    for move in moves[1:]:
        cost = np.abs(base + scaled @ move.astype(np.float64)).sum(axis=1)
        better = (cost < best_cost) & _on_grid(signed + move).all(axis=1)
        best_cost[better] = cost[better]
        best_move[better] = move
    return signed + best_move


def _on_grid(signed: Ints) -> Mask:
    """Mantissas 1..1000 of either sign (1000 carries) keep their exponent's grid; 0 stays 0 only."""
    size = np.abs(signed)
    return np.asarray((size >= 100) & (size <= 1000) | (size == 0))


def coordinate_descent(solutions: Matrices, cost: Callable[[Matrices], Floats], sweeps: int = 2) -> Matrices:
    """Coordinate descent from the rounded solutions: each entry in turn moves by a unit in its last place where that lowers
    ``cost`` (n,). 2 evaluations an entry and sweep, for tasks whose residual is not made of separate columns.
    """
    negative, mantissa, exponent = decompose(solutions.values)
    signed = np.where(negative, -mantissa, mantissa)

    def to_matrices(s: Ints) -> Matrices:
        return Matrices(compose(s < 0, np.abs(s), exponent), solutions.rows, solutions.cols)

    best = cost(to_matrices(signed))
    for _ in range(sweeps):
        before = signed.copy()
        for entry in range(int(solutions.sizes.max(initial=0))):
            has = np.flatnonzero(solutions.sizes > entry)
            place = solutions.offsets[has] + entry
            for move in (-1, 1):
                previous = signed[place]
                signed[place] = np.where(_on_grid(previous + move) & (previous != 0), previous + move, previous)
                costs = cost(to_matrices(signed))
                better = costs[has] < best[has]
                signed[place] = np.where(better, signed[place], previous)
                best[has] = np.where(better, costs[has], best[has])
        if np.array_equal(before, signed):
            break
    return to_matrices(signed)
