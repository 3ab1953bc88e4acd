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

from collections.abc import Callable, Mapping
from functools import cache
from math import comb
from operator import add, mul, sub, truediv
from types import MappingProxyType
from typing import Any

import symengine as se

from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.generate.symbolic.check.exact.isolated_zeros import derivative_has_isolated_singularities

Expression = Any  # symengine has no type stubs

MAX_TERMS = 10_000  # of what is multiplied out
MAX_POWER = 24  # of a sum
X = se.Symbol("x")


class NotDecided(Exception):
    """The tree holds something that is not decided here."""


UNDECIDED = (NotDecided, RuntimeError, ZeroDivisionError, NotImplementedError)
"""symengine raises RuntimeError for infinite and undefined values."""


def is_identity(f: Tree, primitive: Tree) -> bool:
    """Whether F' - f is zero after multiplying out, if F' and f have values at one point; False: not known."""
    try:
        if count_terms(f)[0] + count_terms(primitive)[1] > MAX_TERMS:
            return False
        if not derivative_has_isolated_singularities(primitive):
            return False
        builder = Builder()
        derivative = builder.derivative(builder.build(primitive))
        return is_zero(se.expand(derivative - builder.build(f)))
    except UNDECIDED:
        return False


def is_zero(expanded: Expression) -> bool:
    """Whether an expanded expression is zero, or is after multiplication by the denominators of its terms.

    symengine's ``as_numer_denom`` is not used: it takes sqrt(a/b) for sqrt(a)/sqrt(b).
    """
    if expanded == 0:
        return True
    denominators: dict[Expression, int] = {}
    for term in expanded.args if expanded.is_Add else (expanded,):
        for factor in term.args if term.is_Mul else (term,):
            if factor.is_Pow and factor.args[0].is_Add and factor.args[1].is_Rational and factor.args[1].is_negative:
                power = -(factor.args[1].p // factor.args[1].q)
                denominators[factor.args[0]] = max(denominators.get(factor.args[0], 0), int(power))
    size = len(expanded.args)
    common = se.Integer(1)
    for base, power in denominators.items():
        size *= len(base.args) ** power
        common *= base**power
    if not denominators or size > MAX_TERMS or not expanded.is_Add:
        return False
    return bool(sum((se.expand(term * common) for term in expanded.args), se.Integer(0)) == 0)


def count_terms(tree: Tree) -> tuple[int, int]:
    """(the terms of an expression, of its derivative) after multiplying out, roughly; of a function, those of its argument.

    NotDecided if there are too many.
    """
    if isinstance(tree, int) or len(tree) == 1:
        return 1, 1
    name = TOKENS[tree[0]]
    terms, slope = count_terms(tree[1])
    if name in ("add", "sub", "mul"):
        more, more_slope = count_terms(tree[2])
        if name != "mul":
            return terms + more, slope + more_slope
        terms, slope = terms * more, slope * more + terms * more_slope
    elif name == "div":
        slope = slope + terms * sum(count_terms(tree[2]))
    elif name in ("pow2", "pow3", "pow4", "pow5") or (name == "pow" and isinstance(tree[2], int)):
        n = int(name[3]) if len(tree) == 2 else tree[2]
        if n > 1 and terms > 1:
            if n > MAX_POWER:
                raise NotDecided("a large power")
            slope = n * slope * comb(terms + n - 2, n - 1)
            terms = comb(terms + n - 1, n)
    elif len(tree) == 3:
        slope += sum(count_terms(tree[2]))
    if terms + slope > MAX_TERMS:
        raise NotDecided("many terms")
    return terms, slope


class Builder:
    """Trees as symengine expressions, in which each acosh(u) is a symbol with a derivative of its own."""

    def __init__(self, leaves: Mapping[int, Expression] = MappingProxyType({})) -> None:
        self._leaves = {**_LEAVES, **leaves}
        self.symbols: dict[Expression, Expression] = {}

    def set_leaves(self, leaves: Mapping[int, Expression]) -> None:
        """Let these be the values of the unknowns, instead of the constants of integration."""
        self._leaves = {**_LEAVES, **leaves}

    def build(self, tree: Tree) -> Expression:
        if isinstance(tree, int):
            return _integer(tree)
        if len(tree) == 1:
            if tree[0] not in self._leaves:
                raise NotDecided(TOKENS[tree[0]])
            return self._leaves[tree[0]]
        if len(tree) == 3:
            return _binary(tree[0])(self.build(tree[1]), self.build(tree[2]))
        u = self.build(tree[1])
        if tree[0] != _ACOSH:
            return self.apply(tree[0], u)
        return self.symbols.setdefault(u, se.Symbol(f"acosh{len(self.symbols)}"))

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
_LEAVES: dict[int, Expression] = {IDS["x"]: X, IDS["pi"]: se.pi, IDS["E"]: se.E, IDS["I"]: se.I}
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
