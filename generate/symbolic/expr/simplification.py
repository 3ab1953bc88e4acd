"""A light simplification: factor out, multiply out, apply sin^2 + cos^2 = 1, and keep the shortest form.

Every rule is an identity wherever both sides are defined, and the resulting pair is verified numerically like all others.
The number of terms bounds the work; time limits are never used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import Expr, TokenCache, to_tokens

MAX_TERMS = 150  # of an expansion
MAX_NODES = 1500  # nodes simplified in one expression


def simplify(expression: Expr) -> Expr:
    """The shortest form that the rules find; the expression itself if none is shorter."""
    return _Simplifier().simplify(expression)


class _Simplifier:
    def __init__(self) -> None:
        self._token_cache: TokenCache = {}
        self._simplified: dict[Expr, Expr] = {}
        self._nodes_left = MAX_NODES

    def simplify(self, e: Expr) -> Expr:
        """Simplify the operands first, then the sum, product or power itself."""
        if e.is_Number or e.is_Symbol or not e.args:
            return e
        if e in self._simplified:
            return self._simplified[e]
        self._nodes_left -= 1
        if self._nodes_left < 0:
            return e
        operands = [self.simplify(child) for child in e.args]
        rebuilt = e if operands == list(e.args) else e.func(*operands)
        shortest = self._simplified[e] = self._shortest([e, rebuilt, *self._other_forms(rebuilt)])
        return shortest

    def _other_forms(self, e: Expr) -> list[Expr]:
        if isinstance(e, classes.Add):
            merged = merge_squares(e)
            if not isinstance(merged, classes.Add):
                return [merged]
            factored = factor_out_common(merged)
            forms = [merged, factored]
            if isinstance(factored, classes.Mul):
                forms += [self._expand_factors(factored)]
            return [*forms, *self._expansions(merged)]
        if isinstance(e, classes.Mul) and any(isinstance(a, classes.Add) for a in e.args):
            return self._expansions(e)
        return []

    def _expand_factors(self, product: Expr) -> Expr:
        """Multiply out those factors of a product that become shorter."""
        return se.Mul(
            *[self._shortest([a, *self._expansions(a)]) if isinstance(a, classes.Add) else a for a in product.args]
        )

    def _expansions(self, e: Expr) -> list[Expr]:
        return [se.expand(e, deep=False)] if expanded_term_bound(e) <= MAX_TERMS else []

    def _shortest(self, forms: Iterable[Expr]) -> Expr:
        """The form with the fewest tokens; the first of equals."""
        return min(forms, key=lambda e: len(to_tokens(e, self._token_cache)))


def expanded_term_bound(e: Expr) -> int:
    """An upper bound on the number of terms of the expanded form."""
    if isinstance(e, classes.Add):
        return sum(expanded_term_bound(a) for a in e.args)
    if isinstance(e, classes.Mul):
        count = 1
        for a in e.args:
            count *= expanded_term_bound(a)
        return count
    if isinstance(e, classes.Pow) and isinstance(e.args[1], classes.Integer) and isinstance(e.args[0], classes.Add):
        power = int(e.args[1])
        return len(e.args[0].args) ** min(power, 20) if power > 0 else 1
    return 1


def factor_out_common(e: Expr) -> Expr:
    """Write a sum as (common factor) * (rest): the lowest power of each base, negative ones included, and the content."""
    terms = [_powers(term) for term in e.args]
    bases = sorted({base for _, powers in terms for base in powers}, key=str)
    lowest = {base: min((powers.get(base, se.Integer(0)) for _, powers in terms), key=float) for base in bases}
    factor = {base: power for base, power in lowest.items() if power != 0}
    content = _content([coefficient for coefficient, _ in terms])
    if not factor and content == 1:
        return e
    rest = [
        coefficient / content * se.Mul(*[base ** (powers.get(base, 0) - lowest[base]) for base in bases])
        for coefficient, powers in terms
    ]
    return content * se.Mul(*[base**power for base, power in factor.items()]) * se.Add(*rest)


def _powers(term: Expr) -> tuple[Expr, dict[Expr, Expr]]:
    """(rational coefficient, {base: rational exponent}) of a product."""
    coefficient, powers = se.Integer(1), dict[Expr, Expr]()
    for a in term.args if isinstance(term, classes.Mul) else (term,):
        if isinstance(a, (classes.Integer, classes.Rational)):
            coefficient *= a
        elif isinstance(a, classes.Pow) and isinstance(a.args[1], (classes.Integer, classes.Rational)):
            powers[a.args[0]] = a.args[1]
        else:
            powers[a] = se.Integer(1)
    return coefficient, powers


def _content(coefficients: list[Expr]) -> Expr:
    """The greatest rational whose quotients are coprime integers; negative if all coefficients are."""
    numerator, denominator = 0, 1
    for c in coefficients:
        p, q = (int(c), 1) if isinstance(c, classes.Integer) else (int(c.p), int(c.q))
        numerator = math.gcd(numerator, p)
        denominator = denominator * q // math.gcd(denominator, q)
    content = se.Rational(abs(numerator), denominator)
    return -content if all(float(c) < 0 for c in coefficients) else content


def merge_squares(e: Expr) -> Expr:
    """Apply c sin(u)^2 + c cos(u)^2 = c and c cosh(u)^2 - c sinh(u)^2 = c to the terms of a sum."""
    terms = list(e.args)
    for first, second, sign in ((classes.sin, classes.cos, 1), (classes.cosh, classes.sinh, -1)):
        terms = _merge_pairs(terms, first, second, sign)
    return se.Add(*terms)


def _merge_pairs(terms: list[Expr], first: Any, second: Any, sign: int) -> list[Expr]:
    terms_by_square: dict[tuple[Expr, Expr], int] = {}
    for k, term in enumerate(terms):
        for u, rest in _squares(term, second):
            terms_by_square[u, rest] = k
    merged: set[int] = set()
    constants = []
    for k, term in enumerate(terms):
        for u, rest in _squares(term, first):
            matching_term = terms_by_square.get((u, sign * rest))
            if matching_term is not None and matching_term != k and not {k, matching_term} & merged:
                merged |= {k, matching_term}
                constants.append(rest)
                break
    return [term for k, term in enumerate(terms) if k not in merged] + constants


def _squares(term: Expr, kind: Any) -> list[tuple[Expr, Expr]]:
    """(u, term / kind(u)^2) for every factor kind(u)^2 of a term."""
    return [
        (a.args[0].args[0], term / a)
        for a in (term.args if isinstance(term, classes.Mul) else (term,))
        if isinstance(a, classes.Pow) and a.args[1] == 2 and isinstance(a.args[0], kind)
    ]
