"""Second-order equations from f(x, c1, c2): eliminate the two constants one after the other.

Let U be a part of f that contains c2 but not c1. Solving U for c2 gives U' = D(x, U). Solving f, with U as a symbol, for c1 gives
y' = E(x, y, U). This is solved for U = H(x, y, y'): directly if U occurs once, else if the numerator of y' - E is linear or
quadratic in U. Differentiating y' = E once more, with U' = D(x, U) and H substituted for U, gives the equation. The choice of U and
the order of the constants are free: every choice that can be solved gives a candidate.
"""

from __future__ import annotations

from collections.abc import Iterator

import symengine as se

from mathpipe.generate.symbolic.expr.canonical_form import TWO, ZERO, Expr, RejectedExpression, derivative
from mathpipe.generate.symbolic.ode.constant_elimination import U, apply_chain_rule, cancel_inverse_functions, solve_for
from mathpipe.generate.symbolic.ode.integration_constants import C1, C2
from mathpipe.generate.symbolic.ode.normalisation import as_fraction, check_operation_count, try_expand

Y, DY, D2Y = se.Symbol("Y"), se.Symbol("Y'"), se.Symbol("Y''")
MAX_LEVELS = 2  # parts of f tried as U for each order of the constants
MAX_OPERATIONS = 120  # of y' = E


def eliminate_two_constants(f: Expr) -> Iterator[Expr]:
    """Yield expressions that vanish for f on the right branches, for each order of the constants that can be solved."""
    for first, second in ((C1, C2), (C2, C1)):
        for part in _parts(f, first, second)[:MAX_LEVELS]:
            try:
                yield from _eliminate(f, first, second, part)
                break
            except (RejectedExpression, RuntimeError, ZeroDivisionError):  # this choice cannot be solved; another may
                continue


def _parts(f: Expr, first: Expr, second: Expr) -> list[Expr]:
    """The parts of f on the path to the second constant that do not contain the first, largest first."""
    parts: list[Expr] = []
    while f != second:
        containing = [operand for operand in f.args if se.has_symbol(operand, second)]
        if len(containing) != 1:
            raise RejectedExpression("the constant occurs twice")
        f = containing[0]
        if not se.has_symbol(f, first):
            parts.append(f)
    return parts


def _eliminate(f: Expr, first: Expr, second: Expr, part: Expr) -> Iterator[Expr]:
    part_derivative = apply_chain_rule(solve_for(part, second, U, {})[1], ZERO)
    named = f.xreplace({part: U})
    if se.has_symbol(named, second):
        raise RejectedExpression("the constant occurs twice")
    y_prime = check_operation_count(
        apply_chain_rule(solve_for(named, first, Y, {U: part_derivative})[1], ZERO), MAX_OPERATIONS
    )
    if not se.has_symbol(y_prime, U):
        raise RejectedExpression("equivalent constants")
    rates = {Y: DY, DY: D2Y}
    try:
        root, steps = solve_for(y_prime, U, DY, rates)
    except RejectedExpression:
        yield from _by_polynomial(y_prime, part_derivative, rates)
        return
    yield D2Y - apply_chain_rule(
        steps, cancel_inverse_functions(check_operation_count(part_derivative.xreplace({U: root})))
    )


def _by_polynomial(y_prime: Expr, part_derivative: Expr, rates: dict[Expr, Expr]) -> Iterator[Expr]:
    numerator = as_fraction(DY - y_prime)[0]
    for root in _roots(numerator):
        differentiated = derivative(numerator, {**rates, U: part_derivative})
        yield cancel_inverse_functions(check_operation_count(differentiated.xreplace({U: root})))


def _roots(p: Expr) -> list[Expr]:
    """The roots of p as a polynomial in U of degree 1 or 2; raises RejectedExpression if it has another form."""
    linear = p.diff(U)
    if se.has_symbol(linear, U):
        terms = try_expand(p)
        p = terms if terms is not None else p
        linear = p.diff(U)
    if linear == ZERO:
        raise RejectedExpression("not solved")
    if not se.has_symbol(linear, U):
        return [-p.xreplace({U: ZERO}) / linear]
    quadratic = linear.diff(U) / TWO
    if se.has_symbol(quadratic, U) or quadratic == ZERO:
        raise RejectedExpression("not solved")
    a, b, c = quadratic, linear.xreplace({U: ZERO}), p.xreplace({U: ZERO})
    root = se.sqrt(b**2 - 4 * a * c)
    return [(-b + root) / (2 * a), (-b - root) / (2 * a)]
