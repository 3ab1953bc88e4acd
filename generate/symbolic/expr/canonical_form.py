"""Canonical forms and derivatives: expressions as symengine holds them, and their words in one fixed order.

symengine merges like terms and powers as it builds; sums and products come out of it in an order of hashes, so that the
words are ordered here: numbers first, then by their words. acosh is differentiated as u' / (sqrt(u - 1) sqrt(u + 1)), which holds
on the whole plane, instead of by symengine's own rule, which fails for u < -1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.datasets.expressions.prefix import Tree, integer_words
from mathpipe.datasets.expressions.vocabulary import IDS, WORDS

Expr = Any  # symengine brings no types

LARGEST_SIZE = 60.0  # decimal digits an exact coefficient may grow to while it is built

X = se.Symbol("x")
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
_POWERS = {IDS["pow2"]: 2, IDS["pow3"]: 3, IDS["pow4"]: 4, IDS["pow5"]: 5, IDS["inv"]: -1}
_UNARY: dict[int, Callable[[Expr], Expr]] = {IDS[name]: function for name, function in _FUNCTIONS.items()}
_ADD, _SUB, _MUL, _DIV, _POW, _RAC = (IDS[name] for name in ("add", "sub", "mul", "div", "pow", "rac"))


class Unwritable(ValueError):
    """An expression that no row may hold: infinite, complex, without a word, or too large. The message is the reason."""


def build(tree: Tree) -> Expr:
    """The canonical form of a tree; Unwritable where an exact number would grow beyond ``LARGEST_SIZE`` digits."""
    try:
        return _build(tree)[0]
    except (RuntimeError, ZeroDivisionError) as refused:  # what symengine says of infinite and undefined values
        raise Unwritable("infinite") from refused


@lru_cache(256)
def _exact(number: int) -> tuple[Expr, float]:
    return se.Integer(number), math.log10(abs(number) + 1)


def _build(tree: Tree) -> tuple[Expr, float]:
    """(expression, a bound on the decimal digits of its exact numbers)."""
    if isinstance(tree, int):
        return _exact(tree)
    word = tree[0]
    if len(tree) == 1:
        return _LEAVES[word], 0.0
    a, size = _build(tree[1])
    if len(tree) == 2:
        if word in _POWERS:
            size *= abs(_POWERS[word])
            if size > LARGEST_SIZE:
                raise Unwritable("numbers too large")
            return a ** _POWERS[word], size
        return _UNARY[word](a), size
    b, other = _build(tree[2])
    if word in (_POW, _RAC):
        return _build_power(word, a, size, b, other)
    size += other + 0.31
    if size > LARGEST_SIZE:
        raise Unwritable("numbers too large")
    if word == _ADD:
        return a + b, size
    if word == _SUB:
        return a - b, size
    if word == _MUL:
        return a * b, size
    if b == 0:
        raise Unwritable("infinite")
    return a / b, size


def _build_power(word: int, a: Expr, size: float, b: Expr, other: float) -> tuple[Expr, float]:
    if word == _RAC:
        if b == 0:
            raise Unwritable("infinite")
        b = 1 / b
    if b.is_Number:
        size *= max(abs(float(b)), 1.0) if other < 10 else math.inf
    if not size <= LARGEST_SIZE:
        raise Unwritable("numbers too large")
    if a == 0 and not (b.is_Number and float(b) > 0):
        raise Unwritable("infinite")
    return a**b, size + other


def words(expression: Expr, memo: dict[Expr, bytes] | None = None) -> bytes:
    """The prefix words of an expression, the same whatever the order symengine keeps its operands in.

    ``memo``: words of subexpressions seen before. Unwritable where a part has no word.
    """
    return _words(expression, dict(LEAF_WORDS) if memo is None else memo)


def _words(e: Expr, memo: dict[Expr, bytes]) -> bytes:
    known = memo.get(e)
    if known is None:
        writer = _WRITERS.get(type(e))
        if writer is None:
            raise Unwritable(_NO_WORD.get(type(e).__name__, "no word"))
        known = memo[e] = writer(e, memo)
    return known


_E = type(se.E)
_INTEGERS = frozenset((classes.Integer, classes.One, classes.NegativeOne, classes.Zero))
_NUMBERS = _INTEGERS | {classes.Rational, classes.Half}


def _rational(e: Expr, memo: dict[Expr, bytes]) -> bytes:
    return _DIV_WORD + integer_words(int(e.p)) + integer_words(int(e.q))


def _nested(word: bytes) -> Callable[[Expr, dict[Expr, bytes]], bytes]:
    """op a op b c, numbers first, then by words."""

    def write(e: Expr, memo: dict[Expr, bytes]) -> bytes:
        args = e.args
        known = memo.get
        operands = [known(child) or _words(child, memo) for child in args]
        if type(args[0]) in _NUMBERS:  # a number, if there is one, comes first
            number = operands.pop(0)
            operands.sort()
            operands.insert(0, number)
        else:
            operands.sort()
        last = operands.pop()
        return word + word.join(operands) + last if operands else last

    return write


def _power(e: Expr, memo: dict[Expr, bytes]) -> bytes:
    base, exponent = e.args
    if type(exponent) is classes.Half:
        return _SQRT_WORD + _words(base, memo)
    if type(base) is _E:
        return _EXP_WORD + _words(exponent, memo)
    return _POW_WORD + _words(base, memo) + _words(exponent, memo)


def _function(word: bytes) -> Callable[[Expr, dict[Expr, bytes]], bytes]:
    return lambda e, memo: word + _words(e.args[0], memo)


_NO_WORD = {
    **dict.fromkeys(("ComplexInfinity", "Infinity", "NegativeInfinity", "NaN", "Nan"), "infinite"),
    **dict.fromkeys(("Complex", "Constant", "ImaginaryUnit", "I"), "complex"),
}


def _word(name: str) -> bytes:
    return bytes((IDS[name],))


_DIV_WORD, _SQRT_WORD, _EXP_WORD, _POW_WORD = (_word(name) for name in ("div", "sqrt", "exp", "pow"))
_WRITERS: dict[type, Callable[[Expr, dict[Expr, bytes]], bytes]] = {
    **dict.fromkeys(_INTEGERS, lambda e, memo: integer_words(int(e))),
    **dict.fromkeys((classes.Rational, classes.Half), _rational),
    classes.Symbol: lambda e, memo: bytes((IDS[e.name],)),
    classes.Add: _nested(_word("add")),
    classes.Mul: _nested(_word("mul")),
    classes.Pow: _power,
    type(se.pi): lambda e, memo: _word("pi"),
    type(se.E): lambda e, memo: _word("E"),
    **{
        type(function(se.Symbol("u"))): _function(_word(name))
        for name, function in _FUNCTIONS.items()
        if name not in ("exp", "sqrt")
    },
}


LEAF_WORDS: dict[Expr, bytes] = {
    **{symbol: _word(WORDS[k]) for k, symbol in _LEAVES.items()},
    **{se.Integer(k): integer_words(k) for k in range(-12, 13)},
}
"""What a memo of words begins with."""


def derivative(expression: Expr, rates: dict[Expr, Expr] | None = None) -> Expr:
    """d/dx, by symengine's rules but for acosh; ``rates``: d/dx of other symbols that depend on x."""
    try:
        return _derivative(expression, rates or {})
    except (RuntimeError, ZeroDivisionError) as refused:
        raise Unwritable("infinite") from refused


def _derivative(expression: Expr, rates: dict[Expr, Expr]) -> Expr:
    found = expression.atoms(classes.acosh)
    if not found:
        return _total(expression, {}, rates)
    # inner ones first, so that an outer one's operand is written with the names of the inner ones
    ordered = sorted(found, key=lambda a: (len(a.atoms(classes.acosh)), _words(a, {})))
    names = {a: se.Symbol(f"_acosh{k}") for k, a in enumerate(ordered)}
    slopes = dict(rates)
    for a in ordered:
        u = a.args[0]
        slopes[names[a]] = _total(u, names, slopes) / (se.sqrt(u - 1) * se.sqrt(u + 1))
    return _total(expression, names, slopes)


def _total(expression: Expr, names: dict[Expr, Expr], slopes: dict[Expr, Expr]) -> Expr:
    """d/dx where the named parts are differentiated as given."""
    hidden = expression if not names else names.get(expression) or expression.xreplace(names)
    total = hidden.diff(X)
    if slopes:
        for name in sorted(hidden.free_symbols & slopes.keys(), key=str):
            total += hidden.diff(name) * slopes[name]
    return total.xreplace({name: a for a, name in names.items()}) if names else total


def without_constants(expression: Expr) -> Expr:
    """The expression without the terms of a sum at its root that hold no x; Unwritable where nothing is left."""
    if not _has_x(expression):
        raise Unwritable("no variable")
    if type(expression) is classes.Add:
        return se.Add(*[term for term in expression.args if _has_x(term)])
    return expression


def _has_x(expression: Expr) -> bool:
    return X in expression.free_symbols


def operators_in(written: bytes) -> int:
    """Operators of a written expression."""
    return len(written) - len(written.translate(None, _OPERATORS))


_OPERATORS = bytes(k for k in range(len(WORDS)) if IDS["add"] <= k <= IDS["acsch"])
