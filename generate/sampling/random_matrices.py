"""Random matrices: shapes, entries and bounds, sampled in batches."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.tokenizers.decimal_grid import SMALLEST, round_to_grid
from mathpipe.generate.spec import MatrixLaw

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def draw_matrices(
    rng: np.random.Generator, n: int, law: MatrixLaw, side_by_side: int = 1, extra_cols: int = 0, tall: bool = False
) -> Matrices:
    """n problems of ``side_by_side`` matrices (m x n) next to each other, then ``extra_cols`` columns, all of one entry law.

    Entries are U(-c, c) or N(0, c^2/3); rounded to the 3-digit grid (exact operands) or to float32. ``tall``: the larger of
    two dimensions that were drawn is the number of rows.
    """
    rows, cols = draw_shapes(rng, n, law)
    if tall and law.rectangular:
        rows, cols = np.maximum(rows, cols), np.minimum(rows, cols)
    cols = cols * side_by_side + extra_cols
    sizes = rows * cols
    bounds = draw_bounds(rng, n, law)
    entries = draw_entries(rng, law, int(sizes.sum()), bounds if law.min_coeff is None else np.repeat(bounds, sizes))
    return Matrices(written(entries, law), rows, cols)


def draw_shapes(rng: np.random.Generator, n: int, law: MatrixLaw) -> tuple[Ints, Ints]:
    """(rows (n,), columns (n,)) of n matrices."""
    if law.rows is not None and law.cols is not None:
        return np.full(n, law.rows, dtype=np.int64), np.full(n, law.cols, dtype=np.int64)
    if law.min_dim == law.max_dim:
        return np.full(n, law.min_dim, dtype=np.int64), np.full(n, law.min_dim, dtype=np.int64)
    rows = rng.integers(law.min_dim, law.max_dim, size=n, endpoint=True)
    cols = rng.integers(law.min_dim, law.max_dim, size=n, endpoint=True) if law.rectangular else rows
    return rows, cols


def draw_bounds(rng: np.random.Generator, n: int, law: MatrixLaw) -> Floats:
    """c of each problem: drawn (n,) from the integers ``min_coeff..max_coeff``, or ``max_coeff`` for all (a 0-d array)."""
    if law.min_coeff is None:
        return np.asarray(law.max_coeff, dtype=np.float64)
    return rng.integers(law.min_coeff, int(law.max_coeff), size=n, endpoint=True).astype(np.float64)


def draw_entries(rng: np.random.Generator, law: MatrixLaw, shape: int | tuple[int, ...], bound: Floats) -> Floats:
    """Independent U(-c, c) or N(0, c^2/3), not rounded; ``bound`` is c, broadcast to ``shape``."""
    if law.entries == "uniform":
        values = rng.random(shape)
        values *= 2
        values -= 1
        values *= bound
        return values
    values = rng.standard_normal(shape)
    values *= bound / math.sqrt(3)
    return values


def written(values: Floats, law: MatrixLaw) -> Floats:
    """Rounded to the 3-digit grid (exact operands) or to float32."""
    return round_to_grid(values) if law.exact_operands else values.astype(np.float32).astype(np.float64)


def distinct_entries(law: MatrixLaw) -> float:
    """How many values one written entry can take: both signs of 900 mantissas in each decade from 1e-7 to c, and zero."""
    largest = law.max_coeff if law.entries == "uniform" else law.max_coeff * 10
    decade = math.floor(math.log10(largest) + 1e-12)
    full_decades = decade - round(math.log10(SMALLEST))
    return 2 * (900 * full_decades + (largest / 10.0**decade - 1) * 100 + 1) + 1
