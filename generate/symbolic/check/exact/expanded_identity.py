"""Cheap proofs of F' = f: symengine's expanded difference, or its expanded numerator, is zero.

This decides most generated pairs at a tenth of the cost of polynomials over kernels (``kernels``), which decide the others.

symengine's own rewrites were compared with values at points on and off the cuts (``tests/generate/symbolic``): they hold on
principal branches, but for (1/u)^r = u^-r, which fails for u < 0. So an expression with a non-integer power of a reciprocal is not
decided here. abs, sign, and inverse functions of reciprocals are not either.

The derivative of acosh is 1/(sqrt(u - 1) sqrt(u + 1)), not symengine's 1/sqrt(u^2 - 1), which has other signs.

A divisor that is zero in disguise could hide in F. F' is asked for where f is defined, so nothing is left to check if f divides by
the same. Otherwise F' and f must have values at one point (``isolated_zeros`` says when that suffices): a divisor that is zero on
an interval must be zero everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import cache
from itertools import chain
from math import comb, floor, prod
from operator import add, mul, sub, truediv
from types import MappingProxyType
from typing import Any, TypeVar, cast

import symengine as se

from mathpipe.datasets.expressions.prefix import parse
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, TOKENS
from mathpipe.generate.symbolic.check.exact.isolated_zeros import derivative_has_isolated_singularities
from mathpipe.generate.symbolic.check.exact.reciprocals import Condition

Expression = Any  # symengine has no type stubs
T = TypeVar("T")
_Divisors = Callable[[Expression, Expression], tuple[Expression, ...]]

MAX_TERMS = 10_000  # of what is multiplied out
MAX_ROUNDS = 4  # of multiplications by denominators
X = se.Symbol("x")
_ONE = se.Integer(1)


class NotDecided(Exception):
    """The expression holds something that is not decided here."""


UNDECIDED = (NotDecided, RuntimeError, ZeroDivisionError, NotImplementedError)
"""symengine raises RuntimeError for infinite and undefined values."""


def expand_identity(f: bytes, primitive: bytes) -> Condition | None:
    """What is left to check about F' = f if F' - f multiplies out to zero; None if it does not, or if that is not known.

    ``f``, ``primitive``: well-formed prefix sequences.
    """
    builder = Builder()
    try:
        if term_bounds(f)[0] + term_bounds(primitive)[1] > MAX_TERMS:
            return None
        derivative = builder.derivative(builder.build(primitive))
        divisors = vanishing_factors(chain.from_iterable(builder.divisors_of_derivative()))
        builder.divided.clear()
        residual = derivative - builder.build(f)
        if residual != 0 and not is_zero(se.expand(residual)):
            return None
        if divisors <= vanishing_factors(chain.from_iterable(builder.divisors())):
            return Condition.NONE
    except UNDECIDED:
        return None
    return Condition.ONE_POINT if derivative_has_isolated_singularities(parse(primitive)) else None


def is_zero(expanded: Expression, limit: int = MAX_TERMS) -> bool:
    """Whether an expanded expression is zero, or is after multiplication by the denominators of its terms.

    ``limit``: the most terms of a product. symengine's ``as_numer_denom`` is not used: it takes sqrt(a/b) for sqrt(a)/sqrt(b).
    """
    for _ in range(MAX_ROUNDS):
        if expanded == 0 or not expanded.is_Add:
            return bool(expanded == 0)
        cleared = _clear(expanded, limit)
        if cleared is None:
            return False
        expanded = cleared
    return bool(expanded == 0)


def _clear(expanded: Expression, limit: int) -> Expression | None:
    """A sum multiplied by its denominators, b^(n + r) as the n-th power of b, multiplied out, times b^r with 0 <= r < 1.

    None if every exponent is such an r, or if the result may have more terms than the limit.
    """
    groups: dict[frozenset[tuple[Expression, Fraction]], list[Expression]] = {}
    for term in expanded.args:
        rest, powers = _split_term(term)
        groups.setdefault(powers, []).append(rest)
    lowest: dict[Expression, int] = {}
    for base, exponent in chain.from_iterable(groups):
        lowest[base] = min(lowest.get(base, 0), floor(exponent))
    if not any(lowest.values()) and all(exponent < 1 for _, exponent in chain.from_iterable(groups)):
        return None
    size, products = 0, []
    for powers, rests in groups.items():
        group_size, factors = len(rests), [se.Add(*rests)]
        exponents = dict(powers)
        for base, least in lowest.items():
            exponent = exponents.get(base, Fraction(0)) - least
            n = floor(exponent)
            if n:
                group_size *= comb(len(base.args) + n - 1, n) if base.is_Add else 1
                factors.append(base**n)
            if exponent != n:
                factors.append(base ** se.Rational(exponent.numerator % exponent.denominator, exponent.denominator))
        size += group_size
        products.append(factors)
    return None if size > limit else se.Add(*[se.expand(se.Mul(*factors)) for factors in products])


def _split_term(term: Expression) -> tuple[Expression, frozenset[tuple[Expression, Fraction]]]:
    """(other factors, the exponents of sums and of what roots are taken of)."""
    rest: list[Expression] = []
    powers: dict[Expression, Fraction] = {}
    for factor in term.args if term.is_Mul else (term,):
        base, exponent = factor.args if factor.is_Pow else (factor, _ONE)
        if exponent.is_Rational and (base.is_Add or not (exponent.is_Integer or base.is_Symbol or base.is_Number)):
            powers[base] = powers.get(base, Fraction(0)) + Fraction(int(exponent.p), int(exponent.q))
        else:
            rest.append(factor)
    return se.Mul(*rest), frozenset(powers.items())


def term_bounds(ids: bytes) -> tuple[int, int]:
    """Bounds on the terms of an expression and of its derivative after multiplying out; NotDecided for more than ``MAX_TERMS``.

    A function, a root and a reciprocal are one term. What they are functions of is multiplied out, too, and may not have more.
    """
    stack: list[tuple[int, int, int]] = []  # terms, terms of the derivative, the value of an integer or 0
    end = len(ids)
    for position in range(end - 1, -1, -1):
        token = ids[position]
        if token >= _ZERO:
            continue
        if token in _SIGNS:
            stack.append((1, 0, _exponent(ids[position:end])))
        elif token in _BINARY:
            stack.append(_binary_bounds(token, stack.pop(), stack.pop()))
        elif token in _FIXED_POWERS:
            stack.append(_power_bounds(_FIXED_POWERS[token], *stack.pop()[:2]))
        elif token in _LEAVES:
            stack.append((1, 1, 0))
        elif ARITY[TOKENS[token]] == 1:
            terms, slope, _ = stack.pop()
            stack.append((1, slope, 0))
            if (terms + 1) ** 2 > 2 * MAX_TERMS:  # 1 + u^2
                raise NotDecided("many terms")
        end = position
    return stack[-1][:2]


@cache
def _small_number(ids: bytes) -> int:
    return cast(int, parse(ids))


def _exponent(ids: bytes) -> int:
    """The value of an integer; of a huge one, a number that is too large for an exponent."""
    return _small_number(ids) if len(ids) < 4 else MAX_TERMS


def _binary_bounds(token: int, a: tuple[int, int, int], b: tuple[int, int, int]) -> tuple[int, int, int]:
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


def _power_bounds(n: int, terms: int, slope: int) -> tuple[int, int, int]:
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
    if e.is_Symbol or e.is_Number:
        return 1
    terms = counts.get(e)
    if terms is not None:
        return terms
    operands = [_count_terms(child, limit, counts) for child in e.args]
    terms = 1
    if e.is_Add:
        terms = sum(operands)
    elif e.is_Mul:
        terms = prod(operands)
    elif e.is_Pow:
        terms = _terms_of_power(operands[0], e.args[1], limit)
    if terms > limit:
        raise NotDecided("many terms")
    counts[e] = terms
    return terms


def _terms_of_power(base_terms: int, exponent: Expression, limit: int) -> int:
    """The terms of (a sum)^n; a negative power is expanded in the denominator, where it is one term."""
    if base_terms == 1 or not exponent.is_Integer:
        return 1
    n = abs(int(exponent))
    if n > limit or (terms := comb(base_terms + n - 1, n)) > limit:
        raise NotDecided("many terms")
    return terms if exponent > 0 else 1


def vanishing_factors(expressions: Iterable[Expression]) -> set[Expression]:
    """Factors of which at least one vanishes where one of the expressions does; numbers and x, with isolated zeros, are left out.

    NotDecided if an expression is zero.
    Where a product does not vanish, none of its factors does, and a factor 1/w or e^w never vanishes.
    """
    factors: set[Expression] = set()
    for e in expressions:
        _add_vanishing_factors(e, factors)
    return factors


def _add_vanishing_factors(e: Expression, factors: set[Expression]) -> None:
    if e.is_Mul:
        for factor in e.args:
            _add_vanishing_factors(factor, factors)
    elif e.is_Pow:
        base, exponent = e.args
        if base != se.E and not _is_negative(exponent):
            _add_vanishing_factors(base, factors)
    elif e.is_Number:
        if e == 0 or not e.is_Rational:
            raise NotDecided("a divisor that is zero, or not finite")
    elif e != X:
        factors.add(e)


class Builder:
    """Prefix sequences as symengine expressions, in which each acosh(u) is a symbol with a derivative of its own."""

    def __init__(self, leaves: Mapping[int, Expression] = MappingProxyType({})) -> None:
        self._leaves = {**_LEAVES, **leaves}
        self.symbols: dict[Expression, Expression] = {}
        self.divided: list[
            tuple[int, Expression, Expression]
        ] = []  # operators and operands that may have singularities

    def set_leaves(self, leaves: Mapping[int, Expression]) -> None:
        """Let these be the values of the unknowns, instead of the constants of integration."""
        self._leaves = {**_LEAVES, **leaves}

    def build(self, ids: bytes) -> Expression:
        """The expression of a well-formed prefix sequence; NotDecided if it holds a function or leaf that has none here."""
        stack: list[Expression] = []
        end = len(ids)  # end of the current run of digits
        for position in range(end - 1, -1, -1):
            token = ids[position]
            if token >= _ZERO:
                continue
            if token in _SIGNS:
                stack.append(_integer(ids[position:end]))
            elif token in _BINARY:
                left = stack.pop()
                if token in _DIVIDING:
                    self.divided.append((token, left, stack[-1]))
                stack[-1] = _BINARY[token](left, stack[-1])
            elif token in self._leaves:
                stack.append(self._leaves[token])
            else:
                if token in _DIVIDING:
                    self.divided.append((token, stack[-1], None))
                stack[-1] = self._acosh(stack[-1]) if token == _ACOSH else self.apply(token, stack[-1])
            end = position
        (expression,) = stack
        return expression

    def apply(self, token: int, u: Expression) -> Expression:
        """A function of an expression, except acosh."""
        if token not in _UNARY:
            raise NotDecided(TOKENS[token])
        return _UNARY[token](u)

    def _acosh(self, u: Expression) -> Expression:
        return self.symbols.setdefault(u, se.Symbol(f"acosh{len(self.symbols)}"))

    def divisors(self) -> Iterator[tuple[Expression, ...]]:
        """What vanishes where the expressions built so far have no value."""
        return (_DIVISORS[token](u, v) for token, u, v in self.divided if token in _DIVISORS)

    def divisors_of_derivative(self) -> Iterator[tuple[Expression, ...]]:
        """What vanishes where the derivatives of the expressions built so far have no value."""
        for token, u, v in self.divided:
            yield _DIVISORS_OF_DERIVATIVE.get(token, _DIVISORS.get(token, _none))(u, v)

    def derivative(self, value: Expression) -> Expression:
        total = value.diff(X)
        for u, symbol in self.symbols.items():
            slope = value.diff(symbol)
            if slope != 0:
                total += slope * self.derivative(u) / (power(u - 1, _HALF) * power(u + 1, _HALF))
        return total


@cache
def _small_integer(ids: bytes) -> Expression:
    return se.Integer(parse(ids))


def _integer(ids: bytes) -> Expression:
    return _small_integer(ids) if len(ids) < 4 else se.Integer(parse(ids))


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


def _tokens(functions: Mapping[str, T]) -> dict[int, T]:
    return {IDS[name]: function for name, function in functions.items()}


_HALF = se.Rational(1, 2)
_ACOSH, _ZERO = IDS["acosh"], IDS["0"]
_ADD, _SUB, _MUL, _DIV, _POW = (IDS[name] for name in ("add", "sub", "mul", "div", "pow"))
_FIXED_POWERS = {IDS[f"pow{n}"]: n for n in (2, 3, 4, 5)}
_SIGNS = (IDS["INT+"], IDS["INT-"])
_LEAVES: dict[int, Expression] = _tokens({"x": X, "pi": se.pi, "E": se.E, "I": se.I})
_BINARY: dict[int, Callable[[Expression, Expression], Expression]] = _tokens(
    {"add": add, "sub": sub, "mul": mul, "div": truediv, "pow": power, "rac": lambda u, n: power(u, 1 / n)}
)
_UNARY: dict[int, Callable[[Expression], Expression]] = _tokens(
    {
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
)
_POLES = {
    **dict.fromkeys(("tan", "sec"), se.cos),
    **dict.fromkeys(("cot", "csc"), se.sin),
    **dict.fromkeys(("tanh", "sech"), se.cosh),
    **dict.fromkeys(("coth", "csch"), se.sinh),
}


def _none(u: Expression, v: Expression) -> tuple[Expression, ...]:
    return ()


def _first(u: Expression, v: Expression) -> tuple[Expression, ...]:
    return (u,)


def _pole(function: Callable[[Expression], Expression]) -> _Divisors:
    return lambda u, v: (function(u),)


def _is_negative(exponent: Expression) -> bool:
    return bool(exponent.is_Number and exponent.is_negative)


def _is_natural(exponent: Expression) -> bool:
    return bool(exponent.is_Integer and not exponent.is_negative)


_DIVISORS: dict[int, _Divisors] = _tokens(
    {
        "div": lambda u, v: (v,),
        **dict.fromkeys(("inv", "ln"), _first),
        "pow": lambda u, n: (u,) if _is_negative(n) else (),
        "rac": lambda u, n: (n,),
        **{name: _pole(function) for name, function in _POLES.items()},
    }
)
"""What vanishes where an operator applied to (u, v) has no value."""
_DIVISORS_OF_DERIVATIVE: dict[int, _Divisors] = _tokens(
    {
        "sqrt": _first,
        "pow": lambda u, n: () if _is_natural(n) else (u,),
        "rac": lambda u, n: (u, n),
        **dict.fromkeys(("asin", "acos", "atanh"), lambda u, v: (1 - u**2,)),
        **dict.fromkeys(("atan", "asinh"), lambda u, v: (1 + u**2,)),
        "acosh": lambda u, v: (u - 1, u + 1),
    }
)
"""The same for the derivative, where it differs."""
_DIVIDING = _DIVISORS.keys() | _DIVISORS_OF_DERIVATIVE.keys()
