"""Linear algebra over ragged batches: functions of dense groups (k, m, n) applied shape by shape, in the order of rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SAME_MAGNITUDE = 1e-8  # entries whose magnitudes differ by less, relatively, count as equally large


def map_together(function: Callable[..., Floats], first: Matrices, *others: Matrices) -> Matrices:
    """``function`` of the dense groups of several batches whose shapes follow from those of ``first``; in the order of rows.

    NaN becomes infinity: a residual that cannot be computed must not count as a small error.
    """

    def guarded(*dense: Floats) -> Floats:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.nan_to_num(function(*dense), nan=np.inf, posinf=np.inf, neginf=-np.inf)

    if first.shape is not None:
        return Matrices.from_dense(guarded(first.dense(), *(other.dense() for other in others)))
    parts, order = [], []
    for index, dense in first.groups():
        parts.append(Matrices.from_dense(guarded(dense, *(other.take(index).dense() for other in others))))
        order.append(index)
    return Matrices.concatenate(parts).take(np.argsort(np.concatenate(order))) if parts else Matrices.empty()


def lapack_with_fallback(
    function: Callable[..., tuple[Floats, ...]], shapes: tuple[tuple[int, ...], ...], *batches: Floats
) -> tuple[tuple[Floats, ...], Mask]:
    """(results, failed (k,)). LAPACK rejects a whole batch for one bad matrix; then solve one by one, zeros on failure.

    ``shapes``: the shapes of the results for one matrix.
    """
    k = len(batches[0])
    try:
        return function(*batches), np.zeros(k, dtype=np.bool_)
    except np.linalg.LinAlgError:
        results, failed = tuple(np.zeros((k, *shape)) for shape in shapes), np.zeros(k, dtype=np.bool_)
        for i in range(k):
            try:
                for result, single in zip(results, function(*(b[i : i + 1] for b in batches)), strict=True):
                    result[i] = single[0]
            except np.linalg.LinAlgError:
                failed[i] = True
        return results, failed


def transposed(a: Floats) -> Floats:
    """(k, m, n) -> (k, n, m)."""
    return a.transpose(0, 2, 1)


def column_signs(vectors: Floats) -> Floats:
    """(k, m, n) -> (k, 1, n): the sign, 1 or -1, of each column's entry of largest magnitude.

    Among entries equal within 1e-8 the first counts, so that (1, -1) / sqrt 2 has one form whatever the last bits.
    """
    magnitude = np.abs(vectors)
    first = (magnitude >= (1 - SAME_MAGNITUDE) * magnitude.max(axis=1, keepdims=True)).argmax(axis=1)
    chosen = np.take_along_axis(vectors, first[:, None, :], axis=1)
    return np.where(chosen < 0, -1.0, 1.0)


def orthogonality(vectors: Floats) -> Floats:
    """max|V^T V - I| of each V (k, m, n), as (k, 1, 1)."""
    gram = np.matmul(transposed(vectors), vectors) - np.eye(vectors.shape[2])
    return np.asarray(np.abs(gram).max(axis=(1, 2), keepdims=True))


_TILE = 32_768  # entries per tile of a batch, so that temporaries fit into the L2 cache


def gauss_jordan_inverse(a: Floats) -> Floats:
    """A^-1 of each (k, n, n) by Gauss-Jordan elimination without pivoting, all matrices of a tile at once.

    For j = 0..n-1, with p = 1 / a_jj: row j <- p row j, and a_i <- a_i - a_ij row j for all other rows, column j of the
    eliminated matrix is replaced by that of the inverse (Golub and Van Loan 2013, section 3.2). Not accurate if a pivot is
    small, not finite if one is 0: the caller must check A X - I. Only elementwise operations, so every CPU gives the same bits.
    """
    k, n, _ = a.shape
    inverse = np.empty_like(a, order="C")
    size = max(_TILE // (n * n), 1)
    with np.errstate(all="ignore"):
        for start in range(0, k, size):
            m = np.array(a[start : start + size].transpose(1, 2, 0), order="C")  # a copy, always
            product = np.empty_like(m)
            for j in range(n):
                pivot = 1.0 / m[j, j]
                m[j, j] = 1.0
                m[j] *= pivot
                factors = m[:, j].copy()
                factors[j] = 0.0
                m[:, j] = 0.0
                m[j, j] = pivot
                np.multiply(factors[:, None, :], m[j][None, :, :], out=product)
                m -= product
            inverse[start : start + size] = m.transpose(2, 0, 1)
    return inverse
