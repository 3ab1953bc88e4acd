"""Quick identities: F' - f, or an equation with its solution substituted, expands to 0 in symengine.

Exact arithmetic, so that no small, narrow or distant term goes unnoticed; it takes a sixth of the time of ``exact_identity``. It is
not called a proof, since symengine merges powers and logarithms while it builds an expression. Only functions whose rewrites and
derivatives hold on principal branches are admitted, which tests compare with balls. Callers also look at values: generation and
``verify`` accept pairs by both, predictions are never judged here. A pair that is no quick identity may still be right.
"""

from __future__ import annotations

from math import comb

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.datasets.expressions.prefix import Malformed, Tree, parse
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.symbolic.expr.canonical_form import Expr, RejectedExpression, build, derivative

MAX_TERMS = 3000  # bound on the terms of an expanded expression
MAX_CHARACTERS = 600  # of a residual that is brought to a common denominator
_EXCLUDED = bytes(
    IDS[name] for name in ("abs", "sign", "I", *(f"a{f}{h}" for f in ("cot", "sec", "csc") for h in ("", "h")))
)


class _TooLarge(Exception):
    """An expanded expression may have more than ``MAX_TERMS`` terms."""


def is_quick_antiderivative(f: bytes, primitive: bytes) -> bool:
    """Whether F' - f expands to 0. False if this is not known, or one of them is malformed."""
    trees = _admitted(f, primitive)
    if trees is None:
        return False
    try:
        return _expands_to_zero(derivative(build(trees[1])) - build(trees[0]))
    except (RejectedExpression, RuntimeError, ZeroDivisionError, KeyError):
        return False


def is_quick_solution(equation: bytes, solution: bytes, unknowns: tuple[str, ...]) -> bool:
    """Whether the equation expands to 0 with y and its derivatives substituted for the ``unknowns``. False if this is not known."""
    trees = _admitted(equation, solution)
    if trees is None:
        return False
    try:
        values = [build(trees[1])]
        while len(values) < len(unknowns):
            values.append(derivative(values[-1]))
        symbols = map(se.Symbol, unknowns)
        return _expands_to_zero(build(trees[0]).xreplace(dict(zip(symbols, values, strict=True))))
    except (RejectedExpression, RuntimeError, ZeroDivisionError, KeyError):
        return False


def _admitted(problem: bytes, solution: bytes) -> tuple[Tree, Tree] | None:
    """The trees, unless one is malformed or holds a function that is not admitted."""
    both = problem + solution
    if len(both.translate(None, _EXCLUDED)) < len(both):
        return None
    try:
        return parse(problem), parse(solution)
    except Malformed:
        return None


def _expands_to_zero(residual: Expr) -> bool:
    """Whether a residual, or its numerator if it is small, expands to 0."""
    if residual == 0:
        return True
    try:
        _count_terms(residual)
        expanded = se.expand(residual)
        if expanded == 0:
            return True
        if len(str(expanded)) > MAX_CHARACTERS:
            return False
        numerator = expanded.as_numer_denom()[0]
        _count_terms(numerator)
        return bool(se.expand(numerator) == 0)
    except _TooLarge:
        return False


def _count_terms(e: Expr) -> int:
    """A bound on the terms of the expanded form; _TooLarge if it, or that of a part, exceeds ``MAX_TERMS``."""
    kind, terms = type(e), 1
    if kind is classes.Add:
        terms = sum(map(_count_terms, e.args))
    elif kind is classes.Mul:
        for factor in e.args:
            terms *= _count_terms(factor)
    elif kind is classes.Pow:
        base, exponent = e.args
        _count_terms(exponent)
        terms = _terms_of_power(_count_terms(base), exponent)
    else:
        for argument in e.args:
            _count_terms(argument)
    if terms > MAX_TERMS:
        raise _TooLarge
    return terms


def _terms_of_power(base_terms: int, exponent: Expr) -> int:
    """The terms of (a sum)^n; a negative power is expanded in the denominator, where it is one term."""
    if base_terms == 1 or not exponent.is_Integer:
        return 1
    n = abs(int(exponent))
    if n > MAX_TERMS or (terms := comb(base_terms + n - 1, n)) > MAX_TERMS:
        raise _TooLarge
    return terms if exponent > 0 else 1
