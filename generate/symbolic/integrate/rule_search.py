"""A search for primitives by rules, within counted steps: tables, sums, substitutions, parts, rational functions.

It proves nothing and may choose a wrong branch: whoever asks verifies what it returns. Everything that decides is counted, so that
the same integrand gives the same answer on any machine, however busy.
"""

from __future__ import annotations

import math
from fractions import Fraction

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import Expr, Unwritable, X, derivative, without_constants, words
from mathpipe.generate.symbolic.expr.rewriting import (
    content_free,
    expanded,
    factors,
    has_x,
    power_argument,
    product_to_sum,
    split_constant,
    subexpressions,
    tidied,
)
from mathpipe.generate.symbolic.integrate.closed_forms import root_primitive, wave_primitive
from mathpipe.generate.symbolic.integrate.heuristics import INVERSE, hopeless, is_exponential, kernels
from mathpipe.generate.symbolic.integrate.primitive_table import Table
from mathpipe.generate.symbolic.integrate.rational_functions import rational_primitive
from mathpipe.generate.symbolic.integrate.value_lookup import Values

MOST_STEPS = 60  # integrals looked at for one problem
MOST_DEPTH = 2  # substitutions and parts within each other
MOST_CANDIDATES = 6  # inner functions tried at one place
MOST_SIZE = 150  # words of an integrand on the way
MOST_DENOMINATOR = 1_000  # of a factor told from its numbers
MOST_COMPLEX = 1_000_000  # its numerator times its denominator: others agree by chance

_T = se.Symbol("_t")


def proportion(e: Expr, known: Expr, values: Values) -> Expr | None:
    """The constant c of e = c * known: exactly where it cancels, else the simple fraction that the numbers tell."""
    quotient = e / known
    if not has_x(quotient):
        return quotient
    constant, core = split_constant(e)
    factor, other = split_constant(known)
    a, b = values.at(core), values.at(other)
    guess = None if a is None or b is None else _simple_fraction([p / q for p, q in zip(a, b, strict=True)])
    return None if guess is None else guess * constant / factor


def _simple_fraction(values: list[complex]) -> Expr | None:
    """The fraction of small numerator and denominator that all these values are, up to rounding."""
    value = values[0]
    if not all(abs(other - value.real) <= 1e-10 * abs(value) for other in values) or not 1e-6 < abs(value) < 1e6:
        return None
    guess = Fraction(value.real).limit_denominator(MOST_DENOMINATOR)
    if abs(float(guess) - value.real) > 1e-11 * abs(value) or abs(guess.numerator) * guess.denominator > MOST_COMPLEX:
        return None
    return se.Rational(guess.numerator, guess.denominator)


def antiderivative(e: Expr, table: Table) -> Expr:
    """A primitive of e without an additive constant, not verified; Unwritable where none is found."""
    found = Search(table).primitive(e)
    if found is None:
        raise Unwritable("no primitive found")
    return without_constants(tidied(found))


class Search:
    """One search for the primitive of one integrand; ``steps``: how many integrals it has looked at."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._values = Values()
        self._known: dict[Expr, tuple[int, Expr | None]] = {}
        self._words: dict[Expr, bytes] = {}
        self._plain: dict[Expr, Expr] = {}
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
        elif hopeless(core):
            return None
        found = self._by_rule(core)
        if found is not None:
            return found
        plain = self._content_free(core)
        if plain != core:
            return self.primitive(plain, depth)
        if type(core) is classes.Add:
            return self._rewritten(core, depth)
        for search in (self._substituted, self._rewritten, self._by_parts):
            found = search(core, depth)
            if found is not None:
                return found
        return None

    def _content_free(self, e: Expr) -> Expr:
        found = self._plain.get(e)
        if found is None:
            found = self._plain[e] = content_free(e)
        return found

    def _by_rule(self, e: Expr) -> Expr | None:
        """The rules that ask for no other integral."""
        algebraic = (self._power, rational_primitive, root_primitive, self._looked_up)
        for rule in (self._looked_up, wave_primitive) if kernels(e) else algebraic:
            found = rule(e)
            if found is not None:
                return found
        return None

    def _sum(self, e: Expr, depth: int) -> Expr | None:
        """Term by term; the longest first, since it fails most often."""
        if any(hopeless(split_constant(term)[1]) for term in e.args):
            return None
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
        for attempt in (self._simpler_power, self._common_exponential, self._common_root, self._logarithm):
            found = attempt(e, parts, depth)
            if found is not None:
                return found
        for u in parts[:MOST_CANDIDATES]:
            found = self._inner(e, u, depth)
            if found is not None:
                return found
        return None

    def _inner(self, e: Expr, u: Expr, depth: int) -> Expr | None:
        """f = g(u) u'."""
        if any(_T in (there := part.free_symbols) and X in there for part in factors(e.xreplace({u: _T}))):
            return None  # a factor that mixes x with u stays when u' is divided out
        slope = derivative(u)
        if slope == 0:
            return None
        hidden = (e / self._content_free(slope)).xreplace({u: _T})
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
            if n > 1 and _has_root(hidden, of_sums=b != 0):
                continue
            if n == 1:  # as complex as before: only what is known at once
                constant, core = split_constant(hidden.xreplace({_T: X}))
                found = self._by_rule(core)
                found = None if found is None else constant * found.xreplace({X: u})
            else:
                found = self._back(hidden, u, depth)
            tried += 1
            if found is not None or tried == 2:
                return found
        return None

    def _common_exponential(self, e: Expr, parts: list[Expr], depth: int) -> Expr | None:
        """Functions of exponentials whose exponents are multiples of one: u = e^w."""
        exponents: dict[Expr, Expr] = {p: p.args[1] for p in parts if is_exponential(p)}
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

    def _logarithm(self, e: Expr, parts: list[Expr], depth: int) -> Expr | None:
        """Functions of one ln(a x + b) and powers of x: u is the logarithm, x = (e^u - b) / a."""
        logarithms = [p for p in parts if type(p) is classes.log]
        form = power_argument(logarithms[0].args[0]) if len(logarithms) == 1 else None
        if form is None or form[2] != 1:
            return None
        a, b, _ = form
        hidden = e.xreplace({logarithms[0]: _T}).xreplace({X: (se.exp(_T) - b) / a}) * se.exp(_T) / a
        spread = _with_powers_of_e(hidden).xreplace({_T: X})
        constant, core = split_constant(spread)
        found = self._by_rule(core)
        if found is None and type(expanded(core)) is classes.Add:
            found = self._sum(expanded(core), 0)
        return None if found is None else (constant * found).xreplace({X: logarithms[0]})

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
            if not isinstance(base, INVERSE) or (base is not h and not 0 < int(h.args[1]) <= 3):
                continue
            rest = se.Mul(*[piece for piece in pieces if piece is not h])
            q = self.primitive(rest, depth - 1)
            if q is None:
                continue
            remaining = q * _slope(h)
            if len(kernels(remaining)) > len(kernels(e)):
                continue
            left = self.primitive(remaining, depth - 1)
            if left is not None:
                return q * h - left
        return None


def _slope(h: Expr) -> Expr:
    """h', where h = ln(p q ...) term by term: sum p'/p."""
    if type(h) is not classes.log:
        return derivative(h)
    total = se.Integer(0)
    for factor in factors(h.args[0]):
        base, times = (factor.args[0], factor.args[1]) if type(factor) is classes.Pow else (factor, se.Integer(1))
        if base == se.E:
            total += derivative(times)
        elif has_x(times):
            return derivative(h)
        elif has_x(base):
            total += times * derivative(base) / base
    return total


def _with_powers_of_e(e: Expr) -> Expr:
    """(e^u)^n as e^(n u), which holds for whole n."""
    nested = [p for p in e.atoms(classes.Pow) if is_exponential(p.args[0]) and isinstance(p.args[1], classes.Integer)]
    return e.xreplace({p: se.exp(p.args[0].args[1] * p.args[1]) for p in nested}) if nested else e


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
    return _is_fraction(p.args[1]) and has_x(p.args[0])


def _has_root(e: Expr, *, of_sums: bool) -> bool:
    """Whether t stands under a root; ``of_sums``: within a sum there."""
    bases = [p.args[0] for p in e.atoms(classes.Pow) if _is_fraction(p.args[1])]
    return any(_T in base.free_symbols and not (of_sums and base == _T) for base in bases)


def _is_fraction(e: Expr) -> bool:
    return isinstance(e, classes.Rational) and not isinstance(e, classes.Integer)
