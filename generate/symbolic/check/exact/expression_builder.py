"""Prefix sequences as symengine expressions, by rewrites that hold on principal branches alone.

The derivative of acosh is 1/(sqrt(u - 1) sqrt(u + 1)), not symengine's 1/sqrt(u^2 - 1), which has other signs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from operator import add, mul, sub, truediv
from types import MappingProxyType

import symengine as se

from mathpipe.datasets.expressions.prefix import parse
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.generate.symbolic.check.exact.divisors import by_token
from mathpipe.generate.symbolic.check.exact.symengine_expressions import HALF, ONE, ZERO, Expression, NotDecided, X


class ExpressionBuilder:
    """Prefix sequences as symengine expressions, in which each acosh(u) is a symbol with a derivative of its own."""

    def __init__(self, leaves: Mapping[int, Expression] = MappingProxyType({})) -> None:
        self._leaves = {**_LEAVES, **leaves}
        self.symbols: dict[Expression, Expression] = {}

    def set_leaves(self, leaves: Mapping[int, Expression]) -> None:
        """Let these be the values of the unknowns, instead of the constants of integration."""
        self._leaves = {**_LEAVES, **leaves}

    def build(self, ids: bytes) -> Expression:
        """The expression of a well-formed prefix sequence; NotDecided if it holds a function or leaf that has none here."""
        stack: list[Expression] = []
        leaves = self._leaves
        end = len(ids)  # end of the current run of digits
        for position in range(end - 1, -1, -1):
            token = ids[position]
            if token >= _ZERO:
                continue
            if token in _BINARY:
                left = stack.pop()
                stack[-1] = _BINARY[token](left, stack[-1])
            elif token in leaves:
                stack.append(leaves[token])
            elif token in _SIGNS:
                stack.append(integer(ids[position:end]))
            else:
                stack[-1] = self.operation(token, stack[-1])
            end = position
        (expression,) = stack
        return expression

    def leaf(self, token: int) -> Expression:
        """The value of a leaf other than an integer."""
        if token not in self._leaves:
            raise NotDecided(TOKENS[token])
        return self._leaves[token]

    def operation(self, token: int, u: Expression, v: Expression = None) -> Expression:
        """An operator applied to one or two expressions."""
        if v is not None:
            return _BINARY[token](u, v)
        return self._acosh(u) if token == ACOSH else self.apply(token, u)

    def apply(self, token: int, u: Expression) -> Expression:
        """A function of an expression, except acosh."""
        if token not in _UNARY:
            raise NotDecided(TOKENS[token])
        return _UNARY[token](u)

    def _acosh(self, u: Expression) -> Expression:
        return self.symbols.setdefault(u, se.Symbol(f"acosh{len(self.symbols)}"))

    def derivative(self, value: Expression, arguments: Collection[Expression] | None = None) -> Expression:
        """d/dx; ``arguments``: those of all acosh that the value may hold, nested ones included, by default all so far."""
        total = value.diff(X)
        for u in self.symbols if arguments is None else arguments:
            slope = value.diff(self.symbols[u])
            if slope != ZERO:
                total += slope * self.derivative(u, arguments) / (power(u - ONE, HALF) * power(u + ONE, HALF))
        return total


@cache
def _small_integer(ids: bytes) -> Expression:
    return se.Integer(parse(ids))


def integer(ids: bytes) -> Expression:
    """The integer of a sign and digits."""
    return _small_integer(ids) if len(ids) < 4 else se.Integer(parse(ids))


def power(base: Expression, exponent: Expression) -> Expression:
    if not exponent.is_Integer:
        _refuse_reciprocal(base)
    elif not base.is_Symbol:
        _refuse_large_numbers(base, abs(int(exponent)))
    return base**exponent


def _refuse_large_numbers(base: Expression, exponent: int) -> None:
    """Refuse towers such as 9^9^9: symengine would compute all their digits, and cannot be interrupted."""
    factor = base.args[0] if base.is_Mul else base
    digits = exponent * len(str(factor)) if factor.is_Number else 0
    if exponent > _MAX_EXPONENT or digits > _MAX_DIGITS:
        raise NotDecided("a power with too many digits")


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


def _logarithm(u: Expression) -> Expression:
    """ln u; r ln v for u = v^r with -1 < r <= 1, whose argument is r times that of v."""
    if u.is_Pow and u.args[1].is_Rational and -1 < u.args[1] <= 1:
        return u.args[1] * _logarithm(u.args[0])
    return se.log(u)


def _reciprocal_of(name: str) -> Callable[[Expression], Expression]:
    function = getattr(se, name)
    return lambda u: ONE / function(u)


def _quotient(numerator: str, denominator: str) -> Callable[[Expression], Expression]:
    """tan u as sin u / cos u, and the like."""
    over, under = getattr(se, numerator), getattr(se, denominator)
    return lambda u: over(u) / under(u)


def _fixed_power(n: int) -> Callable[[Expression], Expression]:
    exponent = se.Integer(n)
    return lambda u: power(u, exponent)


_MAX_EXPONENT, _MAX_DIGITS = 10_000, 100_000
ACOSH, _ZERO = IDS["acosh"], IDS["0"]
_SIGNS = (IDS["INT+"], IDS["INT-"])
_LEAVES: dict[int, Expression] = by_token({"x": X, "pi": se.pi, "E": se.E, "I": se.I})
_BINARY: dict[int, Callable[[Expression, Expression], Expression]] = by_token(
    {"add": add, "sub": sub, "mul": mul, "div": truediv, "pow": power, "rac": lambda u, n: power(u, ONE / n)}
)
_UNARY: dict[int, Callable[[Expression], Expression]] = by_token(
    {
        **{name: getattr(se, name) for name in ("exp", "sin", "cos", "sinh", "cosh")},
        **{name: getattr(se, name) for name in ("asin", "acos", "atan", "asinh", "atanh")},
        "ln": _logarithm,
        "inv": lambda u: ONE / u,
        "sqrt": lambda u: power(u, HALF),
        **{f"pow{n}": _fixed_power(n) for n in (2, 3, 4, 5)},
        "tan": _quotient("sin", "cos"),
        "cot": _quotient("cos", "sin"),
        "tanh": _quotient("sinh", "cosh"),
        "coth": _quotient("cosh", "sinh"),
        **{name: _reciprocal_of(f) for name, f in (("sec", "cos"), ("csc", "sin"), ("sech", "cosh"), ("csch", "sinh"))},
    }
)
