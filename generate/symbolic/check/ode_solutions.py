"""Numerical verification of solutions y(x, c1[, c2]) of F(x, y, y'[, y'']) = 0, and of their generality.

Taylor rules give y, its derivatives, and the derivatives with respect to the constants; these are substituted into F together
with small changes of each unknown.

F vanishes at a point if |F| <= 1e-9 (|F_y| |y| + |F_y'| |y'| + |F_y''| |y''|), that is, if changing y and its derivatives by a
factor of 1 + 1e-9 could make it zero. So no factor of F, however small or large, changes the outcome. A point counts only if the
highest derivative contributes at least 1e-6 of that sum, and if the solution depends on its constants (dy/dc1 != 0; det
d(y, y')/d(c1, c2) != 0). Moreover these quantities must be nearly equal at the twins of points: otherwise they are rounding errors.

Constants lie in four named regions. A solution holds in a region if F vanishes at every point of it where F is finite, and 8 of
these points in 2 regions of x count. Generation stores the mask of the regions in which a pair holds, at least one; regions
outside the mask have too few points to decide. Points alone accept nothing: see ``accepted_solutions``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.symbolic.check.solution_points import X_REGIONS, OdeOrder, Points
from mathpipe.generate.symbolic.numeric.array_programs import compile_expressions
from mathpipe.generate.symbolic.numeric.common_subexpressions import eliminate_common_subexpressions
from mathpipe.generate.symbolic.numeric.points import MIN_POINTS, MIN_REGIONS
from mathpipe.generate.symbolic.numeric.taylor import Algebra, Complex, evaluate

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

TOLERANCE = 1e-9
MAX_MAGNITUDE = 1e150
MIN_DERIVATIVE_SHARE = 1e-6  # of the highest derivative in the scale
MIN_CONSTANT_DEPENDENCE = 1e-7  # relative change of the solution with its constants
TWIN_TOLERANCE = 1e-3  # relative difference between twins and originals
_CHUNK = 16384  # points of all rows that are evaluated together


@dataclass(frozen=True, eq=False)
class Substitution:
    """n solutions substituted into their equations at K points.

    ``residual`` (n, K): |F| / scale, NaN where not finite; ``value_finite`` (n, K): whether y and its derivatives are finite;
    ``informative``, ``general`` (n, K): whether the highest derivative, and the constants, have an effect.
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

    def select(self, rows: Mask) -> Substitution:
        """The rows where the mask is True."""
        names = ("residual", "scale", "value_finite", "informative", "general", "well_formed")
        return Substitution(self.points, *(getattr(self, name)[rows] for name in names))


def substitute(order: OdeOrder, points: Points, equations: Sequences, solutions: Sequences) -> Substitution:
    """Substitute each solution into its equation, a few dozen at a time."""
    pieces = _pieces(len(equations), _CHUNK // len(points)) or [np.arange(0)]
    parts = [_substitute(order, points, equations.take(r), solutions.take(r)) for r in pieces]
    if len(parts) == 1:
        return parts[0]
    names = ("residual", "scale", "value_finite", "informative", "general", "well_formed")
    return Substitution(points, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _pieces(rows: int, size: int) -> list[NDArray[np.int64]]:
    """Row indices in pieces of ``size``."""
    return [np.arange(a, min(a + max(size, 1), rows)) for a in range(0, rows, max(size, 1))]


def _substitute(order: OdeOrder, points: Points, equations: Sequences, solutions: Sequences) -> Substitution:
    left, right = eliminate_common_subexpressions(compile_expressions(equations)), compile_expressions(solutions)
    taylor = evaluate(
        right, order.solution_algebra, _solution_leaves(order.solution_algebra, order, points), len(points)
    )
    with np.errstate(all="ignore"):
        values = _derivatives(order, taylor)
    response = evaluate(left, order.equation_algebra, _equation_leaves(order, points, values), len(points))
    with np.errstate(all="ignore"):
        sizes = np.abs(values)
        # where the highest derivative is zero, only its rounding errors are left, which are relative to the lower derivatives
        sizes[-1] += 1e-6 * sizes[:-1].sum(axis=0)
        sensitivities = np.abs(response[1:]) * sizes
        scale = sensitivities.sum(axis=0)
        value_finite = np.asarray((sizes < MAX_MAGNITUDE).all(axis=0))
        finite = value_finite & (np.abs(response) < MAX_MAGNITUDE).all(axis=0) & (scale < MAX_MAGNITUDE)
        size = np.abs(response[0])
        residual = np.where(
            finite, np.where(scale > 0, size / np.where(scale > 0, scale, 1), np.where(size > 0, np.inf, 0)), np.nan
        )
        derivative_share = np.where(scale > 0, sensitivities[-1] / np.where(scale > 0, scale, 1), 1)
        change, relative = _constant_dependence(order, points, taylor)
        stable = _agrees_at_twins(points, [response[-1], taylor[0], taylor[1]])
        informative = finite & (derivative_share >= MIN_DERIVATIVE_SHARE) & (np.abs(response[-1]) > 0) & stable
        general = (
            finite & (relative >= MIN_CONSTANT_DEPENDENCE) & (np.abs(change) > 0) & _agrees_at_twins(points, [change])
        )
    return Substitution(
        points, residual, scale, value_finite, informative, general, left.well_formed & right.well_formed
    )


def _derivatives(order: OdeOrder, taylor: Complex) -> Complex:
    """(y, y') or, for second order, (y, y', y''): (2 or 3, n, K)."""
    return taylor[:2] if order.order == 1 else np.stack([taylor[0], taylor[1], 2 * taylor[2]])


def _solution_leaves(solution_algebra: Algebra, order: OdeOrder, points: Points) -> dict[str, Complex]:
    """x and the constants as Taylor coefficients in an algebra, (components, K)."""
    index = {monomial: k for k, monomial in enumerate(solution_algebra.monomials)}
    blank = np.zeros((len(index), len(points)), dtype=np.complex128)
    leaves = {}
    for name, values, monomial in zip(
        ("x", *order.constants), (points.x, *points.constants), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), strict=False
    ):
        leaf = blank.copy()
        leaf[0] = values
        if monomial in index:
            leaf[index[monomial]] = 1
        leaves[name] = leaf
    return leaves


def _equation_leaves(order: OdeOrder, points: Points, values: Complex) -> dict[str, Complex]:
    """x, and the unknowns, each with its own small change; the unknowns differ by row."""
    components = len(order.equation_algebra.monomials)
    x = np.zeros((components, len(points)), dtype=np.complex128)
    x[0] = points.x
    leaves = {"x": x}
    for k, name in enumerate(order.unknowns):
        leaf = np.zeros((components, *values.shape[1:]), dtype=np.complex128)
        leaf[0], leaf[k + 1] = values[k], 1
        leaves[name] = leaf
    return leaves


def _constant_dependence(order: OdeOrder, points: Points, taylor: Complex) -> tuple[Complex, Floats]:
    """(dy/dc1 or the Jacobian determinant, its size relative to its parts)."""
    if order.order == 1:
        change = taylor[2]
        return change, np.abs(change * points.constants[0]) / (np.abs(taylor[0]) + np.abs(change * points.constants[0]))
    first, second = taylor[3] * taylor[6], taylor[5] * taylor[4]
    c1, c2 = np.abs(points.constants)
    y, y_prime = np.abs(taylor[0]), np.abs(taylor[1])
    change1 = np.abs(taylor[3]) * c1 / (y + np.abs(taylor[3]) * c1) + np.abs(taylor[4]) * c1 / (
        y_prime + np.abs(taylor[4]) * c1
    )
    change2 = np.abs(taylor[5]) * c2 / (y + np.abs(taylor[5]) * c2) + np.abs(taylor[6]) * c2 / (
        y_prime + np.abs(taylor[6]) * c2
    )
    # fmin: 0/0 means that a part is zero everywhere
    cancellation = np.abs(first - second) / (np.abs(first) + np.abs(second))
    return first - second, np.minimum(cancellation, np.fmin(change1, change2))


def _agrees_at_twins(points: Points, quantities: list[Complex]) -> Mask:
    """Which rows (n, 1) have nearly equal values at a majority of the twins and originals where they are finite."""
    twins, originals = points.twins
    close = np.ones((quantities[0].shape[0], len(twins)), dtype=bool)
    finite = close.copy()
    for values in quantities:
        a, b = values[:, twins], values[:, originals]
        finite &= np.isfinite(a) & np.isfinite(b)
        close &= np.abs(a - b) <= TWIN_TOLERANCE * (np.abs(a) + np.abs(b))
    return np.asarray(((close & finite).sum(axis=1) * 2 > finite.sum(axis=1))[:, None])


def regions_solved(substitution: Substitution) -> Mask:
    """In which regions of the constants each solution holds and depends on its constants (n, regions)."""
    counted = substitution.zero & substitution.informative & substitution.general & (substitution.points.twin < 0)
    fails = substitution.finite & ~substitution.zero
    regions = range(int(substitution.points.region.max(initial=-1)) + 1)
    return np.stack(
        [
            ~fails[:, substitution.points.region == r].any(axis=1) & has_enough_points(counted, substitution.points, r)
            for r in regions
        ],
        axis=1,
    )


def has_enough_points(counted: Mask, points: Points, region: int) -> Mask:
    """Which rows have at least 8 counted points in 2 regions of x within this region of the constants."""
    in_region = points.region == region
    x_regions = np.zeros(len(counted), dtype=np.int64)
    for r in range(X_REGIONS):
        x_regions += counted[:, in_region & (points.x_region == r)].any(axis=1)
    return np.asarray((counted[:, in_region].sum(axis=1) >= MIN_POINTS) & (x_regions >= MIN_REGIONS))
