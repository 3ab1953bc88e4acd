"""Divisors: what vanishes where an expression, or its derivative, has no value.

A divisor that is zero in disguise makes an expression undefined everywhere, and an identity of it vacuous. Here the operators of an
expression give its divisors, and products of them their factors, so that those of two expressions can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import symengine as se

from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.symbolic.check.exact.symengine_expressions import Expression, NotDecided, X, is_negative

T = TypeVar("T")
_Divisors = Callable[[Expression, Expression], tuple[Expression, ...]]


def divisors(token: int, u: Expression, v: Expression) -> tuple[Expression, ...]:
    """What vanishes where an operator applied to u, or to u and v, has no value."""
    return _DIVISORS.get(token, _none)(u, v)


def divisors_of_derivative(token: int, u: Expression, v: Expression) -> tuple[Expression, ...]:
    """The same for its derivative."""
    return _DIVISORS_OF_DERIVATIVE.get(token, _DIVISORS.get(token, _none))(u, v)


def vanishing_factors(expressions: Iterable[Expression]) -> frozenset[Expression]:
    """Factors of which at least one vanishes where one of the expressions does; numbers and x, with isolated zeros, are left out.

    NotDecided if an expression is zero.
    Where a product does not vanish, none of its factors does, and a factor 1/w or e^w never vanishes.
    """
    factors: set[Expression] = set()
    for e in expressions:
        _add_vanishing_factors(e, factors)
    return frozenset(factors)


def _add_vanishing_factors(e: Expression, factors: set[Expression]) -> None:
    if e.is_Mul:
        for factor in e.args:
            _add_vanishing_factors(factor, factors)
    elif e.is_Pow:
        base, exponent = e.args
        if base != se.E and not is_negative(exponent):
            _add_vanishing_factors(base, factors)
    elif e.is_Number:
        if e == 0 or not e.is_Rational:
            raise NotDecided("a divisor that is zero, or not finite")
    elif e != X:
        factors.add(e)


def _none(u: Expression, v: Expression) -> tuple[Expression, ...]:
    return ()


def _first(u: Expression, v: Expression) -> tuple[Expression, ...]:
    return (u,)


def _pole(function: Callable[[Expression], Expression]) -> _Divisors:
    return lambda u, v: (function(u),)


def _is_natural(exponent: Expression) -> bool:
    return bool(exponent.is_Integer and not exponent.is_negative)


def by_token(functions: Mapping[str, T]) -> dict[int, T]:
    """A table of functions by their tokens."""
    return {IDS[name]: function for name, function in functions.items()}


_POLES = {
    **dict.fromkeys(("tan", "sec"), se.cos),
    **dict.fromkeys(("cot", "csc"), se.sin),
    **dict.fromkeys(("tanh", "sech"), se.cosh),
    **dict.fromkeys(("coth", "csch"), se.sinh),
}
_DIVISORS: dict[int, _Divisors] = by_token(
    {
        "div": lambda u, v: (v,),
        **dict.fromkeys(("inv", "ln"), _first),
        "pow": lambda u, n: (u,) if is_negative(n) else (),
        "rac": lambda u, n: (n,),
        **{name: _pole(function) for name, function in _POLES.items()},
    }
)
_DIVISORS_OF_DERIVATIVE: dict[int, _Divisors] = by_token(
    {
        "sqrt": _first,
        "pow": lambda u, n: () if _is_natural(n) else (u,),
        "rac": lambda u, n: (u, n),
        **dict.fromkeys(("asin", "acos", "atanh"), lambda u, v: (1 - u**2,)),
        **dict.fromkeys(("atan", "asinh"), lambda u, v: (1 + u**2,)),
        "acosh": lambda u, v: (u - 1, u + 1),
    }
)
DIVIDING = _DIVISORS.keys() | _DIVISORS_OF_DERIVATIVE.keys()
"""Tokens of the operators that have divisors, or whose derivatives have."""
