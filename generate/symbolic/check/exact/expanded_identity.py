"""Cheap proofs of F' = f: symengine's expanded difference, or its expanded numerator, is zero.

This decides most generated pairs at a tenth of the cost of polynomials over kernels (``kernels``), which decide the others.

symengine's own rewrites were compared with values at points on and off the cuts (``tests/generate/symbolic``): they hold on
principal branches, but for (1/u)^r = u^-r, which fails for u < 0. So an expression with a non-integer power of a reciprocal is not
decided here. abs, sign, and inverse functions of reciprocals are not either.

The derivative of acosh is 1/(sqrt(u - 1) sqrt(u + 1)), not symengine's 1/sqrt(u^2 - 1), which has other signs.

A divisor that is zero in disguise could hide in F. So F' and f must have values at one point (``isolated_zeros`` says when that
suffices): a divisor that is zero on an interval must be zero everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import add, mul, sub, truediv
from typing import Any

import symengine as se

from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.generate.symbolic.check.exact.isolated_zeros import derivative_has_isolated_singularities

Expression = Any  # symengine has no type stubs

MAX_POWER = 12  # of a sum that is multiplied out
X = se.Symbol("x")


class NotDecided(Exception):
    """The tree holds something that is not decided here."""


def is_identity(f: Tree, primitive: Tree) -> bool:
    """Whether F' - f is zero after multiplying out, if F' and f have values at one point; False: not known."""
    try:
        if not derivative_has_isolated_singularities(primitive):
            return False
        builder = Builder()
        derivative = builder.derivative(builder.build(primitive))
        difference = se.expand(derivative - builder.build(f))
        return bool(difference == 0 or se.expand(difference.as_numer_denom()[0]) == 0)
    except (NotDecided, RuntimeError, ZeroDivisionError, NotImplementedError):
        return False  # symengine raises RuntimeError for infinite and undefined values


class Builder:
    """Trees as symengine expressions, in which each acosh(u) is a symbol with a derivative of its own.

    ``leaves``: the values of further leaves, by token.
    """

    def __init__(self, leaves: dict[int, Expression] | None = None) -> None:
        self.symbols: dict[Expression, Expression] = {}
        self.leaves = _LEAVES | (leaves or {})

    def build(self, tree: Tree) -> Expression:
        if isinstance(tree, int):
            return _integer(tree)
        if len(tree) == 1:
            return self._leaf(tree[0])
        if len(tree) == 3:
            return _binary(tree[0])(self.build(tree[1]), self.build(tree[2]))
        u = self.build(tree[1])
        if tree[0] != _ACOSH:
            return self.apply(tree[0], u)
        return self.symbols.setdefault(u, se.Symbol(f"acosh{len(self.symbols)}"))

    def _leaf(self, token: int) -> Expression:
        if token not in self.leaves:
            raise NotDecided(TOKENS[token])
        return self.leaves[token]

    def apply(self, token: int, u: Expression) -> Expression:
        """A function of an expression, except acosh."""
        return _unary(token)(u)

    def derivative(self, value: Expression) -> Expression:
        total = value.diff(X)
        for u, symbol in self.symbols.items():
            slope = value.diff(symbol)
            if slope != 0:
                total += slope * self.derivative(u) / (power(u - 1, _HALF) * power(u + 1, _HALF))
        return total


@cache
def _integer(value: int) -> Expression:
    return se.Integer(value)


def power(base: Expression, exponent: Expression) -> Expression:
    if not exponent.is_Integer:
        _refuse_reciprocal(base)
    elif abs(int(exponent)) > MAX_POWER and base.is_Add:
        raise NotDecided("a large power")
    return base**exponent


def _refuse_reciprocal(base: Expression) -> None:
    """Refuse bases that are, or expand to, a number times a reciprocal."""
    if base.is_Symbol or base.is_Number:
        return
    expanded = se.expand(base)
    if expanded.is_Mul:
        factors = [factor for factor in expanded.args if not factor.is_Number]
        expanded = factors[0] if len(factors) == 1 else expanded
    if expanded.is_Pow and expanded.args[1].is_Number and expanded.args[1].is_negative:
        raise NotDecided("a power of a reciprocal")


def _reciprocal_of(name: str) -> Callable[[Expression], Expression]:
    function = getattr(se, name)
    return lambda u: 1 / function(u)


def _quotient(numerator: str, denominator: str) -> Callable[[Expression], Expression]:
    """tan u as sin u / cos u, and the like."""
    over, under = getattr(se, numerator), getattr(se, denominator)
    return lambda u: over(u) / under(u)


def _fixed_power(n: int) -> Callable[[Expression], Expression]:
    exponent = se.Integer(n)
    return lambda u: power(u, exponent)


_HALF = se.Rational(1, 2)
_ACOSH = IDS["acosh"]
_LEAVES = {IDS["x"]: X, IDS["pi"]: se.pi, IDS["E"]: se.E, IDS["I"]: se.I}
_BINARY: dict[str, Callable[[Expression, Expression], Expression]] = {
    "add": add,
    "sub": sub,
    "mul": mul,
    "div": truediv,
    "pow": power,
    "rac": lambda u, n: power(u, 1 / n),
}
_UNARY: dict[str, Callable[[Expression], Expression]] = {
    **{name: getattr(se, name) for name in ("exp", "sin", "cos", "sinh", "cosh")},
    **{name: getattr(se, name) for name in ("asin", "acos", "atan", "asinh", "atanh")},
    "ln": se.log,
    "inv": lambda u: 1 / u,
    "sqrt": lambda u: power(u, _HALF),
    **{f"pow{n}": _fixed_power(n) for n in (2, 3, 4, 5)},
    "tan": _quotient("sin", "cos"),
    "cot": _quotient("cos", "sin"),
    "tanh": _quotient("sinh", "cosh"),
    "coth": _quotient("cosh", "sinh"),
    **{name: _reciprocal_of(f) for name, f in (("sec", "cos"), ("csc", "sin"), ("sech", "cosh"), ("csch", "sinh"))},
}


@cache
def _unary(token: int) -> Callable[[Expression], Expression]:
    if TOKENS[token] not in _UNARY:
        raise NotDecided(TOKENS[token])
    return _UNARY[TOKENS[token]]


@cache
def _binary(token: int) -> Callable[[Expression, Expression], Expression]:
    return _BINARY[TOKENS[token]]
