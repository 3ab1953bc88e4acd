"""Error measures of predicted matrices: norms of a residual, relative to a scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_per_matrix

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Errors = dict[str, Floats]

TOLERANCE = 0.05  # of the error test: the published headline
_ROUNDING = 1e-12  # relative rounding error of an error measure: 1.05 misses 1 by 5 % in decimals, by more in binary


def within(errors: Floats, tolerance: float) -> Mask:
    """Which errors are at most ``tolerance`` (1 + 1e-12), so that rounding does not decide; NaN is not."""
    return np.asarray(errors <= tolerance * (1 + _ROUNDING))


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """numerator / denominator, with 0/0 = 0 (no error on a zero reference) and x/0 infinite."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        quotient = numerator / denominator
    return np.where((numerator == 0) & (denominator == 0), 0.0, quotient)


def error_measures(residual: Matrices, scale: Matrices, predicted: Matrices, references: Matrices) -> Errors:
    """Norms of the residual R relative to the scale S, and closeness of the prediction H to the reference X, each (n,).

    ``error_l1`` = sum|R| / sum|S|; ``error_l2`` = sum R^2 / sum S^2; ``error_max`` = max|R| / max|S|;
    ``error_componentwise`` = max |H - X| / |X|, with 0/0 = 0, which shows a wrong small entry that the norms hide;
    ``coefficients_within_1pct``: share of entries with |H - X| <= 1 % of |X|; ``error_reference_l1`` = sum|H - X| / sum|X|.
    S comes from the reference or the problem, never from the prediction, whose size must not affect the tolerance.
    """
    with np.errstate(over="ignore"):
        difference = np.abs(predicted.values - references.values)
        close = (difference <= 0.01 * np.abs(references.values)).astype(np.float64)
        r, s = np.abs(residual.values), np.abs(scale.values)
        return {
            "error_l1": ratio(reduce_per_matrix(r, residual, np.add), reduce_per_matrix(s, scale, np.add)),
            "error_l2": ratio(reduce_per_matrix(r * r, residual, np.add), reduce_per_matrix(s * s, scale, np.add)),
            "error_max": ratio(reduce_per_matrix(r, residual, np.maximum), reduce_per_matrix(s, scale, np.maximum)),
            "error_componentwise": reduce_per_matrix(
                ratio(difference, np.abs(references.values)), references, np.maximum
            ),
            "coefficients_within_1pct": reduce_per_matrix(close, references, np.add) / np.maximum(references.sizes, 1),
            "error_reference_l1": ratio(
                reduce_per_matrix(difference, references, np.add),
                reduce_per_matrix(np.abs(references.values), references, np.add),
            ),
        }
