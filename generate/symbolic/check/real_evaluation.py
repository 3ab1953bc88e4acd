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
from mathpipe.generate.symbolic.numeric.taylor import FIRST_DERIVATIVES, VALUES

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


def _exact(values: Floats) -> RealBalls:
    return RealBalls(values, np.zeros_like(values))


def primitive_fails(f: Program, primitives: Program) -> Mask:
    """For which of n pairs it is proven that F' and f differ at one of the real test points."""
    integrand, primitive, derivative = _values(f, primitives)
    with np.errstate(all="ignore"):
        fails = primitive.finite() & (derivative - integrand).nonzero()
    return np.asarray(fails.any(axis=1))


def have_values(f: Program, primitives: Program) -> Mask:
    """For which of n pairs f, F and F' certainly have a value at one of the real test points."""
    return np.asarray(np.logical_and.reduce([balls.finite() for balls in _values(f, primitives)]).any(axis=1))


def _values(f: Program, primitives: Program) -> tuple[RealBalls, RealBalls, RealBalls]:
    """(f, F, F') at the real test points, (n, K) each."""
    x = [_exact(REAL), _exact(np.ones_like(REAL))]
    (integrand,) = evaluate(f, VALUES, {"x": x[:1]}, len(REAL))
    primitive, derivative = evaluate(primitives, FIRST_DERIVATIVES, {"x": x}, len(REAL))
    return integrand, primitive, derivative


def solution_fails(order: OdeOrder, points: Points, equations: Program, solutions: Program) -> Mask:
    """For which of n pairs it is proven that F(x, y, y'[, y'']) is not zero at one of the points with real x."""
    real = points.x.imag == 0
    zeros, ones = np.zeros(int(real.sum())), np.ones(int(real.sum()))
    tail = [_exact(zeros)] * (len(order.x_algebra.monomials) - 2)
    leaves = {"x": [_exact(points.x.real[real]), _exact(ones), *tail]}
    for name, values in zip(order.constants, points.constants.real[:, real], strict=True):
        leaves[name] = [_exact(values), _exact(zeros), *tail]
    y = evaluate(solutions, order.x_algebra, leaves, len(zeros))
    with np.errstate(all="ignore"):
        if order.order == 2:
            y[2] = 2 * y[2]
        unknowns = {name: [values] for name, values in zip(order.unknowns, y, strict=True)}
        (residual,) = evaluate(equations, VALUES, {"x": leaves["x"][:1], **unknowns}, len(zeros))
        fails = residual.nonzero()
        for values in y:
            fails &= values.finite()
    return np.asarray(fails.any(axis=1))
