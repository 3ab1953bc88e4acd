"""The elementary functions of balls: (f, f', f''/2) up to an order, by Arb (python-flint), on principal branches.

``RULES`` has one for each unary operator of the prefix notation. A function is undefined only where that is certain: a division by
an exact zero, the abs of a number that is not real. Where a ball cannot tell, more digits are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import methodcaller
from typing import Any

from flint import acb, arb, fmpq

from mathpipe.generate.symbolic.numeric.chain_rule import compose

Ball = Any  # flint.acb
Rule = Callable[[Ball, int], tuple[Ball, ...]]
"""(f, f', f''/2) of a ball, up to an order."""

MAX_EXACT_POWER = 10**6
HALF = fmpq(1, 2)
ZERO = acb(0)


class Undefined(ArithmeticError):
    """There is certainly no value at this point."""


class CannotTell(ArithmeticError):
    """Not decided at this precision."""


def rational_power(p: fmpq) -> Rule:
    value, value_of_slope, value_of_curvature = (_power_function(p - k) for k in range(3))

    def rule(u: Ball, order: int) -> tuple[Ball, ...]:
        if u.is_zero():
            return _power_of_zero(p, order)
        if order == 0:
            return (value(u),)
        first = (value(u), acb(arb(p)) * value_of_slope(u))
        return first if order < 2 else (*first, acb(arb(p * (p - 1) / 2)) * value_of_curvature(u))

    return rule


def _power_function(q: fmpq) -> Callable[[Ball], Ball]:
    """u^q of a ball u that is not exactly zero."""
    n = int(q.numer())
    if abs(q) > MAX_EXACT_POWER or q.denom() > 2:
        return lambda u: (u.log() * acb(arb(q))).exp()
    return (lambda u: u**n) if q.denom() == 1 else (lambda u: u.sqrt() ** n)


def _power_of_zero(p: fmpq, order: int) -> tuple[Ball, ...]:
    """Derivatives of u^p at 0 exist for p = 0, 1, 2, ... and below the exponent."""
    values = []
    for k, factor in enumerate((fmpq(1), p, p * (p - 1) / 2)[: order + 1]):
        if p - k < 0 and factor != 0:
            raise Undefined("a power of zero")
        values.append(acb(arb(factor)) if p == k else ZERO)
    return tuple(values)


def reciprocal(u: Ball, order: int) -> tuple[Ball, ...]:
    if u.is_zero():
        raise Undefined("division by zero")
    r = 1 / u
    if order == 0:
        return (r,)
    first = -r * r
    return (r, first) if order < 2 else (r, first, -first * r)


def exp(u: Ball, order: int) -> tuple[Ball, ...]:
    e = u.exp()
    return (e, e) if order < 2 else (e, e, e / 2)


def ln(u: Ball, order: int) -> tuple[Ball, ...]:
    if u.is_zero():
        raise Undefined("ln 0")
    if order == 0:
        return (u.log(),)
    r = 1 / u
    return (u.log(), r) if order < 2 else (u.log(), r, -r * r / 2)


def _sin(u: Ball, order: int) -> tuple[Ball, ...]:
    if order == 0:
        return (u.sin(),)
    s, c = u.sin_cos()
    return (s, c) if order < 2 else (s, c, -s / 2)


def _cos(u: Ball, order: int) -> tuple[Ball, ...]:
    if order == 0:
        return (u.cos(),)
    s, c = u.sin_cos()
    return (c, -s) if order < 2 else (c, -s, -c / 2)


def _tan(u: Ball, order: int) -> tuple[Ball, ...]:
    t = u.tan()
    if order == 0:
        return (t,)
    d = 1 + t * t
    return (t, d) if order < 2 else (t, d, t * d)


def _sinh(u: Ball, order: int) -> tuple[Ball, ...]:
    s, c = u.sinh_cosh()
    return (s, c) if order < 2 else (s, c, s / 2)


def _cosh(u: Ball, order: int) -> tuple[Ball, ...]:
    s, c = u.sinh_cosh()
    return (c, s) if order < 2 else (c, s, c / 2)


def _tanh(u: Ball, order: int) -> tuple[Ball, ...]:
    t = u.tanh()
    if order == 0:
        return (t,)
    d = 1 - t * t
    return (t, d) if order < 2 else (t, d, -t * d)


_Slopes = Callable[[Ball, int], tuple[Ball, ...]]
"""(f', f''/2), the second for order 2 only."""


def _inverse_function(name: str, slopes: _Slopes, square_of_poles: int) -> Rule:
    """``square_of_poles``: of both numbers at which the derivative does not exist."""
    value = methodcaller(name)

    def rule(u: Ball, order: int) -> tuple[Ball, ...]:
        if order and (u * u - square_of_poles).is_zero():
            raise Undefined("a branch point")
        result = value(u)
        return (result,) if order == 0 else (result, *slopes(u, order))

    return rule


def _root_slopes(sign: int, inner: int) -> _Slopes:
    """Of asin (1, -1), acos (-1, -1) and asinh (1, 1): r = 1 / sqrt(1 + inner u^2)."""

    def slopes(u: Ball, order: int) -> tuple[Ball, ...]:
        r = 1 / (1 + inner * u * u).sqrt()
        return (sign * r,) if order < 2 else (sign * r, -sign * inner * u * r * r * r / 2)

    return slopes


def _rational_slopes(inner: int) -> _Slopes:
    """Of atan (1) and atanh (-1): r = 1 / (1 + inner u^2)."""

    def slopes(u: Ball, order: int) -> tuple[Ball, ...]:
        r = 1 / (1 + inner * u * u)
        return (r,) if order < 2 else (r, -inner * u * r * r)

    return slopes


def _acosh_slopes(u: Ball, order: int) -> tuple[Ball, ...]:
    r = 1 / ((u - 1).sqrt() * (u + 1).sqrt())
    return (r,) if order < 2 else (r, -u * r / (u * u - 1) / 2)


def _real_only(name: str) -> Rule:
    def rule(u: Ball, order: int) -> tuple[Ball, ...]:
        if not u.imag.is_zero():
            if u.imag.contains(0):
                raise CannotTell(name)
            raise Undefined(f"{name} of a complex number")
        if u.is_zero() and order:
            raise Undefined(f"slope of {name} at zero")
        if u.real.contains(0) and not u.is_zero() and (order or name == "sign"):
            raise CannotTell(name)
        sign = acb(u.real.sgn()) if not u.is_zero() else ZERO
        if name == "abs":
            return (acb(abs(u.real)), sign, ZERO)
        return (sign, ZERO, ZERO)

    return rule


def _reciprocal_of(rule: Rule) -> Rule:
    """1/f(u): for cot, sec, csc and their hyperbolic counterparts."""

    def composed(u: Ball, order: int) -> tuple[Ball, ...]:
        inner = rule(u, order)
        outer = reciprocal(inner[0], order)
        return compose(outer, inner, order)

    return composed


def _of_reciprocal(rule: Rule) -> Rule:
    """f(1/u): for acot, asec, acsc and their hyperbolic counterparts."""

    def composed(u: Ball, order: int) -> tuple[Ball, ...]:
        inner = reciprocal(u, order)
        outer = rule(inner[0], order)
        return compose(outer, inner, order)

    return composed


def _atanh(u: Ball, order: int) -> tuple[Ball, ...]:
    """Real for real u with abs(u) < 1: acb's is so up to rounding errors, which leave the side of a cut unknown."""
    jet = _ANY_ATANH(u, order)
    if not isinstance(u, acb) or not u.imag.is_zero() or not abs(u.real) < 1:
        return jet
    return (acb(jet[0].real), *jet[1:])


_ANY_ATANH = _inverse_function("atanh", _rational_slopes(-1), 1)
_BASE: dict[str, Rule] = {
    "sin": _sin,
    "cos": _cos,
    "tan": _tan,
    "sinh": _sinh,
    "cosh": _cosh,
    "tanh": _tanh,
    "asin": _inverse_function("asin", _root_slopes(1, -1), 1),
    "acos": _inverse_function("acos", _root_slopes(-1, -1), 1),
    "atan": _inverse_function("atan", _rational_slopes(1), -1),
    "asinh": _inverse_function("asinh", _root_slopes(1, 1), -1),
    "acosh": _inverse_function("acosh", _acosh_slopes, 1),
    "atanh": _atanh,
}
RULES: dict[str, Rule] = {
    **_BASE,
    "inv": reciprocal,
    **{f"pow{n}": rational_power(fmpq(n)) for n in (2, 3, 4, 5)},
    "sqrt": rational_power(HALF),
    "exp": exp,
    "ln": ln,
    "abs": _real_only("abs"),
    "sign": _real_only("sign"),
    **{a: _reciprocal_of(_BASE[b]) for a, b in {"cot": "tan", "sec": "cos", "csc": "sin"}.items()},
    **{a: _reciprocal_of(_BASE[b]) for a, b in {"coth": "tanh", "sech": "cosh", "csch": "sinh"}.items()},
    **{a: _of_reciprocal(_BASE[b]) for a, b in {"acot": "atan", "asec": "acos", "acsc": "asin"}.items()},
    **{a: _of_reciprocal(_BASE[b]) for a, b in {"acoth": "atanh", "asech": "acosh", "acsch": "asinh"}.items()},
}
