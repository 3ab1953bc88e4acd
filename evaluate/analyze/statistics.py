"""The few statistics that analyses need, in NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_Z = 1.959963984540054  # of 95 %


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n); (0, 1) for n = 0."""
    if not n:
        return 0.0, 1.0
    p, z2 = successes / n, _Z * _Z
    middle, spread = p + z2 / (2 * n), _Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    low, high = (middle - spread) / (1 + z2 / n), (middle + spread) / (1 + z2 / n)
    return (0.0 if not successes else max(low, 0.0)), (1.0 if successes == n else min(high, 1.0))


@dataclass(frozen=True)
class Separation:
    """How well a number tells failures from right answers.

    ``auc``: P(value of a failure > value of a right answer), ties half (Mann-Whitney); 0.5 tells nothing, 1 and 0 everything.
    ``ks``: the Kolmogorov-Smirnov distance max|F_failed - F_right|, ``p_value`` its two-sided asymptotic probability where the
    number tells nothing.
    """

    auc: float
    ks: float
    p_value: float
    failed: int
    right: int


def separation(values: Floats, failed: Mask) -> Separation | None:
    """Over the rows that have a value (infinite ones included); None without both kinds."""
    known = ~np.isnan(values)
    values, failed = values[known], failed[known]
    n1, n0 = int(failed.sum()), int((~failed).sum())
    if not n1 or not n0:
        return None
    order = np.argsort(values, kind="stable")
    values, failed = values[order], failed[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))  # the last of each run of equals
    below1, below0 = np.cumsum(failed)[last], np.cumsum(~failed)[last]
    here1, here0 = np.diff(below1, prepend=0), np.diff(below0, prepend=0)
    auc = float((here1 * (below0 - here0 / 2)).sum() / (n1 * n0))
    ks = float(np.abs(below1 / n1 - below0 / n0).max())
    return Separation(auc, ks, ks_p_value(ks, n1, n0), n1, n0)


def ks_p_value(distance: float, n: int, m: int) -> float:
    """2 sum_k (-1)^(k-1) exp(-2 k^2 x^2), x = distance sqrt(nm/(n+m)): Kolmogorov's limit, good from some tens of rows on."""
    x = distance * math.sqrt(n * m / (n + m))
    if x < 0.2:
        return 1.0  # the series converges too slowly to be summed, to 1
    k = np.arange(1, 101)
    total = 2 * float(((-1.0) ** (k - 1) * np.exp(-2 * k**2 * x * x)).sum())
    return min(max(total, 0.0), 1.0)


def bins_of(values: Floats, most: int = 10) -> tuple[list[tuple[float, float]], NDArray[np.int64]]:
    """Bins of about equal counts, or one a value where there are few: (bounds, the bin of each row, -1 for NaN).

    Bounds are the smallest and the largest value within each bin.
    """
    known = ~np.isnan(values)
    which = np.full(len(values), -1, dtype=np.int64)
    distinct = np.unique(values[known])
    if not len(distinct):
        return [], which
    if len(distinct) <= most:
        edges = distinct[1:]
    else:
        cuts = np.quantile(np.sort(values[known]), np.arange(1, most) / most, method="higher")
        edges = np.unique(cuts[cuts > distinct[0]])
        if cuts[0] == distinct[0]:  # the smallest value alone would fill a bin: it gets its own
            edges = np.union1d(edges, distinct[1:2])
    place = np.searchsorted(edges, values[known], side="right")
    which[known] = place
    bounds = []
    for k in range(len(edges) + 1):
        inside = values[known][place == k]
        bounds.append((float(inside.min()), float(inside.max())))
    return bounds, which
