"""Where solutions with constants are put into their equations: points (x, c1) and (x, c1, c2) of named regions of the
constants.

Each region of the constants has the same number of points: a few x of each region of x (both sides of zero, inside and
outside of the unit circle, and the four quadrants) with constants spread over the region, then twins: some of these points
again with x moved by a part in 10^12, where only what is made of rounding errors changes. Points of all regions are
multiples of eight, so that an array of them is worked on in whole vectors, whatever batch it is part of.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mathpipe.generate.symbolic.numeric.taylor import CURVES, FAMILY1, FAMILY2, SLOPES, Algebra, Complex

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

X_REGIONS = 8
TWINS = 2  # in each region of the constants
MOVED = 1 + 1e-12
_GOLDEN = (5**0.5 - 1) / 2
_SIGNS = ((1, 1), (-1, 1), (-1, -1), (1, -1))  # quadrants


def _spread(k: Ints | int, turn: float) -> Floats:
    """The k-th of numbers spread evenly over (0, 1)."""
    return np.asarray((0.5 + turn * np.asarray(k, dtype=np.float64)) % 1.0)


def _abscissas(first: int, each: int) -> tuple[Complex, Ints]:
    """(x, their regions): ``each`` of each region, other ones for each ``first``."""
    k = first + np.arange(X_REGIONS * each)
    region = np.arange(X_REGIONS * each) % X_REGIONS
    u, v = _spread(k, _GOLDEN), _spread(k, np.sqrt(2) - 1)
    near, far = 0.12 + 0.8 * u, np.exp(0.1 + 1.7 * u)  # up to 6
    size = np.where((region // 2) % 2 == 0, near, far)
    real = np.where(region % 2 == 0, size, -size)
    sign = np.array(_SIGNS)[region % 4]
    radius, angle = 0.3 + 3.2 * u, (0.08 + 0.84 * v) * np.pi / 2
    across = radius * (sign[:, 0] * np.cos(angle) + 1j * sign[:, 1] * np.sin(angle))
    return np.where(region < 4, real, across), region


@dataclass(frozen=True, eq=False)
class Points:
    """K points: ``x`` (K,), ``constants`` (1 or 2, K), the region of each and of its x; ``twin`` (K,): whose twin it is, or -1."""

    x: Complex
    constants: Complex
    region: Ints
    x_region: Ints
    twin: Ints

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def twins(self) -> tuple[Ints, Ints]:
        """(places of twins, places of their originals)."""
        here = np.flatnonzero(self.twin >= 0)
        return here, self.twin[here]

    def chosen(self, kept: NDArray[np.bool_]) -> Points:
        """Some of the points, twins with their originals or neither; regions are numbered from the first that is left."""
        place = np.cumsum(kept) - 1
        twin = np.where(self.twin[kept] >= 0, place[self.twin[kept]], -1)
        region = self.region[kept] - self.region[kept].min()
        return Points(self.x[kept], self.constants[:, kept], region, self.x_region[kept], twin)


def _points(regions: list[list[tuple[float, float]]], each: int) -> Points:
    """``regions``: the range of each constant in each region; magnitudes are spread by their logarithm.

    ``each``: x of each region of x in each region of the constants.
    """
    ordinary = X_REGIONS * each
    xs, constants, x_regions, twins = [], [], [], []
    for r, ranges in enumerate(regions):
        x, x_region = _abscissas(1 + ordinary * r, each)
        drawn = []
        for j, (low, high) in enumerate(ranges):
            u = _spread(7 * r + np.arange(len(x)), (np.sqrt(3) - 1, np.sqrt(7) - 2)[j])
            drawn.append(np.sign(low) * np.exp(np.log(abs(low)) + u * np.log(high / low)))
        own = np.array([2 * r % X_REGIONS, (2 * r + 5) % X_REGIONS])  # real and complex ones
        xs.append(np.concatenate([x, x[own] * MOVED]))
        constants.append(np.concatenate([np.array(drawn), np.array(drawn)[:, own]], axis=1))
        x_regions.append(np.concatenate([x_region, x_region[own]]))
        twins.append(np.concatenate([np.full(len(x), -1), own + (ordinary + TWINS) * r]))
    return Points(
        np.concatenate(xs),
        np.concatenate(constants, axis=1).astype(np.complex128),
        np.repeat(np.arange(len(regions)), ordinary + TWINS),
        np.concatenate(x_regions),
        np.concatenate(twins),
    )


@dataclass(frozen=True, eq=False)
class Order:
    """What sets equations of first and second order apart.

    ``unknowns``: words that an equation may use; ``constants``: those of its solutions; ``family``: the jets of a solution;
    ``motion``: those by x alone; ``sensitivity``: jets of an equation in small changes of the unknowns; ``regions``: names, in
    the order of the bits of a mask.
    """

    order: int
    unknowns: tuple[str, ...]
    constants: tuple[str, ...]
    family: Algebra
    motion: Algebra
    sensitivity: Algebra
    regions: tuple[str, ...]
    points: Points
    many_points: Points
    """For what holds in part of the regions only."""
    wholes: tuple[int, ...]
    """Masks of all constants of one sign: what fails somewhere is believed only of these."""

    @cached_property
    def first_points(self) -> Points:
        """Sixteen of the points, from everywhere, and some twins, as if the constants had one region."""
        here, original = self.points.twins
        place = np.arange(len(self.points))
        kept = (self.points.twin < 0) & ((place + self.points.region) % (len(self.points) // 16) == 0)
        kept[here[:2]] = kept[original[:2]] = True
        some = self.points.chosen(kept)
        return replace(some, region=np.zeros_like(some.region))


_SMALL, _LARGE, _ANY = (0.15, 0.93), (1.1, 6.5), (0.2, 4.5)


def _negative(range_: tuple[float, float]) -> tuple[float, float]:
    return -range_[0], -range_[1]


_ONE = [[_LARGE], [_SMALL], [_negative(_SMALL)], [_negative(_LARGE)]]
_TWO = [[_ANY, _ANY], [_negative(_ANY), _ANY], [_ANY, _negative(_ANY)], [_negative(_ANY), _negative(_ANY)]]
FIRST = Order(
    1,
    ("Y", "Y'"),
    ("a8",),
    FAMILY1,
    SLOPES,
    Algebra(((0, 0, 0), (1, 0, 0), (0, 1, 0))),
    ("1 < c1", "0 < c1 < 1", "-1 < c1 < 0", "c1 < -1"),
    _points(_ONE, each=2),
    _points(_ONE, each=8),
    (0b0011, 0b1100),
)
SECOND = Order(
    2,
    ("Y", "Y'", "Y''"),
    ("a8", "a9"),
    FAMILY2,
    CURVES,
    Algebra(((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))),
    ("c1 > 0, c2 > 0", "c1 < 0, c2 > 0", "c1 > 0, c2 < 0", "c1 < 0, c2 < 0"),
    _points(_TWO, each=3),
    _points(_TWO, each=8),
    (0b0001, 0b0010, 0b0100, 0b1000),
)
