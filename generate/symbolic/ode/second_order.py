"""Equations of second order from f(x, c1, c2): the same inversion twice.

U is a part of f that holds c2 and not c1. Inverted for c2 it gives U' = D(x, U); f with a letter for U, inverted for c1,
gives y' = E(x, y, U). That is solved for U = H(x, y, y'): by inversion where U occurs once, else where the numerator of y'
- E is linear or quadratic in U. Then one more derivative: d/dx of y' = E with U' = D(x, U), and H put in for U. Which part
U is, and which constant goes first, is free: every choice that can be solved gives a candidate.
"""

from __future__ import annotations

from collections.abc import Iterator

import symengine as se

from mathpipe.generate.symbolic.expr.canonical_form import Expr, Unwritable, derivative
from mathpipe.generate.symbolic.ode.constant_elimination import U, carried, invert, undone
from mathpipe.generate.symbolic.ode.integration_constants import C1, C2
from mathpipe.generate.symbolic.ode.normalisation import expanded, fraction, limited

Y, SLOPE, BEND = se.Symbol("Y"), se.Symbol("Y'"), se.Symbol("Y''")
ZERO = se.Integer(0)
MOST_LEVELS = 2  # parts of f tried as U, for each order of the constants
MOST_OPERATIONS = 120  # of y' = E


def second_order(f: Expr) -> Iterator[Expr]:
    """Expressions that are zero for f where the branches are right, one for each choice that can be solved."""
    for first, second in ((C1, C2), (C2, C1)):
        for part in _parts(f, first, second)[:MOST_LEVELS]:
            try:
                yield from _eliminated(f, first, second, part)
                break
            except (Unwritable, RuntimeError, ZeroDivisionError):  # this choice leads nowhere: others may
                continue


def _parts(f: Expr, first: Expr, second: Expr) -> list[Expr]:
    """The parts of f on the way to the second constant that do not hold the first, largest first."""
    parts: list[Expr] = []
    while f != second:
        holding = [operand for operand in f.args if se.has_symbol(operand, second)]
        if len(holding) != 1:
            raise Unwritable("the constant occurs twice")
        f = holding[0]
        if not se.has_symbol(f, first):
            parts.append(f)
    return parts


def _eliminated(f: Expr, first: Expr, second: Expr, part: Expr) -> Iterator[Expr]:
    part_slope = carried(invert(part, second, U, {})[1], ZERO)
    named = f.xreplace({part: U})
    if se.has_symbol(named, second):
        raise Unwritable("the constant occurs twice")
    slope = limited(carried(invert(named, first, Y, {U: part_slope})[1], ZERO), MOST_OPERATIONS)
    if not se.has_symbol(slope, U):
        raise Unwritable("constants are one")
    rates = {Y: SLOPE, SLOPE: BEND}
    try:
        root, rises = invert(slope, U, SLOPE, rates)
    except Unwritable:
        yield from _by_polynomial(slope, part_slope, rates)
        return
    yield BEND - carried(rises, undone(limited(part_slope.xreplace({U: root}))))


def _by_polynomial(slope: Expr, part_slope: Expr, rates: dict[Expr, Expr]) -> Iterator[Expr]:
    numerator = fraction(SLOPE - slope)[0]
    for root in _roots(numerator):
        bend = derivative(numerator, {**rates, U: part_slope})
        yield undone(limited(bend.xreplace({U: root})))


def _roots(p: Expr) -> list[Expr]:
    """Where p is zero as a polynomial in U of degree 1 or 2; Unwritable where it is no such thing."""
    linear = p.diff(U)
    if se.has_symbol(linear, U):
        terms = expanded(p)
        p = terms if terms is not None else p
        linear = p.diff(U)
    if linear == 0:
        raise Unwritable("not solved")
    if not se.has_symbol(linear, U):
        return [-p.xreplace({U: ZERO}) / linear]
    square = linear.diff(U) / 2
    if se.has_symbol(square, U) or square == 0:
        raise Unwritable("not solved")
    a, b, c = square, linear.xreplace({U: ZERO}), p.xreplace({U: ZERO})
    root = se.sqrt(b**2 - 4 * a * c)
    return [(-b + root) / (2 * a), (-b - root) / (2 * a)]
