"""A light simplification by counted rules: common factors out, products multiplied out, sin^2 + cos^2; the shortest form is kept.

Every rule is an identity of expressions wherever both sides are defined, and the pair is checked by numbers afterwards as all
others are. Work is bounded by the number of terms, never by time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import Expr, words

MOST_TERMS = 150  # terms that multiplying out may make
MOST_NODES = 1500  # sums and products looked at in one expression

Memo = dict[Any, Any]


def simplified(expression: Expr) -> Expr:
    """The shortest form found, as it stands where nothing is shorter."""
    written: dict[Any, bytes] = {}
    return _Simplifier(written).simplify(expression)


class _Simplifier:
    def __init__(self, written: dict[Any, bytes]) -> None:
        self._written, self._known, self._left = written, dict[Any, Any](), MOST_NODES

    def simplify(self, e: Expr) -> Expr:
        """Operands first, then the sum, product or power itself."""
        if e.is_Number or e.is_Symbol or not e.args:
            return e
        if e in self._known:
            return self._known[e]
        self._left -= 1
        if self._left < 0:
            return e
        operands = [self.simplify(child) for child in e.args]
        rebuilt = e if operands == list(e.args) else e.func(*operands)
        found = self._known[e] = self._shortest([e, rebuilt, *self._other_forms(rebuilt)])
        return found

    def _other_forms(self, e: Expr) -> list[Expr]:
        if isinstance(e, classes.Add):
            joined = without_squares(e)
            if not isinstance(joined, classes.Add):
                return [joined]
            factored = common_factor(joined)
            forms = [joined, factored]
            if isinstance(factored, classes.Mul):
                forms += [self._with_expanded_sums(factored)]
            return [*forms, *self._expanded(joined)]
        if isinstance(e, classes.Mul) and any(isinstance(a, classes.Add) for a in e.args):
            return self._expanded(e)
        return []

    def _with_expanded_sums(self, product: Expr) -> Expr:
        """A product whose sums are multiplied out, each where it gets shorter."""
        return se.Mul(
            *[self._shortest([a, *self._expanded(a)]) if isinstance(a, classes.Add) else a for a in product.args]
        )

    def _expanded(self, e: Expr) -> list[Expr]:
        return [se.expand(e, deep=False)] if terms_expanded(e) <= MOST_TERMS else []

    def _shortest(self, forms: Iterable[Expr]) -> Expr:
        """The one with the fewest words, the first of equals."""
        return min(forms, key=lambda e: len(words(e, self._written)))


def terms_expanded(e: Expr) -> int:
    """How many terms multiplying out may make, at most."""
    if isinstance(e, classes.Add):
        return sum(terms_expanded(a) for a in e.args)
    if isinstance(e, classes.Mul):
        count = 1
        for a in e.args:
            count *= terms_expanded(a)
        return count
    if isinstance(e, classes.Pow) and isinstance(e.args[1], classes.Integer) and isinstance(e.args[0], classes.Add):
        power = int(e.args[1])
        return len(e.args[0].args) ** min(power, 20) if power > 0 else 1
    return 1


def common_factor(e: Expr) -> Expr:
    """A sum as (common factor) times (what is left): the lowest power of each base, negative ones too, and the content."""
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
    """The greatest rational that leaves integers without a common divisor; negative where all are."""
    numerator, denominator = 0, 1
    for c in coefficients:
        p, q = (int(c), 1) if isinstance(c, classes.Integer) else (int(c.p), int(c.q))
        numerator = math.gcd(numerator, p)
        denominator = denominator * q // math.gcd(denominator, q)
    content = se.Rational(abs(numerator), denominator)
    return -content if all(float(c) < 0 for c in coefficients) else content


def without_squares(e: Expr) -> Expr:
    """c sin(u)^2 + c cos(u)^2 = c in a sum, and c cosh(u)^2 - c sinh(u)^2 = c."""
    terms = list(e.args)
    for first, second, sign in ((classes.sin, classes.cos, 1), (classes.cosh, classes.sinh, -1)):
        terms = _joined(terms, first, second, sign)
    return se.Add(*terms)


def _joined(terms: list[Expr], first: Any, second: Any, sign: int) -> list[Expr]:
    partners: dict[tuple[Expr, Expr], int] = {}
    for k, term in enumerate(terms):
        for u, rest in _squares(term, second):
            partners[u, rest] = k
    gone: set[int] = set()
    out = []
    for k, term in enumerate(terms):
        for u, rest in _squares(term, first):
            partner = partners.get((u, sign * rest))
            if partner is not None and partner != k and not {k, partner} & gone:
                gone |= {k, partner}
                out.append(rest)
                break
    return [term for k, term in enumerate(terms) if k not in gone] + out


def _squares(term: Expr, kind: Any) -> list[tuple[Expr, Expr]]:
    """(u, the rest of the term) for every factor kind(u)^2."""
    return [
        (a.args[0].args[0], term / a)
        for a in (term.args if isinstance(term, classes.Mul) else (term,))
        if isinstance(a, classes.Pow) and a.args[1] == 2 and isinstance(a.args[0], kind)
    ]
