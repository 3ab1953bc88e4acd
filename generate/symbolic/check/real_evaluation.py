"""Which answers certainly fail, or certainly have a value, at a real point: proofs for many answers at once.

The balls are those of ``real_balls``. Answers that they do not decide are left to balls of more digits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.generate.symbolic.check.solution_points import OdeOrder, Points
from mathpipe.generate.symbolic.numeric.array_programs import Program
from mathpipe.generate.symbolic.numeric.points import REAL
from mathpipe.generate.symbolic.numeric.real_balls import RealBalls, evaluate
from mathpipe.generate.symbolic.numeric.taylor import FIRST_DERIVATIVES, VALUES, Algebra

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


def _exact(values: Floats) -> RealBalls:
    return RealBalls(values, np.zeros_like(values))


def primitive_fails(f: Program, primitives: Program, points: Floats) -> Mask:
    """Which of n pairs are proven to differ, F' from f, at the real point (groups,) of their group, the row of their nodes."""
    integrand, primitive, derivative = _values(f, primitives, points[:, None])
    with np.errstate(all="ignore"):
        fails = primitive.finite() & (derivative - integrand).nonzero()
    return np.asarray(fails[:, 0])


def have_values(f: Program, primitives: Program) -> Mask:
    """For which of n pairs f, F and F' certainly have a value at one of the real test points."""
    return np.asarray(np.logical_and.reduce([balls.finite() for balls in _values(f, primitives, REAL)]).any(axis=1))


def _values(f: Program, primitives: Program, points: Floats) -> tuple[RealBalls, RealBalls, RealBalls]:
    """(f, F, F') at real points, (K,) or (groups, K): (n, K) each."""
    x = [_exact(points), _exact(np.ones_like(points))]
    (integrand,) = evaluate(f, VALUES, {"x": x[:1]}, points.shape[-1])
    primitive, derivative = evaluate(primitives, FIRST_DERIVATIVES, {"x": x}, points.shape[-1])
    return integrand, primitive, derivative


def solution_fails(order: OdeOrder, points: Points, equations: Program, solutions: Program) -> Mask:
    """For which of n pairs it is proven that F(x, y, y'[, y'']) is not zero at one of the points with real x."""
    y, residual = _substituted(order, points, equations, solutions)
    with np.errstate(all="ignore"):
        fails = residual.nonzero()
        for values in y:
            fails &= values.finite()
    return np.asarray(fails.any(axis=1))


def equations_have_values(order: OdeOrder, equations: Program, solutions: Program) -> Mask:
    """For which of n pairs F certainly has a value at a real point of each region of the constants."""
    _, residual = _substituted(order, order.points, equations, solutions)
    region = order.points.region[order.points.x.imag == 0]
    with np.errstate(all="ignore"):
        finite = residual.finite()
    return np.asarray(np.logical_and.reduce([finite[:, region == r].any(axis=1) for r in range(len(order.regions))]))


def depend_on_constants(order: OdeOrder, solutions: Program) -> Mask:
    """For which of n solutions dy/dc1, or det d(y, y')/d(c1, c2), is certainly not zero at one of the points with real x."""
    y = _solutions(order, order.solution_algebra, order.points, solutions)
    with np.errstate(all="ignore"):
        change = y[2] if order.order == 1 else y[3] * y[6] - y[5] * y[4]
        return np.asarray(change.nonzero().any(axis=1))


def _substituted(
    order: OdeOrder, points: Points, equations: Program, solutions: Program
) -> tuple[list[RealBalls], RealBalls]:
    """(y and its derivatives, F) at the points with real x, (n, K) each."""
    y = _solutions(order, order.x_algebra, points, solutions)
    x = points.x.real[points.x.imag == 0]
    with np.errstate(all="ignore"):
        if order.order == 2:
            y[2] = 2 * y[2]
        unknowns = {name: [values] for name, values in zip(order.unknowns, y, strict=True)}
        (residual,) = evaluate(equations, VALUES, {"x": [_exact(x)], **unknowns}, len(x))
    return y, residual


def _solutions(order: OdeOrder, algebra: Algebra, points: Points, solutions: Program) -> list[RealBalls]:
    """The Taylor coefficients of solutions at the points with real x."""
    real = points.x.imag == 0
    zeros, ones = np.zeros(int(real.sum())), np.ones(int(real.sum()))
    values = (points.x.real[real], *points.constants.real[:, real])
    leaves: dict[str, list[RealBalls]] = {}
    for name, value, monomial in zip(("x", *order.constants), values, ((1, 0, 0), (0, 1, 0), (0, 0, 1)), strict=False):
        jet = [_exact(ones if m == monomial else zeros) for m in algebra.monomials]
        leaves[name] = [_exact(value), *jet[1:]]
    return evaluate(solutions, algebra, leaves, len(zeros))
