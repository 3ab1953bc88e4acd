"""A search for primitives by rules, within counted steps: tables, sums, substitutions, parts, rational functions.

It proves nothing and may choose a wrong branch: whoever asks verifies what it returns. Everything that decides is counted, so that
the same integrand gives the same answer on any machine, however busy.
"""

from __future__ import annotations

import math

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.algebra import Expr, Unwritable, X, derivative, words
from mathpipe.generate.symbolic.lookup import Values
from mathpipe.generate.symbolic.parts import root_primitive, wave_primitive
from mathpipe.generate.symbolic.primitives import Table
from mathpipe.generate.symbolic.rational import rational_primitive
from mathpipe.generate.symbolic.rewriting import (
    coefficients,
    content_free,
    expanded,
    factors,
    has_x,
    power_argument,
    product_to_sum,
    split_constant,
    subexpressions,
)

MOST_STEPS = 60  # integrals looked at for one problem
MOST_DEPTH = 3  # substitutions and parts within each other
MOST_CANDIDATES = 6  # inner functions tried at one place
MOST_SIZE = 150  # words of an integrand on the way
MOST_DENOMINATOR = 10_000  # of a factor told from its numbers

_T = se.Symbol("_t")
_LOGARITHMIC = (
    *(classes.log, classes.asin, classes.acos, classes.atan),
    *(classes.asinh, classes.acosh, classes.atanh),
)


def proportion(e: Expr, known: Expr, values: Values) -> Expr | None:
    """The constant c of e = c * known: exactly where it cancels, else the simple fraction that the numbers tell."""
    quotient = e / known
    if not has_x(quotient):
        return quotient
    a, b = values.at(e), values.at(known)
    if a is None or b is None:
        return None
    ratio = a[0] / b[0]
    for scale, exact in ((1.0, se.Integer(1)), (math.e, se.E)):
        guess = _simple_fraction(ratio / scale)
        if guess is not None:
            return guess * exact
    return None


def _simple_fraction(value: complex) -> Expr | None:
    from fractions import Fraction

    if abs(value.imag) > 1e-10 * abs(value) or not 1e-6 < abs(value) < 1e9:
        return None
    guess = Fraction(value.real).limit_denominator(MOST_DENOMINATOR)
    if abs(float(guess) - value.real) > 1e-11 * abs(value):
        return None
    return se.Rational(guess.numerator, guess.denominator)


class Search:
    """One search for the primitive of one integrand; ``steps``: how many integrals it has looked at."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._values = Values()
        self._known: dict[Expr, tuple[int, Expr | None]] = {}
        self._words: dict[Expr, bytes] = {}
        self.steps = 0

    def primitive(self, e: Expr, depth: int = MOST_DEPTH) -> Expr | None:
        """A primitive of e, or None where the rules find none within their limits."""
        if not has_x(e):
            return e * X
        if e in self._known:
            before, found = self._known[e]
            if found is not None or before >= depth:
                return found
        self.steps += 1
        if self.steps > MOST_STEPS:
            return None
        self._known[e] = (depth, None)  # met again on the way, it leads nowhere
        try:
            found = self._primitive(e, depth)
        except (Unwritable, RuntimeError, ZeroDivisionError):
            found = None
        self._known[e] = (depth, found)
        return found

    def _primitive(self, e: Expr, depth: int) -> Expr | None:
        if len(words(e, self._words)) > MOST_SIZE:
            return None
        constant, core = split_constant(e)
        if constant != 1:
            found = self.primitive(core, depth)
            return None if found is None else constant * found
        if type(core) is classes.Add:
            found = self._sum(core, depth)
            if found is not None:
                return found
        for rule in (self._looked_up, rational_primitive, self._power, wave_primitive, root_primitive):
            found = rule(core)
            if found is not None:
                return found
        plain = content_free(core)
        if plain != core:
            return self.primitive(plain, depth)
        for search in (self._substituted, self._rewritten, self._by_parts):
            found = search(core, depth)
            if found is not None:
                return found
        return None

    def _sum(self, e: Expr, depth: int) -> Expr | None:
        """Term by term; the longest first, since it fails most often."""
        terms = sorted(e.args, key=lambda term: (-len(words(term, self._words)), words(term, self._words)))
        parts = []
        for term in terms:
            part = self.primitive(term, depth)
            if part is None:
                return None
            parts.append(part)
        return se.Add(*parts)

    def _looked_up(self, e: Expr) -> Expr | None:
        key = self._values.key(e)
        entry = None if key is None else self._table.index.find(key)
        if entry is None:
            return None
        c = proportion(e, self._table.integrands[entry], self._values)
        return None if c is None else c * self._table.primitives[entry]

    def _power(self, e: Expr) -> Expr | None:
        """x^r for a constant r, and sums of such."""
        total = se.Integer(0)
        spread = expanded(e)
        for term in spread.args if type(spread) is classes.Add else (spread,):
            constant, rest = split_constant(term)
            r = _exponent_of_x(rest)
            if r is None:
                return None
            total += constant * (se.log(X) if r == -1 else X ** (r + 1) / (r + 1))
        return total

    # Substitutions

    def _substituted(self, e: Expr, depth: int) -> Expr | None:
        if depth <= 0:
            return None
        parts = subexpressions(e, 2 * MOST_CANDIDATES)
        for attempt in (self._simpler_power, self._common_exponential, self._common_root):
            found = attempt(e, parts, depth)
            if found is not None:
                return found
        for u in parts[:MOST_CANDIDATES]:
            if u == e and not parts:
                continue
            found = self._inner(e, u, depth)
            if found is not None:
                return found
        return None

    def _inner(self, e: Expr, u: Expr, depth: int) -> Expr | None:
        """f = g(u) u'."""
        slope = derivative(u)
        if slope == 0:
            return None
        quotient = e / content_free(slope)
        hidden = quotient.xreplace({u: _T})
        if has_x(hidden):
            hidden = content_free(quotient).xreplace({u: _T})
            if has_x(hidden):
                return None
        return self._back(hidden, u, depth)

    def _back(self, hidden: Expr, u: Expr, depth: int) -> Expr | None:
        """The primitive of an integrand in t, with u in the place of t."""
        found = self.primitive(hidden.xreplace({_T: X}), depth - 1)
        return None if found is None else found.xreplace({X: u})

    def _simpler_power(self, e: Expr, parts: list[Expr], depth: int) -> Expr | None:
        """u = a x^n + b, an operand of a function: x = ((t - b) / a)^(1/n)."""
        tried = 0
        for part in parts:
            u = part if type(part) is classes.Add else part.args[0]
            if type(part) is classes.Pow and part.args[0] == se.E:
                u = part.args[1]
            form = power_argument(u) if u != X else None
            if form is None:
                continue
            a, b, n = form
            inverse = (_T - b) / a if n == 1 else ((_T - b) / a) ** (se.Integer(1) / n)
            hidden = e.xreplace({u: _T}).xreplace({X: inverse})
            hidden = hidden * inverse ** (1 - n) / (n * a) if n > 1 else hidden / a
            if n > 1 and (b != 0 or a != 1) and _has_root_of_sum(hidden):
                continue
            found = self._back(hidden, u, depth)
            tried += 1
            if found is not None or tried == 2:
                return found
        return None

    def _common_exponential(self, e: Expr, parts: list[Expr], depth: int) -> Expr | None:
        """Functions of exponentials whose exponents are multiples of one: u = e^w."""
        exponents: dict[Expr, Expr] = {p: p.args[1] for p in parts if type(p) is classes.Pow and p.args[0] == se.E}
        if not exponents or len(exponents) > 3:
            return None
        slopes = [derivative(w) for w in exponents.values()]
        if not all(not has_x(s) and s != 0 for s in slopes):
            return None
        ratios = [s / slopes[0] for s in slopes]
        if not all(isinstance(r, classes.Rational) for r in ratios):
            return None
        unit = slopes[0] / math.lcm(*(int(r.q) if not isinstance(r, classes.Integer) else 1 for r in ratios))
        changes = {}
        for (part, w), slope in zip(exponents.items(), slopes, strict=True):
            changes[part] = se.exp(se.expand(w - slope * X)) * _T ** (slope / unit)
        hidden = e.xreplace(changes)
        if has_x(hidden):
            return None
        return self._back(hidden / (unit * _T), se.exp(unit * X), depth)

    def _common_root(self, e: Expr, parts: list[Expr], depth: int) -> Expr | None:
        """Functions of roots of one a x + b: u = (a x + b)^(1/n)."""
        roots = [p for p in e.atoms(classes.Pow) if _is_root(p)]
        bases = {p.args[0] for p in roots}
        if len(bases) != 1:
            return None
        base = bases.pop()
        form = power_argument(base)
        if form is None or form[2] != 1:
            return None
        a, b, _ = form
        n = math.lcm(*(int(p.args[1].q) for p in roots))
        if n > 6:
            return None
        inverse = (_T**n - b) / a
        hidden = e.xreplace({p: _T ** (p.args[1] * n) for p in roots}).xreplace({X: inverse})
        return self._back(hidden * n * _T ** (n - 1) / a, base ** (se.Integer(1) / n), depth)

    # Rewriting and parts

    def _rewritten(self, e: Expr, depth: int) -> Expr | None:
        spread = expanded(e)
        if spread != e:
            return self.primitive(spread, depth)
        sums = product_to_sum(e)
        return None if sums is None else self.primitive(sums, depth)

    def _by_parts(self, e: Expr, depth: int) -> Expr | None:
        """int P h = Q h - int Q h', Q' = P, for logarithms and inverse functions h and their squares."""
        if depth <= 0:
            return None
        pieces = factors(e)
        for h in pieces:
            base = h.args[0] if type(h) is classes.Pow and isinstance(h.args[1], classes.Integer) else h
            if not isinstance(base, _LOGARITHMIC) or (base is not h and not 0 < int(h.args[1]) <= 3):
                continue
            rest = se.Mul(*[piece for piece in pieces if piece is not h])
            q = self.primitive(rest, depth - 1)
            if q is None:
                continue
            left = self.primitive(q * derivative(h), depth - 1)
            if left is not None:
                return q * h - left
        return None


def _exponent_of_x(e: Expr) -> Expr | None:
    """r of x^r; None for anything else."""
    if e == 1:
        return se.Integer(0)
    if e == X:
        return se.Integer(1)
    if type(e) is classes.Pow and e.args[0] == X and not has_x(e.args[1]):
        return e.args[1]
    return None


def _is_root(p: Expr) -> bool:
    return isinstance(p.args[1], classes.Rational) and not isinstance(p.args[1], classes.Integer) and has_x(p.args[0])


def _has_root_of_sum(e: Expr) -> bool:
    return any(_is_root_of_sum(p) for p in e.atoms(classes.Pow))


def _is_root_of_sum(p: Expr) -> bool:
    exponent = p.args[1]
    fractional = isinstance(exponent, classes.Rational) and not isinstance(exponent, classes.Integer)
    return fractional and type(p.args[0]) is classes.Add
