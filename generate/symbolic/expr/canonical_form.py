"""Canonical forms and derivatives: symengine expressions, and their prefix tokens in one fixed order.

symengine merges like terms and powers while it builds an expression, but orders sums and products by hash. This module sorts
the operands instead: numbers first, then by their tokens. The derivative of acosh u is u' / (sqrt(u - 1) sqrt(u + 1)), which
holds on the whole plane; symengine's own rule fails for u < -1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.datasets.expressions.prefix import Tree, integer_to_ids
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS

Expr = Any  # symengine has no type stubs
TokenCache = dict[Expr, bytes]
"""Prefix tokens of subexpressions that were encoded before."""

MAX_COEFFICIENT_DIGITS = 60.0  # bound on the decimal digits of exact coefficients during construction

X = se.Symbol("x")
ZERO, ONE, TWO = map(se.Integer, range(3))
"""Operations with these take a third of the time that they take with Python's integers."""
_LEAVES: dict[int, Expr] = {IDS[name]: se.Symbol(name) for name in ("x", "y", "z", "t", *(f"a{k}" for k in range(10)))}
_LEAVES |= {IDS[name]: se.Symbol(name) for name in ("Y", "Y'", "Y''")}
_LEAVES |= {IDS["pi"]: se.pi, IDS["E"]: se.E}
_FUNCTIONS = {
    "exp": se.exp,
    "ln": se.log,
    "sqrt": se.sqrt,
    "abs": se.Abs,
    "sign": se.sign,
    **{
        name: getattr(se, name)
        for base in ("sin", "cos", "tan", "cot", "sec", "csc")
        for name in (base, f"a{base}", f"{base}h", f"a{base}h")
    },
}
_POWERS = {IDS[name]: n for name, n in (("pow2", 2), ("pow3", 3), ("pow4", 4), ("pow5", 5), ("inv", -1))}
_EXPONENTS = {token: se.Integer(n) for token, n in _POWERS.items()}
_UNARY: dict[int, Callable[[Expr], Expr]] = {IDS[name]: function for name, function in _FUNCTIONS.items()}
_ADD, _SUB, _MUL, _DIV, _POW, _RAC = (IDS[name] for name in ("add", "sub", "mul", "div", "pow", "rac"))


class RejectedExpression(ValueError):
    """An expression that cannot be part of an example: infinite, complex, without a token, too large. The message is the reason."""


def build(tree: Tree) -> Expr:
    """The canonical form of a tree; raises RejectedExpression if a number may exceed ``MAX_COEFFICIENT_DIGITS`` digits."""
    try:
        return _build(tree)[0]
    except (RuntimeError, ZeroDivisionError) as error:  # symengine raises these for infinite and undefined values
        raise RejectedExpression("infinite") from error


@lru_cache(256)
def _exact(number: int) -> tuple[Expr, float]:
    return se.Integer(number), math.log10(abs(number) + 1)


def _build(tree: Tree) -> tuple[Expr, float]:
    """(expression, upper bound on the decimal digits of its exact numbers)."""
    if isinstance(tree, int):
        return _exact(tree)
    token = tree[0]
    if len(tree) == 1:
        return _LEAVES[token], 0.0
    a, digits = _build(tree[1])
    if len(tree) == 2:
        if token in _POWERS:
            digits *= abs(_POWERS[token])
            if digits > MAX_COEFFICIENT_DIGITS:
                raise RejectedExpression("numbers too large")
            return a ** _EXPONENTS[token], digits
        return _UNARY[token](a), digits
    b, other_digits = _build(tree[2])
    if token in (_POW, _RAC):
        return _build_power(token, a, digits, b, other_digits)
    digits += other_digits + 0.31
    if digits > MAX_COEFFICIENT_DIGITS:
        raise RejectedExpression("numbers too large")
    if token == _ADD:
        return a + b, digits
    if token == _SUB:
        return a - b, digits
    if token == _MUL:
        return a * b, digits
    if b == ZERO:
        raise RejectedExpression("infinite")
    return a / b, digits


def _build_power(token: int, a: Expr, digits: float, b: Expr, other_digits: float) -> tuple[Expr, float]:
    if token == _RAC:
        if b == ZERO:
            raise RejectedExpression("infinite")
        b = ONE / b
    if b.is_Number:
        digits *= max(abs(float(b)), 1.0) if other_digits < 10 else math.inf
    if not digits <= MAX_COEFFICIENT_DIGITS:
        raise RejectedExpression("numbers too large")
    if a == ZERO and not (b.is_Number and float(b) > 0):
        raise RejectedExpression("infinite")
    return a**b, digits + other_digits


def to_tokens(expression: Expr, token_cache: TokenCache | None = None) -> bytes:
    """The prefix tokens of an expression, independent of the order in which symengine stores its operands.

    Raises RejectedExpression if a part of the expression has no token.
    """
    return _to_tokens(expression, dict(LEAF_TOKENS) if token_cache is None else token_cache)


def _to_tokens(e: Expr, token_cache: TokenCache) -> bytes:
    tokens = token_cache.get(e)
    if tokens is None:
        encode = _ENCODERS.get(type(e))
        if encode is None:
            raise RejectedExpression(_REJECTION_REASONS.get(type(e).__name__, "no token"))
        tokens = token_cache[e] = encode(e, token_cache)
    return tokens


_E = type(se.E)
_INTEGERS = frozenset((classes.Integer, classes.One, classes.NegativeOne, classes.Zero))
_NUMBERS = _INTEGERS | {classes.Rational, classes.Half}


def _rational(e: Expr, token_cache: TokenCache) -> bytes:
    return _DIV_TOKEN + integer_to_ids(int(e.p)) + integer_to_ids(int(e.q))


def _nested(token: bytes) -> Callable[[Expr, TokenCache], bytes]:
    """op a op b c, numbers first, the other operands sorted by their tokens."""

    def encode(e: Expr, token_cache: TokenCache) -> bytes:
        args = e.args
        cached = token_cache.get
        operands = [cached(child) or _to_tokens(child, token_cache) for child in args]
        if type(args[0]) in _NUMBERS:  # symengine puts the numeric operand first
            number = operands.pop(0)
            operands.sort()
            operands.insert(0, number)
        else:
            operands.sort()
        last = operands.pop()
        return token + token.join(operands) + last if operands else last

    return encode


def _power(e: Expr, token_cache: TokenCache) -> bytes:
    base, exponent = e.args
    if type(exponent) is classes.Half:
        return _SQRT_TOKEN + _to_tokens(base, token_cache)
    if type(base) is _E:
        return _EXP_TOKEN + _to_tokens(exponent, token_cache)
    return _POW_TOKEN + _to_tokens(base, token_cache) + _to_tokens(exponent, token_cache)


def _function(token: bytes) -> Callable[[Expr, TokenCache], bytes]:
    return lambda e, token_cache: token + _to_tokens(e.args[0], token_cache)


_REJECTION_REASONS = {
    **dict.fromkeys(("ComplexInfinity", "Infinity", "NegativeInfinity", "NaN", "Nan"), "infinite"),
    **dict.fromkeys(("Complex", "Constant", "ImaginaryUnit", "I"), "complex"),
}


def _token(name: str) -> bytes:
    return bytes((IDS[name],))


_DIV_TOKEN, _SQRT_TOKEN, _EXP_TOKEN, _POW_TOKEN = (_token(name) for name in ("div", "sqrt", "exp", "pow"))
_ENCODERS: dict[type, Callable[[Expr, TokenCache], bytes]] = {
    **dict.fromkeys(_INTEGERS, lambda e, token_cache: integer_to_ids(int(e))),
    **dict.fromkeys((classes.Rational, classes.Half), _rational),
    classes.Symbol: lambda e, token_cache: bytes((IDS[e.name],)),
    classes.Add: _nested(_token("add")),
    classes.Mul: _nested(_token("mul")),
    classes.Pow: _power,
    type(se.pi): lambda e, token_cache: _token("pi"),
    type(se.E): lambda e, token_cache: _token("E"),
    **{
        type(function(se.Symbol("u"))): _function(_token(name))
        for name, function in _FUNCTIONS.items()
        if name not in ("exp", "sqrt")
    },
}


LEAF_TOKENS: TokenCache = {
    **{symbol: _token(TOKENS[k]) for k, symbol in _LEAVES.items()},
    **{se.Integer(k): integer_to_ids(k) for k in range(-12, 13)},
}
"""Initial content of a token cache."""


def derivative(expression: Expr, rates: dict[Expr, Expr] | None = None) -> Expr:
    """d/dx by symengine's rules, except for acosh. ``rates``: d/dx of other symbols that depend on x."""
    try:
        return _derivative(expression, rates or {})
    except (RuntimeError, ZeroDivisionError) as error:
        raise RejectedExpression("infinite") from error


def _derivative(expression: Expr, rates: dict[Expr, Expr]) -> Expr:
    acosh_terms = expression.atoms(classes.acosh)
    if not acosh_terms:
        return _total(expression, {}, rates)
    # inner ones first, so that the operand of an outer one is expressed in the names of the inner ones
    ordered = sorted(acosh_terms, key=lambda a: (len(a.atoms(classes.acosh)), _to_tokens(a, {})))
    names = {a: se.Symbol(f"_acosh{k}") for k, a in enumerate(ordered)}
    slopes = dict(rates)
    for a in ordered:
        u = a.args[0]
        slopes[names[a]] = _total(u, names, slopes) / (se.sqrt(u - ONE) * se.sqrt(u + ONE))
    return _total(expression, names, slopes)


def _total(expression: Expr, names: dict[Expr, Expr], slopes: dict[Expr, Expr]) -> Expr:
    """d/dx, with ``slopes`` as the derivatives of the symbols that stand for the parts in ``names``."""
    substituted = expression if not names else names.get(expression) or expression.xreplace(names)
    total = substituted.diff(X)
    if slopes:
        for name in sorted(substituted.free_symbols & slopes.keys(), key=str):
            total += substituted.diff(name) * slopes[name]
    return total.xreplace({name: a for a, name in names.items()}) if names else total


def drop_constant_terms(expression: Expr) -> Expr:
    """Drop the top-level terms of a sum that do not depend on x; raises RejectedExpression if nothing is left."""
    if not _has_x(expression):
        raise RejectedExpression("no variable")
    if type(expression) is classes.Add:
        return se.Add(*[term for term in expression.args if _has_x(term)])
    return expression


def _has_x(expression: Expr) -> bool:
    return X in expression.free_symbols


def count_operators(tokens: bytes) -> int:
    """The number of operators in a prefix sequence."""
    return len(tokens) - len(tokens.translate(None, _OPERATORS))


_OPERATORS = bytes(k for k in range(len(TOKENS)) if IDS["add"] <= k <= IDS["acsch"])
