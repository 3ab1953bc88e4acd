"""Symmetric matrices with a chosen spectrum.

A0 is symmetric with the spec's entry distribution on and above the diagonal, A0 = Q L Q^T. Its eigenvalues have the standard
deviation s = sqrt(n) c / sqrt 3, and L is replaced:

==========  ======================================================================
semicircle  unchanged (Wigner)
positive    |l| of the semicircle ones
uniform     U(-s sqrt 3, s sqrt 3), independent
gaussian    N(0, s^2)
laplace     Laplace of scale s / sqrt 2
positive2   |l| of laplace
marcenko    none of these: A = M^T M, M (n x n) with coefficient bound sqrt c
==========  ======================================================================

All but marcenko have E[l^2] = s^2. A spec that names several samples one per problem, with equal probability. Spectra describe
the matrix before rounding. Only entries on and above the diagonal are rounded, then mirrored: A = A^T exactly.
Source: Charton 2022 (What is my math transformer doing?), and its public description of the data.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import SPECTRA, Matrices, Spectrum
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.sampling.random_matrices import (
    distinct_entries,
    round_entries,
    sample_bounds,
    sample_entries,
    sample_shapes,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DEFAULT: tuple[Spectrum, ...] = ("semicircle",)


def sample_symmetric(
    rng: np.random.Generator, n: int, spec: MatrixSpec, spectrum: tuple[Spectrum, ...] | None = None
) -> Matrices:
    """n symmetric matrices, rounded; their spectra are ``spectrum``, or those of the spec (default: semicircle)."""
    names = spectrum or spec.spectrum or DEFAULT
    dims, _ = sample_shapes(rng, n, spec)
    bounds = sample_bounds(rng, n, spec)
    which = rng.integers(len(names), size=n) if len(names) > 1 else np.zeros(n, dtype=np.int64)
    parts, order = [], []
    for k, name in enumerate(names):
        for dim in np.unique(dims[which == k]).tolist():
            index = np.flatnonzero((which == k) & (dims == dim))
            c = bounds[index, None] if bounds.ndim else bounds
            upper = _UPPER[name](rng, spec, len(index), dim, c)
            parts.append(Matrices.from_dense(symmetric_from_upper(round_entries(upper, spec), dim)))
            order.append(index)
    if len(parts) > 1:
        matrices = Matrices.concatenate(parts).take(np.argsort(np.concatenate(order)))
    else:
        matrices = parts[0] if parts else Matrices.empty()
    if len(names) == 1:
        return matrices
    return matrices.with_spectra(np.array([SPECTRA.index(name) for name in names], dtype=np.uint8)[which])


def symmetric_from_upper(upper: Floats, dim: int) -> Floats:
    """Entries on and above the diagonal, row by row (k, n (n + 1) / 2) -> symmetric (k, n, n)."""
    return np.take(upper, _upper_positions(dim), axis=1)


def distinct_symmetric(spec: MatrixSpec) -> float:
    """An upper bound on the number of distinct symmetric matrices of the spec."""
    dim = spec.max_dim if spec.rows is None else spec.rows
    widest = spec.max_coeff if spec.spectrum in ((), DEFAULT) else min(spec.max_coeff * 100 * dim, 1e9)
    return float(distinct_entries(spec.model_copy(update={"max_coeff": widest})) ** min(dim * (dim + 1) // 2, 16))


@functools.cache
def _upper_positions(dim: int) -> Ints:
    """The index of entry (i, j) among those on and above the diagonal, (n, n)."""
    i, j = np.triu_indices(dim)
    positions = np.zeros((dim, dim), dtype=np.int64)
    positions[i, j] = positions[j, i] = np.arange(len(i))
    return positions


def _upper_of(a: Floats) -> Floats:
    i, j = np.triu_indices(a.shape[1])
    return a[:, i, j]


Upper = Callable[[np.random.Generator, MatrixSpec, int, int, Floats], Floats]
Eigenvalues = Callable[[np.random.Generator, Floats, Floats], Floats]


def _wigner(rng: np.random.Generator, spec: MatrixSpec, k: int, dim: int, c: Floats) -> Floats:
    """Independent entries on and above the diagonal, (k, n (n + 1) / 2)."""
    return sample_entries(rng, spec, (k, dim * (dim + 1) // 2), c)


def _with_eigenvalues(eigenvalues: Eigenvalues) -> Upper:
    """Q ``eigenvalues`` Q^T with Q of a Wigner matrix; ``eigenvalues(rng, s, l)`` returns new ones of the shape (k, n) of l."""

    def upper(rng: np.random.Generator, spec: MatrixSpec, k: int, dim: int, c: Floats) -> Floats:
        values, q = np.linalg.eigh(symmetric_from_upper(_wigner(rng, spec, k, dim, c), dim))
        values = eigenvalues(rng, math.sqrt(dim / 3) * c, values)
        return _upper_of(np.matmul(q * values[:, None, :], q.transpose(0, 2, 1)))

    return upper


def _marcenko(rng: np.random.Generator, spec: MatrixSpec, k: int, dim: int, c: Floats) -> Floats:
    m = sample_entries(rng, spec, (k, dim * dim), np.sqrt(c)).reshape(k, dim, dim)
    return _upper_of(np.matmul(m.transpose(0, 2, 1), m))


def _positive(rng: np.random.Generator, s: Floats, values: Floats) -> Floats:
    return np.abs(values)


def _uniform(rng: np.random.Generator, s: Floats, values: Floats) -> Floats:
    return (2 * rng.random(values.shape) - 1) * (math.sqrt(3) * s)


def _gaussian(rng: np.random.Generator, s: Floats, values: Floats) -> Floats:
    return rng.standard_normal(values.shape) * s


def _laplace(rng: np.random.Generator, s: Floats, values: Floats) -> Floats:
    return rng.laplace(size=values.shape) * (s / math.sqrt(2))


def _positive2(rng: np.random.Generator, s: Floats, values: Floats) -> Floats:
    return np.abs(_laplace(rng, s, values))


_UPPER: dict[Spectrum, Upper] = {
    "semicircle": _wigner,
    "positive": _with_eigenvalues(_positive),
    "uniform": _with_eigenvalues(_uniform),
    "gaussian": _with_eigenvalues(_gaussian),
    "laplace": _with_eigenvalues(_laplace),
    "positive2": _with_eigenvalues(_positive2),
    "marcenko": _marcenko,
}
