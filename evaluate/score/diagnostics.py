"""Diagnostics of a predicted matrix: measures of single properties, each a column of the predictions.

eigenvectors       of H = [l; V], with the reference's eigenvalues L, both sorted:
                   ``eigenvalue_error`` = sum|l - L| / sum|L|; ``unit_norm_error`` = the largest deviation from 1 of the norms of
                   V's rows and columns; ``max_cosine`` = the largest |cosine| over all pairs of V's columns;
                   ``vectors_condition`` = the condition number of V
svd                of [s; U; V]: ``singular_value_error``, ``unit_norm_error`` (columns of U and of V), ``max_cosine``
                   (pairs of columns of U, of V), ``u_condition``, ``v_condition``
other square ones  ``predicted_condition`` = the condition number of H, for inverses equal to that of the problem if correct

Correct values are known: eigenvalue errors and cosines 0, norms 1, condition numbers of orthogonal matrices 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices

Floats = NDArray[np.float64]
Columns = dict[str, Floats]
Diagnose = Callable[[Floats, Floats, Floats], Columns]  # problems, references, predictions of one shape each


def diagnostics(task: str, problems: Matrices, references: Matrices, predicted: Matrices) -> Columns:
    """The task's diagnostics, each (n,), for predictions of their reference's shape; most tasks have none."""
    if task not in _DIAGNOSTICS:
        return {}
    names, diagnose = _DIAGNOSTICS[task]
    columns = {name: np.full(len(predicted), np.nan) for name in names}
    shapes = np.stack([problems.rows, problems.cols], axis=1)
    for shape in np.unique(shapes, axis=0):
        index = np.flatnonzero((shapes == shape).all(axis=1))
        parts = [m.take(index).dense() for m in (problems, references, predicted)]
        with np.errstate(all="ignore"):
            for name, values in diagnose(*parts).items():
                columns[name][index] = values
    return columns


def diagnostic_names(task: str) -> tuple[str, ...]:
    """The columns that ``diagnostics`` returns for this task."""
    return _DIAGNOSTICS[task][0] if task in _DIAGNOSTICS else ()


def _eigenvectors(a: Floats, x: Floats, h: Floats) -> Columns:
    v = h[:, 1:]
    return {
        "eigenvalue_error": _sorted_error(h[:, 0], x[:, 0]),
        "unit_norm_error": np.maximum(_norm_error(v, 1), _norm_error(v, 2)),
        "max_cosine": _max_cosine(v),
        "vectors_condition": condition_numbers(v),
    }


def _svd(a: Floats, x: Floats, h: Floats) -> Columns:
    m = a.shape[1]
    u, v = h[:, 1 : m + 1], h[:, m + 1 :]
    return {
        "singular_value_error": _sorted_error(h[:, 0], x[:, 0]),
        "unit_norm_error": np.maximum(_norm_error(u, 1), _norm_error(v, 1)),
        "max_cosine": np.maximum(_max_cosine(u), _max_cosine(v)),
        "u_condition": condition_numbers(u),
        "v_condition": condition_numbers(v),
    }


def _inverse(a: Floats, x: Floats, h: Floats) -> Columns:
    return {"predicted_condition": condition_numbers(h)}


def _sorted_error(values: Floats, reference: Floats) -> Floats:
    difference = np.abs(np.sort(values, axis=1) - np.sort(reference, axis=1)).sum(axis=1)
    return np.asarray(difference / np.abs(reference).sum(axis=1))


def _norm_error(v: Floats, axis: int) -> Floats:
    return np.asarray(np.abs(np.sqrt((v**2).sum(axis=axis)) - 1).max(axis=1))


def _max_cosine(v: Floats) -> Floats:
    """max over all pairs of columns of |v_i . v_j| / (|v_i| |v_j|); 0 for one column, 1 where a column is zero."""
    k = v.shape[2]
    if k == 1:
        return np.zeros(len(v))
    gram = np.abs(np.matmul(np.swapaxes(v, 1, 2), v))
    norms = np.sqrt(np.einsum("bii->bi", gram))
    cosines = gram / (norms[:, :, None] * norms[:, None, :])
    i, j = np.triu_indices(k, 1)
    return np.asarray(np.nan_to_num(cosines[:, i, j], nan=1.0).max(axis=1))


def condition_numbers(dense: Floats) -> Floats:
    """s_max / s_min of each matrix (n, r, c), infinite where the smallest is zero or an entry is not finite."""
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(dense).all(axis=(1, 2)))
    s = np.linalg.svd(np.where(finite[:, None, None], dense, 0.0), full_matrices=False, compute_uv=False)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = s[:, 0] / s[:, -1]
    return np.asarray(np.where(np.isnan(ratios) | ~finite, np.inf, ratios))


_DIAGNOSTICS: dict[str, tuple[tuple[str, ...], Diagnose]] = {
    "eigenvectors": (("eigenvalue_error", "unit_norm_error", "max_cosine", "vectors_condition"), _eigenvectors),
    "svd": (("singular_value_error", "unit_norm_error", "max_cosine", "u_condition", "v_condition"), _svd),
    "inverse": (("predicted_condition",), _inverse),
    "symmetric-inverse": (("predicted_condition",), _inverse),
}
