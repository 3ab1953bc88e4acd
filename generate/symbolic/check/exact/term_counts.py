"""Bounds on the number of terms after multiplying out, so that expansion takes a bounded time."""

from __future__ import annotations

from functools import cache
from math import comb, prod
from typing import cast

from symengine.lib import symengine_wrapper as classes

from mathpipe.datasets.expressions.prefix import parse
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.symbolic.check.exact.symengine_expressions import Expression, NotDecided

Bounds = tuple[int, int, int]
"""Bounds on the terms of an expression and of its derivative after multiplying out, and the value of an integer or 0."""
MAX_TERMS = 10_000  # of what is multiplied out
_ADD, _SUB, _MUL, _DIV, _POW = (IDS[name] for name in ("add", "sub", "mul", "div", "pow"))
_FIXED_POWERS = {IDS[f"pow{n}"]: n for n in (2, 3, 4, 5)}


def bounds_of_integer(ids: bytes) -> Bounds:
    """An integer, a sign and digits: one term, no derivative. A huge one counts as one that is too large for an exponent."""
    return 1, 0, _small_number(ids) if len(ids) < 4 else MAX_TERMS


@cache
def _small_number(ids: bytes) -> int:
    return cast(int, parse(ids))


def bounds_of_operation(token: int, u: Bounds | None = None, v: Bounds | None = None) -> Bounds:
    """The bounds of a leaf, or of an operation on one or two operands; NotDecided for more than ``MAX_TERMS``.

    A function, a root and a reciprocal are one term. What they are functions of is multiplied out, too, and may not have more.
    """
    if u is None:
        return 1, 1, 0
    if v is not None:
        return _binary_bounds(token, u, v)
    if token in _FIXED_POWERS:
        return _power_bounds(_FIXED_POWERS[token], *u[:2])
    terms, slope, _ = u
    if (terms + 1) ** 2 > 2 * MAX_TERMS:  # 1 + u^2
        raise NotDecided("many terms")
    return 1, slope, 0


def _binary_bounds(token: int, a: Bounds, b: Bounds) -> Bounds:
    (u, u_slope, _), (v, v_slope, n) = a, b
    if token in (_ADD, _SUB):
        bounds = u + v, u_slope + v_slope, 0
    elif token == _MUL:
        bounds = u * v, u_slope * v + u * v_slope, 0
    elif token == _DIV:
        bounds = u, u_slope + u * v_slope, 0
        _power_bounds(2, v, v_slope)
    elif token == _POW and n:
        return _power_bounds(n, u, u_slope)
    else:
        bounds = 1, u_slope + v_slope, 0
    if max(bounds) > MAX_TERMS:
        raise NotDecided("many terms")
    return bounds


def _power_bounds(n: int, terms: int, slope: int) -> Bounds:
    """Of u^n; a negative power is expanded in the denominator, where it is one term."""
    highest = n if n > 0 else 1 - n
    if terms > 1 and (highest > MAX_TERMS or comb(terms + highest - 1, highest) > MAX_TERMS):
        raise NotDecided("many terms")
    if n < 0:
        return 1, slope, 0
    power, below = comb(terms + n - 1, n), comb(terms + n - 2, n - 1)
    if power + below * slope > MAX_TERMS:
        raise NotDecided("many terms")
    return power, below * slope, 0


def count_terms(e: Expression, limit: int) -> int:
    """A bound on the terms of the expanded form; NotDecided if it, or that of a part, exceeds the limit."""
    return _count_terms(e, limit, {})


def _count_terms(e: Expression, limit: int, counts: dict[Expression, int]) -> int:
    """``counts``: of the parts met before."""
    kind = type(e)
    if kind in _ATOMS:
        return 1
    terms = counts.get(e)
    if terms is not None:
        return terms
    operands = [_count_terms(child, limit, counts) for child in e.args]
    terms = 1
    if kind is classes.Add:
        terms = sum(operands)
    elif kind is classes.Mul:
        terms = prod(operands)
    elif kind is classes.Pow:
        terms = _terms_of_power(operands[0], e.args[1], limit)
    if terms > limit:
        raise NotDecided("many terms")
    counts[e] = terms
    return terms


_ATOMS = frozenset(
    (classes.Symbol, classes.Integer, classes.Zero, classes.One, classes.NegativeOne, classes.Rational, classes.Half)
)


def _terms_of_power(base_terms: int, exponent: Expression, limit: int) -> int:
    """The terms of (a sum)^n; a negative power is expanded in the denominator, where it is one term."""
    if base_terms == 1 or not exponent.is_Integer:
        return 1
    n = abs(int(exponent))
    if n > limit or (terms := comb(base_terms + n - 1, n)) > limit:
        raise NotDecided("many terms")
    return terms if exponent > 0 else 1
