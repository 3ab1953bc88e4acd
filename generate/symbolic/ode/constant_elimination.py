"""Differential equations from solutions: f(x, c) = y is solved for c along the path to it, then derivatives are carried back.

With u_0 = f, u_1, ... u_m = c the operands on the path and s_i what stands beside it, u_i = op_i(u_{i+1}, s_i(x)). Going down,
u_{i+1} is written in x and y by the inverse of op_i, on its principal branch. Going up from c' = 0,
u_i' = (d op_i / du) u_{i+1}' + (d op_i / ds) s_i', again in x and y. At the root stands y' = D(x, y).
Principal branches hold for part of the values only: what comes out of here is a candidate, to be checked by numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import Expr, Unwritable, derivative

Rise = Callable[[Expr], Expr]
"""From the derivative of the operand on the path to the derivative of the result."""
Rates = dict[Expr, Expr]

U = se.Symbol("z")  # a word of the vocabulary that nothing drawn holds


def invert(expression: Expr, symbol: Expr, value: Expr, rates: Rates) -> tuple[Expr, list[Rise]]:
    """(``symbol``, solved for in ``expression = value``; how derivatives rise from it to the root).

    ``rates``: d/dx of the symbols besides x that depend on it. Unwritable where the symbol occurs more than once or below something
    without an inverse.
    """
    rises: list[Rise] = []
    while expression != symbol:
        inverse = _INVERSES.get(type(expression))
        if inverse is None:
            raise Unwritable("no inverse")
        expression, value, rise = inverse(expression, symbol, value, rates)
        rises.append(rise)
    return value, rises


def carried(rises: list[Rise], slope: Expr) -> Expr:
    """The derivative at the root, from that of the symbol."""
    for rise in reversed(rises):
        slope = rise(slope)
    return slope


Inverse = tuple[Expr, Expr, Rise]


def _apart(e: Expr, symbol: Expr) -> tuple[Expr, Expr]:
    """(the operand that holds the symbol, the others together)."""
    holding: list[Expr] = []
    rest: list[Expr] = []
    for operand in e.args:
        (holding if se.has_symbol(operand, symbol) else rest).append(operand)
    if len(holding) != 1:
        raise Unwritable("the constant occurs twice")
    return holding[0], e.func(*rest)


def _sum(e: Expr, symbol: Expr, w: Expr, rates: Rates) -> Inverse:
    inner, rest = _apart(e, symbol)
    rest_slope = derivative(rest, rates)
    return inner, minus(w, rest), lambda slope: slope + rest_slope


def minus(a: Expr, b: Expr) -> Expr:
    """a - b, the minus sign within a sum."""
    return se.Add(a, *[-term for term in b.args]) if type(b) is classes.Add else a - b


def _product(e: Expr, symbol: Expr, w: Expr, rates: Rates) -> Inverse:
    inner, rest = _apart(e, symbol)
    relative = derivative(rest, rates) / rest
    return inner, w / rest, lambda slope: slope * rest + w * relative


def _power(e: Expr, symbol: Expr, w: Expr, rates: Rates) -> Inverse:
    base, exponent = e.args
    if se.has_symbol(exponent, symbol):
        if se.has_symbol(base, symbol):
            raise Unwritable("the constant occurs twice")
        if base == se.E:
            return exponent, se.log(w), lambda slope: w * slope
        log, relative = se.log(base), derivative(base, rates) / base
        u = se.log(w) / log
        return exponent, u, lambda slope: w * (slope * log + u * relative)
    u = w ** (1 / exponent)
    exponent_slope = derivative(exponent, rates)
    bend = w * exponent_slope * se.log(w) / exponent if exponent_slope != 0 else se.Integer(0)
    return base, u, lambda slope: exponent * w / u * slope + bend


def exp(u: Expr) -> Expr:
    """e^u, and v where u is ln v."""
    return u.args[0] if type(u) is classes.log else se.exp(u)


def cosh(u: Expr) -> Expr:
    """cosh u, and v where u is acosh v."""
    return u.args[0] if type(u) is classes.acosh else se.cosh(u)


def _sine(u: Expr) -> Expr:
    if type(u) is classes.acos:
        return se.sqrt(1 - u.args[0] ** 2)
    return se.sin(u)


def _cosine(u: Expr) -> Expr:
    if type(u) is classes.asin:
        return se.sqrt(1 - u.args[0] ** 2)
    return se.cos(u)


_UNDOING: dict[type, tuple[Callable[[Expr], Expr], tuple[type, ...]]] = {
    classes.sin: (_sine, (classes.acos,)),
    classes.cos: (_cosine, (classes.asin,)),
    classes.cosh: (cosh, (classes.acosh,)),
}


def undone(e: Expr) -> Expr:
    """An expression without functions of their own inverses: e^(ln u), cosh(acosh u), and sin(acos u) as a square root."""
    found: Rates = {}
    for logarithm in e.atoms(classes.Pow):
        base, exponent = logarithm.args
        if base == se.E and type(exponent) is classes.log:
            found[logarithm] = exponent.args[0]
    for kind, (rule, inverses) in _UNDOING.items():
        for function in e.atoms(kind):
            if type(function.args[0]) in inverses:
                found[function] = rule(function.args[0])
    return e.xreplace(found) if found else e


# Each function: its inverse, and its derivative written with its value w where that is shorter than with its argument u.
_RULES: dict[type, tuple[Callable[[Expr], Expr], Callable[[Expr, Expr], Expr]]] = {
    classes.log: (exp, lambda u, w: 1 / u),
    classes.sin: (se.asin, lambda u, w: se.sqrt(1 - w**2)),
    classes.cos: (se.acos, lambda u, w: -se.sqrt(1 - w**2)),
    classes.tan: (se.atan, lambda u, w: 1 + w**2),
    classes.sinh: (se.asinh, lambda u, w: se.sqrt(1 + w**2)),
    classes.cosh: (se.acosh, lambda u, w: se.sqrt(w - 1) * se.sqrt(w + 1)),
    classes.tanh: (se.atanh, lambda u, w: 1 - w**2),
    classes.asin: (se.sin, lambda u, w: 1 / se.cos(w)),
    classes.acos: (se.cos, lambda u, w: -1 / se.sin(w)),
    classes.atan: (se.tan, lambda u, w: se.cos(w) ** 2),
    classes.asinh: (se.sinh, lambda u, w: 1 / cosh(w)),
    classes.acosh: (cosh, lambda u, w: 1 / se.sinh(w)),
    classes.atanh: (se.tanh, lambda u, w: cosh(w) ** 2),
}


def _function(e: Expr, symbol: Expr, w: Expr, rates: Rates) -> Inverse:
    inverse, steepness = _RULES[type(e)]
    u = inverse(w)
    factor = steepness(u, w)
    return e.args[0], u, lambda slope: factor * slope


_INVERSES: dict[type, Callable[[Expr, Expr, Expr, Rates], Inverse]] = {
    classes.Add: _sum,
    classes.Mul: _product,
    classes.Pow: _power,
    **dict.fromkeys(_RULES, _function),
}
