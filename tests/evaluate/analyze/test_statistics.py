"""Statistics: Wilson intervals, discriminability and quantile bins against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from mathpipe.evaluate.analyze.statistics import discriminability, ks_p_value, quantile_bins, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 10), (995, 1000), (1, 1)])
def test_wilson_interval_solves_its_quadratic(k: int, n: int) -> None:
    """The bounds are the roots p of (k/n - p)^2 = z^2 p (1 - p) / n."""
    p, z = k / n, 1.959963984540054
    roots = np.roots([1 + z**2 / n, -(2 * p + z**2 / n), p**2])
    assert wilson(k, n) == (pytest.approx(roots.min(), abs=1e-7), pytest.approx(roots.max(), abs=1e-7))


def test_wilson_interval_without_problems() -> None:
    assert wilson(0, 0) == (0, 1)


def test_discriminability_matches_pairwise_definition() -> None:
    rng = np.random.default_rng(0)
    for ties in (False, True):
        values = rng.normal(size=300)
        failed = rng.random(300) < 0.3
        values[failed] += 0.4
        values = np.round(values) if ties else values
        values[5], values[6], values[7] = np.nan, np.inf, -np.inf
        result = discriminability(values, failed)
        assert result is not None
        valid = ~np.isnan(values)
        a, b = values[valid & failed], values[valid & ~failed]
        pairs = (a[:, None] > b).mean() + (a[:, None] == b).mean() / 2
        steps = [abs((a <= x).mean() - (b <= x).mean()) for x in values[valid]]
        x = max(steps) * np.sqrt(len(a) * len(b) / (len(a) + len(b)))
        series = 2 * sum((-1) ** (k - 1) * np.exp(-2 * k**2 * x**2) for k in range(1, 101))
        assert (result.auc, result.ks) == (pytest.approx(pairs), pytest.approx(max(steps)))
        assert result.p_value == pytest.approx(series)
        assert (result.failed, result.correct) == (len(a), len(b))
    assert discriminability(values, np.zeros(300, dtype=bool)) is None
    assert ks_p_value(0.0, 10, 10) == 1


def test_quantile_bins_have_about_equal_counts() -> None:
    rng = np.random.default_rng(0)
    bounds, which = quantile_bins(np.append(rng.normal(size=1000), np.nan))
    assert len(bounds) == 10 and which[-1] == -1
    assert np.bincount(which[:-1]).tolist() == [100] * 10
    bounds, which = quantile_bins(np.array([3.0, 3, 5, 5, 5, np.inf]))
    assert bounds == [(3, 3), (5, 5), (np.inf, np.inf)] and which.tolist() == [0, 0, 1, 1, 1, 2]
    bounds, which = quantile_bins(np.array([1.0] * 990 + list(range(2, 22))))
    assert sum(np.bincount(which)) == 1010 and bounds[0] == (1, 1)
