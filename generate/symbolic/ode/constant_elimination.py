"""Eliminate a constant: solve f(x, c) = y for c along the path to it, then apply the chain rule from c' = 0 back to the root.

Let u_0 = f, u_1, ... u_m = c be the operands on the path, and s_i the other operands beside it: u_i = op_i(u_{i+1}, s_i(x)).
Downwards, the inverse of op_i on its principal branch expresses u_{i+1} in x and y. Upwards, from c' = 0,
u_i' = (d op_i / du) u_{i+1}' + (d op_i / ds) s_i', again in x and y; at the root this is y' = D(x, y).
Principal branches hold for a part of the values only, so the result is a candidate that must be verified numerically.
"""

from __future__ import annotations

from collections.abc import Callable

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import (
    ONE,
    TWO,
    ZERO,
    Expr,
    RejectedExpression,
    derivative,
)

ChainRuleStep = Callable[[Expr], Expr]
"""From the derivative of the operand on the path to the derivative of the result."""
Rates = dict[Expr, Expr]

U = se.Symbol("z")  # a token of the vocabulary that sampled expressions never contain


def solve_for(expression: Expr, symbol: Expr, value: Expr, rates: Rates) -> tuple[Expr, list[ChainRuleStep]]:
    """Solve ``expression = value`` for ``symbol``: (the solution, the chain-rule steps from the root to the symbol).

    ``rates``: d/dx of the other symbols that depend on x. Raises RejectedExpression if the symbol occurs more than once or in
    an operand of a function without an inverse.
    """
    steps: list[ChainRuleStep] = []
    while expression != symbol:
        inverse = _INVERSES.get(type(expression))
        if inverse is None:
            raise RejectedExpression("no inverse")
        expression, value, step = inverse(expression, symbol, value, rates)
        steps.append(step)
    return value, steps


def apply_chain_rule(steps: list[ChainRuleStep], slope: Expr) -> Expr:
    """The derivative at the root, from the derivative of the symbol."""
    for step in reversed(steps):
        slope = step(slope)
    return slope


InversionStep = tuple[Expr, Expr, ChainRuleStep]


def _split_operands(e: Expr, symbol: Expr) -> tuple[Expr, Expr]:
    """(the operand that contains the symbol, the combination of the others)."""
    containing: list[Expr] = []
    rest: list[Expr] = []
    for operand in e.args:
        (containing if se.has_symbol(operand, symbol) else rest).append(operand)
    if len(containing) != 1:
        raise RejectedExpression("the constant occurs twice")
    return containing[0], e.func(*rest)


def _sum(e: Expr, symbol: Expr, w: Expr, rates: Rates) -> InversionStep:
    inner, rest = _split_operands(e, symbol)
    rest_slope = derivative(rest, rates)
    return inner, subtract(w, rest), lambda slope: slope + rest_slope


def subtract(a: Expr, b: Expr) -> Expr:
    """a - b, with the minus sign distributed over the terms of a sum."""
    return se.Add(a, *[-term for term in b.args]) if type(b) is classes.Add else a - b


def _product(e: Expr, symbol: Expr, w: Expr, rates: Rates) -> InversionStep:
    inner, rest = _split_operands(e, symbol)
    relative = derivative(rest, rates) / rest
    return inner, w / rest, lambda slope: slope * rest + w * relative


def _power(e: Expr, symbol: Expr, w: Expr, rates: Rates) -> InversionStep:
    base, exponent = e.args
    if se.has_symbol(exponent, symbol):
        if se.has_symbol(base, symbol):
            raise RejectedExpression("the constant occurs twice")
        if base == se.E:
            return exponent, se.log(w), lambda slope: w * slope
        log, relative = se.log(base), derivative(base, rates) / base
        u = se.log(w) / log
        return exponent, u, lambda slope: w * (slope * log + u * relative)
    u = w ** (ONE / exponent)
    exponent_slope = derivative(exponent, rates)
    exponent_term = w * exponent_slope * se.log(w) / exponent if exponent_slope != ZERO else ZERO
    return base, u, lambda slope: exponent * w / u * slope + exponent_term


def exp(u: Expr) -> Expr:
    """e^u; v if u is ln v."""
    return u.args[0] if type(u) is classes.log else se.exp(u)


def cosh(u: Expr) -> Expr:
    """cosh u; v if u is acosh v."""
    return u.args[0] if type(u) is classes.acosh else se.cosh(u)


def _sine(u: Expr) -> Expr:
    if type(u) is classes.acos:
        return se.sqrt(ONE - u.args[0] ** TWO)
    return se.sin(u)


def _cosine(u: Expr) -> Expr:
    if type(u) is classes.asin:
        return se.sqrt(ONE - u.args[0] ** TWO)
    return se.cos(u)


_COMPOSITIONS: dict[type, tuple[Callable[[Expr], Expr], tuple[type, ...]]] = {
    classes.sin: (_sine, (classes.acos,)),
    classes.cos: (_cosine, (classes.asin,)),
    classes.cosh: (cosh, (classes.acosh,)),
}


def cancel_inverse_functions(e: Expr) -> Expr:
    """Simplify functions of inverse functions: e^(ln u), cosh(acosh u), and sin(acos u) as a square root."""
    replacements: dict[Expr, Expr] = {}
    for power in e.atoms(classes.Pow):
        base, exponent = power.args
        if base == se.E and type(exponent) is classes.log:
            replacements[power] = exponent.args[0]
    for kind, (rule, inverses) in _COMPOSITIONS.items():
        for function in e.atoms(kind):
            if type(function.args[0]) in inverses:
                replacements[function] = rule(function.args[0])
    return e.xreplace(replacements) if replacements else e


# For each function its inverse, and its derivative in terms of its argument u or its value w, whichever is shorter.
_RULES: dict[type, tuple[Callable[[Expr], Expr], Callable[[Expr, Expr], Expr]]] = {
    classes.log: (exp, lambda u, w: ONE / u),
    classes.sin: (se.asin, lambda u, w: se.sqrt(ONE - w**TWO)),
    classes.cos: (se.acos, lambda u, w: -se.sqrt(ONE - w**TWO)),
    classes.tan: (se.atan, lambda u, w: ONE + w**TWO),
    classes.sinh: (se.asinh, lambda u, w: se.sqrt(ONE + w**TWO)),
    classes.cosh: (se.acosh, lambda u, w: se.sqrt(w - ONE) * se.sqrt(w + ONE)),
    classes.tanh: (se.atanh, lambda u, w: ONE - w**TWO),
    classes.asin: (se.sin, lambda u, w: ONE / se.cos(w)),
    classes.acos: (se.cos, lambda u, w: -ONE / se.sin(w)),
    classes.atan: (se.tan, lambda u, w: se.cos(w) ** TWO),
    classes.asinh: (se.sinh, lambda u, w: ONE / cosh(w)),
    classes.acosh: (cosh, lambda u, w: ONE / se.sinh(w)),
    classes.atanh: (se.tanh, lambda u, w: cosh(w) ** TWO),
}


def _function(e: Expr, symbol: Expr, w: Expr, rates: Rates) -> InversionStep:
    inverse, derivative_rule = _RULES[type(e)]
    u = inverse(w)
    factor = derivative_rule(u, w)
    return e.args[0], u, lambda slope: factor * slope


_INVERSES: dict[type, Callable[[Expr, Expr, Expr, Rates], InversionStep]] = {
    classes.Add: _sum,
    classes.Mul: _product,
    classes.Pow: _power,
    **dict.fromkeys(_RULES, _function),
}
