"""Statistics of analyses: intervals, discriminability, bins. SciPy is imported on first use, because its import is slow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n); (0, 1) for n = 0."""
    from scipy.stats import binomtest

    if not n:
        return 0.0, 1.0
    # p = k / n avoids the search for a p-value, which the interval does not need
    interval = binomtest(successes, n, successes / n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Discriminability:
    """How well a number discriminates failures from correct answers.

    ``auc``: P(value of a failure > value of a correct answer), ties count half (Mann-Whitney); 0.5 is chance, 1 and 0 are perfect.
    ``ks``: the Kolmogorov-Smirnov statistic max|F_failed - F_correct|. ``p_value``: its two-sided asymptotic p-value.
    """

    auc: float
    ks: float
    p_value: float
    failed: int
    correct: int


def discriminability(values: Floats, failed: Mask) -> Discriminability | None:
    """Over the rows that have a value (infinite ones included); None unless both failures and correct answers have one."""
    from scipy.stats import ks_2samp, mannwhitneyu

    valid = ~np.isnan(values)
    failures, correct = values[valid & failed], values[valid & ~failed]
    n1, n0 = len(failures), len(correct)
    if not n1 or not n0:
        return None
    auc = float(mannwhitneyu(failures, correct, method="asymptotic").statistic) / (n1 * n0)
    with np.errstate(all="ignore"):  # SciPy's own p-value is not used, and divides by zero for single rows
        ks = float(ks_2samp(failures, correct, method="asymp").statistic)
    return Discriminability(auc, ks, ks_p_value(ks, n1, n0), n1, n0)


def ks_p_value(distance: float, n: int, m: int) -> float:
    """2 sum_k (-1)^(k-1) exp(-2 k^2 x^2), x = distance sqrt(nm/(n+m)): Kolmogorov's limit, accurate from some tens of rows on."""
    from scipy.special import kolmogorov

    return float(kolmogorov(distance * math.sqrt(n * m / (n + m))))


def quantile_bins(values: Floats, max_bins: int = 10) -> tuple[list[tuple[float, float]], NDArray[np.int64]]:
    """Bins of about equal counts, or one per value where few are distinct: (bounds, bin index of each row, -1 for NaN).

    Bounds are the smallest and the largest value within each bin.
    """
    valid = ~np.isnan(values)
    indices = np.full(len(values), -1, dtype=np.int64)
    distinct = np.unique(values[valid])
    if not len(distinct):
        return [], indices
    if len(distinct) <= max_bins:
        edges = distinct[1:]
    else:
        cuts = np.quantile(np.sort(values[valid]), np.arange(1, max_bins) / max_bins, method="higher")
        edges = np.unique(cuts[cuts > distinct[0]])
        if cuts[0] == distinct[0]:  # the smallest value alone fills a bin
            edges = np.union1d(edges, distinct[1:2])
    bin_index = np.searchsorted(edges, values[valid], side="right")
    indices[valid] = bin_index
    bounds = []
    for k in range(len(edges) + 1):
        inside = values[valid][bin_index == k]
        bounds.append((float(inside.min()), float(inside.max())))
    return bounds, indices
