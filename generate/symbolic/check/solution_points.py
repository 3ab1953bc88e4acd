"""Test points for solutions with constants: (x, c1) and (x, c1, c2), grouped into named regions of the constants.

Each region of the constants has the same number of points: a few x of each region of x (both sides of zero, inside and outside
the unit circle, and the four quadrants) with constants spread over the region. Twins follow: copies of some points with x changed
by a factor of 1 + 1e-12, where only quantities that consist of rounding errors change. The number of points is a multiple of eight,
so that vectorised operations give the same bits for any batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mathpipe.generate.symbolic.numeric.taylor import (
    FIRST_DERIVATIVES,
    ONE_CONSTANT,
    SECOND_DERIVATIVES,
    TWO_CONSTANTS,
    Algebra,
    Complex,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

X_REGIONS = 8
NUM_TWINS = 2  # per region of the constants
TWIN_FACTOR = 1 + 1e-12
_GOLDEN = (5**0.5 - 1) / 2
_SIGNS = ((1, 1), (-1, 1), (-1, -1), (1, -1))  # quadrants


def _spread(k: Ints | int, step: float) -> Floats:
    """The k-th number of a sequence spread evenly over (0, 1)."""
    return np.asarray((0.5 + step * np.asarray(k, dtype=np.float64)) % 1.0)


def _abscissas(first: int, each: int) -> tuple[Complex, Ints]:
    """(x, their regions): ``each`` values per region; another ``first`` gives other values."""
    k = first + np.arange(X_REGIONS * each)
    region = np.arange(X_REGIONS * each) % X_REGIONS
    u, v = _spread(k, _GOLDEN), _spread(k, np.sqrt(2) - 1)
    near, far = 0.12 + 0.8 * u, np.exp(0.1 + 1.7 * u)  # up to 6
    size = np.where((region // 2) % 2 == 0, near, far)
    real = np.where(region % 2 == 0, size, -size)
    sign = np.array(_SIGNS)[region % 4]
    radius, angle = 0.3 + 3.2 * u, (0.08 + 0.84 * v) * np.pi / 2
    off_axis = radius * (sign[:, 0] * np.cos(angle) + 1j * sign[:, 1] * np.sin(angle))
    return np.where(region < 4, real, off_axis), region


@dataclass(frozen=True, eq=False)
class Points:
    """K points: ``x`` (K,), ``constants`` (1 or 2, K), the region of the constants and of x (K,).

    ``twin`` (K,): the index of the point that this one is a twin of, or -1.
    """

    x: Complex
    constants: Complex
    region: Ints
    x_region: Ints
    twin: Ints

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def twins(self) -> tuple[Ints, Ints]:
        """(indices of the twins, indices of their originals)."""
        twins = np.flatnonzero(self.twin >= 0)
        return twins, self.twin[twins]

    def subset(self, mask: NDArray[np.bool_]) -> Points:
        """The points where ``mask`` is True, which must contain the original of each twin; regions are renumbered from 0."""
        new_index = np.cumsum(mask) - 1
        twin = np.where(self.twin[mask] >= 0, new_index[self.twin[mask]], -1)
        region = self.region[mask] - self.region[mask].min()
        return Points(self.x[mask], self.constants[:, mask], region, self.x_region[mask], twin)


def _points(regions: list[list[tuple[float, float]]], each: int) -> Points:
    """``regions``: the range of each constant in each region, sampled evenly in the logarithm of the magnitude.

    ``each``: the number of x in each region of x, per region of the constants.
    """
    points_per_region = X_REGIONS * each
    xs, constants, x_regions, twins = [], [], [], []
    for r, ranges in enumerate(regions):
        x, x_region = _abscissas(1 + points_per_region * r, each)
        values = []
        for j, (low, high) in enumerate(ranges):
            u = _spread(7 * r + np.arange(len(x)), (np.sqrt(3) - 1, np.sqrt(7) - 2)[j])
            values.append(np.sign(low) * np.exp(np.log(abs(low)) + u * np.log(high / low)))
        twin_of = np.array([2 * r % X_REGIONS, (2 * r + 5) % X_REGIONS])  # a real and a complex point
        xs.append(np.concatenate([x, x[twin_of] * TWIN_FACTOR]))
        constants.append(np.concatenate([np.array(values), np.array(values)[:, twin_of]], axis=1))
        x_regions.append(np.concatenate([x_region, x_region[twin_of]]))
        twins.append(np.concatenate([np.full(len(x), -1), twin_of + (points_per_region + NUM_TWINS) * r]))
    return Points(
        np.concatenate(xs),
        np.concatenate(constants, axis=1).astype(np.complex128),
        np.repeat(np.arange(len(regions)), points_per_region + NUM_TWINS),
        np.concatenate(x_regions),
        np.concatenate(twins),
    )


@dataclass(frozen=True, eq=False)
class OdeOrder:
    """What differs between equations of first and second order.

    ``unknowns``: tokens an equation may use; ``constants``: tokens of the constants of its solutions. ``solution_algebra``:
    Taylor coefficients of a solution in x and the constants; ``x_algebra``: in x alone; ``equation_algebra``: of an equation in
    small changes of the unknowns. ``regions``: the names of the regions of the constants, in the order of the bits of a mask.
    """

    order: int
    unknowns: tuple[str, ...]
    constants: tuple[str, ...]
    solution_algebra: Algebra
    x_algebra: Algebra
    equation_algebra: Algebra
    regions: tuple[str, ...]
    points: Points
    dense_points: Points
    """For answers that fail at all coarse points."""

    @cached_property
    def coarse_points(self) -> Points:
        """Sixteen of the points, from all regions, and some twins, as one region of the constants."""
        twins, originals = self.points.twins
        index = np.arange(len(self.points))
        mask = (self.points.twin < 0) & ((index + self.points.region) % (len(self.points) // 16) == 0)
        mask[twins[:2]] = mask[originals[:2]] = True
        subset = self.points.subset(mask)
        return replace(subset, region=np.zeros_like(subset.region))


_SMALL, _LARGE, _ANY = (0.15, 0.93), (1.1, 6.5), (0.2, 4.5)


def _negative(range_: tuple[float, float]) -> tuple[float, float]:
    return -range_[0], -range_[1]


_ONE = [[_LARGE], [_SMALL], [_negative(_SMALL)], [_negative(_LARGE)]]
_TWO = [[_ANY, _ANY], [_negative(_ANY), _ANY], [_ANY, _negative(_ANY)], [_negative(_ANY), _negative(_ANY)]]
FIRST_ORDER = OdeOrder(
    1,
    ("Y", "Y'"),
    ("a8",),
    ONE_CONSTANT,
    FIRST_DERIVATIVES,
    Algebra(((0, 0, 0), (1, 0, 0), (0, 1, 0))),
    ("1 < c1", "0 < c1 < 1", "-1 < c1 < 0", "c1 < -1"),
    _points(_ONE, each=2),
    _points(_ONE, each=8),
)
SECOND_ORDER = OdeOrder(
    2,
    ("Y", "Y'", "Y''"),
    ("a8", "a9"),
    TWO_CONSTANTS,
    SECOND_DERIVATIVES,
    Algebra(((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))),
    ("c1 > 0, c2 > 0", "c1 < 0, c2 > 0", "c1 > 0, c2 < 0", "c1 < 0, c2 < 0"),
    _points(_TWO, each=3),
    _points(_TWO, each=8),
)
