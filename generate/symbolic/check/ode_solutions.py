"""Does y(x, c1[, c2]) solve F(x, y, y'[, y'']) = 0, and in general? By numbers: y, its derivatives and those by the
constants from Taylor rules, put into F together with small changes of each.

F is zero at a point where |F| <= 1e-9 (|F_y| |y| + |F_y'| |y'| + |F_y''| |y''|): where changing y and its derivatives by a
part in 10^9 could make it zero. So no factor of F, however small or large, changes the verdict. A point counts only where
the highest derivative has a part of 10^-6 in that sum at least, the solution depends on its constants (dy/dc1 != 0; det
d(y, y')/d(c1, c2) != 0), and the same holds for the point's twin with nearly equal numbers: what hides a zero behind
rounding errors is noise there.

Constants lie in four named regions. A solution holds in a region when F is zero at every point of it where F is finite, and
8 of them in 2 regions of x count. A pair is written with the mask of the regions in which it holds, one at least, and only if
it fails nowhere, at many points more; in a region that is not in the mask too few of them could tell. A prediction may hold for
constants of one sign only, as a square root inverted on its principal branch does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.symbolic.check.solution_points import X_REGIONS, Order, Points
from mathpipe.generate.symbolic.numeric.array_programs import Program, compile_expressions
from mathpipe.generate.symbolic.numeric.common_subexpressions import shared
from mathpipe.generate.symbolic.numeric.points import LEAST_POINTS, LEAST_REGIONS
from mathpipe.generate.symbolic.numeric.taylor import VALUES, Algebra, Complex, evaluate, evaluate_nodes

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

TOLERANCE = 1e-9
HUGE = 1e150
LEAST_SHARE = 1e-6  # of the highest derivative in the scale
LEAST_CHANGE = 1e-7  # of the solution with its constants, relative to itself
STEADY = 1e-3  # relative difference of twins
ROUNDING = 1e-13  # of the terms of an equation
_SUMS = [IDS["add"], IDS["sub"]]
_CHUNK = 16384  # points of all rows worked on together


@dataclass(frozen=True, eq=False)
class Substitution:
    """n solutions in their equations at K points.

    ``residual`` (n, K): |F| / scale, NaN where not finite; ``value_finite`` (n, K): y and its derivatives are;
    ``informative``, ``general`` (n, K): the highest derivative matters; the constants do.
    """

    points: Points
    residual: Floats
    scale: Floats
    value_finite: Mask
    informative: Mask
    general: Mask
    well_formed: Mask

    @cached_property
    def finite(self) -> Mask:
        return np.asarray(~np.isnan(self.residual))

    @cached_property
    def zero(self) -> Mask:
        with np.errstate(invalid="ignore"):
            return np.asarray(self.residual <= TOLERANCE)

    def at(self, chosen: Mask) -> Substitution:
        """Some of the rows."""
        names = ("residual", "scale", "value_finite", "informative", "general", "well_formed")
        return Substitution(self.points, *(getattr(self, name)[chosen] for name in names))


def substitute(order: Order, points: Points, equations: Sequences, solutions: Sequences) -> Substitution:
    """Each solution in its equation, a few dozen at a time."""
    pieces = _pieces(len(equations), _CHUNK // len(points)) or [np.arange(0)]
    parts = [_substitute(order, points, equations.take(r), solutions.take(r)) for r in pieces]
    if len(parts) == 1:
        return parts[0]
    names = ("residual", "scale", "value_finite", "informative", "general", "well_formed")
    return Substitution(points, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _pieces(rows: int, size: int) -> list[NDArray[np.int64]]:
    """The rows, so many at a time."""
    return [np.arange(a, min(a + max(size, 1), rows)) for a in range(0, rows, max(size, 1))]


def _substitute(order: Order, points: Points, equations: Sequences, solutions: Sequences) -> Substitution:
    left, right = shared(compile_expressions(equations)), compile_expressions(solutions)
    jets = evaluate(right, order.family, _own_leaves(order.family, order, points), len(points))
    with np.errstate(all="ignore"):
        values = _derivatives(order, jets)
    found = evaluate(left, order.sensitivity, _equation_leaves(order, points, values), len(points))
    with np.errstate(all="ignore"):
        sizes = np.abs(values)
        # a highest derivative that is zero leaves only its rounding errors, which are relative to what it is made of
        sizes[-1] += 1e-6 * sizes[:-1].sum(axis=0)
        reactions = np.abs(found[1:]) * sizes
        scale = reactions.sum(axis=0)
        value_finite = np.asarray((sizes < HUGE).all(axis=0))
        finite = value_finite & (np.abs(found) < HUGE).all(axis=0) & (scale < HUGE)
        size = np.abs(found[0])
        residual = np.where(
            finite, np.where(scale > 0, size / np.where(scale > 0, scale, 1), np.where(size > 0, np.inf, 0)), np.nan
        )
        share = np.where(scale > 0, reactions[-1] / np.where(scale > 0, scale, 1), 1)
        change, relative = _dependence(order, points, jets)
        steady = _steady(points, [found[-1], jets[0], jets[1]])
        informative = finite & (share >= LEAST_SHARE) & (np.abs(found[-1]) > 0) & steady
        general = finite & (relative >= LEAST_CHANGE) & (np.abs(change) > 0) & _steady(points, [change])
    return Substitution(
        points, residual, scale, value_finite, informative, general, left.well_formed & right.well_formed
    )


def _derivatives(order: Order, jets: Complex) -> Complex:
    """y, y' and for the second order y'', (2 or 3, n, K)."""
    return jets[:2] if order.order == 1 else np.stack([jets[0], jets[1], 2 * jets[2]])


def doubtful(order: Order, equations: Sequences, solutions: Sequences) -> Mask:
    """Which equations are anywhere further from zero than rounding takes the terms they are sums of.

    At the many points, by plain numbers: a third of the work of ``substitute``, which has to decide what is doubtful here.
    """
    pieces = _pieces(len(equations), 4 * _CHUNK // len(order.many_points))
    parts = [_doubtful(order, equations.take(r), solutions.take(r)) for r in pieces]
    return np.concatenate([np.zeros(0, dtype=bool), *parts])


def _doubtful(order: Order, equations: Sequences, solutions: Sequences) -> Mask:
    points = order.many_points
    left, right = shared(compile_expressions(equations)), compile_expressions(solutions)
    jets = evaluate(right, order.motion, _own_leaves(order.motion, order, points), len(points))
    with np.errstate(all="ignore"):
        values = _derivatives(order, jets)
    leaves = {"x": points.x[None], **{name: values[k : k + 1] for k, name in enumerate(order.unknowns)}}
    nodes = evaluate_nodes(left, VALUES, leaves, len(points))[0]
    with np.errstate(all="ignore"):
        found = np.abs(nodes[left.root])
        far = np.isfinite(found) & (found > ROUNDING * _largest_terms(left, np.abs(nodes)))
    return np.asarray(far.any(axis=1))


def _largest_terms(program: Program, sizes: Floats) -> Floats:
    """The sum of what each well-formed expression, a sum or not, is the sum of, (n, K)."""
    total = np.zeros((len(program.root), sizes.shape[1]))
    owner, nodes = np.arange(len(program.root)), program.root
    while len(nodes):
        inner = np.isin(program.word[nodes], _SUMS)
        np.add.at(total, owner[~inner], sizes[nodes[~inner]])
        owner, nodes = owner[inner], nodes[inner]
        owner, nodes = np.tile(owner, 2), np.concatenate([program.left[nodes], program.right[nodes]])
    return total


def _own_leaves(family: Algebra, order: Order, points: Points) -> dict[str, Complex]:
    """x and the constants as jets of a family, (components, K)."""
    place = {monomial: k for k, monomial in enumerate(family.monomials)}
    blank = np.zeros((len(place), len(points)), dtype=np.complex128)
    leaves = {}
    for name, values, monomial in zip(
        ("x", *order.constants), (points.x, *points.constants), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), strict=False
    ):
        leaf = blank.copy()
        leaf[0] = values
        if monomial in place:
            leaf[place[monomial]] = 1
        leaves[name] = leaf
    return leaves


def _equation_leaves(order: Order, points: Points, values: Complex) -> dict[str, Complex]:
    """x, and each unknown with a change of its own; the unknowns differ by row."""
    components = len(order.sensitivity.monomials)
    x = np.zeros((components, len(points)), dtype=np.complex128)
    x[0] = points.x
    leaves = {"x": x}
    for k, name in enumerate(order.unknowns):
        leaf = np.zeros((components, *values.shape[1:]), dtype=np.complex128)
        leaf[0], leaf[k + 1] = values[k], 1
        leaves[name] = leaf
    return leaves


def _dependence(order: Order, points: Points, jets: Complex) -> tuple[Complex, Floats]:
    """(dy/dc1 or the Jacobian, its size relative to what it is made of)."""
    if order.order == 1:
        change = jets[2]
        return change, np.abs(change * points.constants[0]) / (np.abs(jets[0]) + np.abs(change * points.constants[0]))
    one, other = jets[3] * jets[6], jets[5] * jets[4]
    c1, c2 = np.abs(points.constants)
    y, slope = np.abs(jets[0]), np.abs(jets[1])
    moved1 = np.abs(jets[3]) * c1 / (y + np.abs(jets[3]) * c1) + np.abs(jets[4]) * c1 / (slope + np.abs(jets[4]) * c1)
    moved2 = np.abs(jets[5]) * c2 / (y + np.abs(jets[5]) * c2) + np.abs(jets[6]) * c2 / (slope + np.abs(jets[6]) * c2)
    # 0/0 is a part that is zero throughout
    turned = np.abs(one - other) / (np.abs(one) + np.abs(other))
    return one - other, np.minimum(turned, np.fmin(moved1, moved2))


def _steady(points: Points, quantities: list[Complex]) -> Mask:
    """Which rows (n, 1) have nearly equal numbers at most of those twins where they are finite."""
    here, original = points.twins
    close = np.ones((quantities[0].shape[0], len(here)), dtype=bool)
    known = close.copy()
    for values in quantities:
        a, b = values[:, here], values[:, original]
        known &= np.isfinite(a) & np.isfinite(b)
        close &= np.abs(a - b) <= STEADY * (np.abs(a) + np.abs(b))
    return np.asarray(((close & known).sum(axis=1) * 2 > known.sum(axis=1))[:, None])


def holding(found: Substitution, *, general: bool = True) -> Mask:
    """In which regions of the constants each solution holds, (n, regions)."""
    counted = found.zero & found.informative
    if general:
        counted &= found.general
    counted &= found.points.twin < 0
    fails = found.finite & ~found.zero
    regions = range(int(found.points.region.max(initial=-1)) + 1)
    return np.stack(
        [~fails[:, found.points.region == r].any(axis=1) & enough(counted, found.points, r) for r in regions], axis=1
    )


def holding_regions(
    order: Order,
    found: Substitution,
    equations: Sequences,
    solutions: Sequences,
    *,
    general: bool = True,
    thorough: bool = False,
) -> Mask:
    """The same, (n, regions); what fails in some regions is believed of others only after many more points.

    And only of all constants of one sign: what seems to hold for small constants alone may fail for small ones elsewhere.
    Where all points of a region are undefined or do not count, that is no failure. ``thorough``: everything is looked at
    again at many points, since acosh(cosh u) is u until the imaginary part of u is pi, and what fails anywhere holds nowhere:
    that exp(c1) < pi for every c1 tried proves little.
    """
    regions = holding(found, general=general)
    fails: Mask = np.asarray((found.finite & ~found.zero).any(axis=1))
    regions[fails] &= _of_one_sign(order, regions[fails])
    again = np.flatnonzero(regions.any(axis=1) & (fails | thorough))
    if thorough:
        again = again[fails[again] | doubtful(order, equations.take(again), solutions.take(again))]
    more = substitute(order, order.many_points, equations.take(again), solutions.take(again))
    regions[again] &= holding(more, general=general)
    narrowed = again[fails[again] | (more.finite & ~more.zero).any(axis=1)]
    regions[narrowed] &= not thorough and _of_one_sign(order, regions[narrowed])
    return regions


def _of_one_sign(order: Order, regions: Mask) -> Mask:
    """Which regions belong to constants of one sign that all are there."""
    believed = np.zeros_like(regions)
    for mask in order.wholes:
        mine = (mask >> np.arange(regions.shape[1]) & 1).astype(bool)
        believed[np.ix_(regions[:, mine].all(axis=1), mine)] = True
    return believed


def enough(counted: Mask, points: Points, region: int) -> Mask:
    """Which rows have 8 counted points in 2 regions of x, within this region of the constants."""
    mine = points.region == region
    x_regions = np.zeros(len(counted), dtype=np.int64)
    for r in range(X_REGIONS):
        x_regions += counted[:, mine & (points.x_region == r)].any(axis=1)
    return np.asarray((counted[:, mine].sum(axis=1) >= LEAST_POINTS) & (x_regions >= LEAST_REGIONS))


def holds(order: Order, equations: Sequences, solutions: Sequences) -> tuple[NDArray[np.uint8], dict[str, Mask]]:
    """(mask of the regions of the constants in which each pair is right, 0 for none; why those are not kept)."""
    found = substitute(order, order.points, equations, solutions)
    regions = holding_regions(order, found, equations, solutions, thorough=True)
    mask = (regions * (1 << np.arange(regions.shape[1]))).sum(axis=1).astype(np.uint8)
    fails = (found.finite & ~found.zero).any(axis=1)
    somewhere = (found.zero & found.informative).any(axis=1)
    elsewhere = ~fails & holding(found).any(axis=1)  # at many points only
    return mask, {
        "holds on part of the domain": (mask == 0) & ((fails & somewhere) | elsewhere),
        "does not hold": (mask == 0) & fails & ~somewhere,
        "undecided by numbers": (mask == 0) & ~fails & ~elsewhere,
    }
