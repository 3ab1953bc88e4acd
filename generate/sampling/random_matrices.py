"""Random matrices: shapes, entries and bounds, sampled in batches."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.tokenizers.decimal_grid import SMALLEST, round_to_grid
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def sample_matrices(
    rng: np.random.Generator, n: int, spec: MatrixSpec, side_by_side: int = 1, extra_cols: int = 0, tall: bool = False
) -> Matrices:
    """n problems of ``side_by_side`` matrices (m x n), then ``extra_cols`` columns, all with the same entry distribution.

    Entries are U(-c, c) or N(0, c^2/3); rounded to the 3-digit grid (exact problems) or to float32. ``tall``: the larger of
    two sampled dimensions is the number of rows.
    """
    rows, cols = sample_shapes(rng, n, spec)
    if tall and spec.rectangular:
        rows, cols = np.maximum(rows, cols), np.minimum(rows, cols)
    cols = cols * side_by_side + extra_cols
    sizes = rows * cols
    bounds = sample_bounds(rng, n, spec)
    entries = sample_entries(
        rng, spec, int(sizes.sum()), bounds if spec.min_coeff is None else np.repeat(bounds, sizes)
    )
    return Matrices(round_entries(entries, spec), rows, cols)


def sample_shapes(rng: np.random.Generator, n: int, spec: MatrixSpec) -> tuple[Ints, Ints]:
    """(rows (n,), columns (n,)) of n matrices."""
    if spec.rows is not None and spec.cols is not None:
        return np.full(n, spec.rows, dtype=np.int64), np.full(n, spec.cols, dtype=np.int64)
    if spec.min_dim == spec.max_dim:
        return np.full(n, spec.min_dim, dtype=np.int64), np.full(n, spec.min_dim, dtype=np.int64)
    rows = rng.integers(spec.min_dim, spec.max_dim, size=n, endpoint=True)
    cols = rng.integers(spec.min_dim, spec.max_dim, size=n, endpoint=True) if spec.rectangular else rows
    return rows, cols


def sample_bounds(rng: np.random.Generator, n: int, spec: MatrixSpec) -> Floats:
    """c of each problem: sampled (n,) from the integers ``min_coeff..max_coeff``, or ``max_coeff`` for all (a 0-d array)."""
    if spec.min_coeff is None:
        return np.asarray(spec.max_coeff, dtype=np.float64)
    return rng.integers(spec.min_coeff, int(spec.max_coeff), size=n, endpoint=True).astype(np.float64)


def sample_entries(rng: np.random.Generator, spec: MatrixSpec, shape: int | tuple[int, ...], bound: Floats) -> Floats:
    """Independent U(-c, c) or N(0, c^2/3), not rounded; ``bound`` is c, broadcast to ``shape``."""
    if spec.entries == "uniform":
        values = rng.random(shape)
        values *= 2
        values -= 1
        values *= bound
        return values
    values = rng.standard_normal(shape)
    values *= bound / math.sqrt(3)
    return values


def round_entries(values: Floats, spec: MatrixSpec) -> Floats:
    """Rounded to the 3-digit grid (exact problems) or to float32."""
    return round_to_grid(values) if spec.round_problems else values.astype(np.float32).astype(np.float64)


def distinct_entries(spec: MatrixSpec) -> float:
    """The number of values of one stored entry: both signs of 900 mantissas in each decade from 1e-7 to c, and zero."""
    largest = spec.max_coeff if spec.entries == "uniform" else spec.max_coeff * 10
    decade = math.floor(math.log10(largest) + 1e-12)
    full_decades = decade - round(math.log10(SMALLEST))
    return 2 * (900 * full_decades + (largest / 10.0**decade - 1) * 100 + 1) + 1
