"""A rule-based search for primitives within counted steps: tables, sums, substitutions, integration by parts, rational functions.

The search proves nothing and may choose a wrong branch: its caller must verify the result. All limits are counts, never times, so
the same integrand gives the same answer on any machine under any load.
"""

from __future__ import annotations

import math
from fractions import Fraction

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import (
    Expr,
    RejectedExpression,
    X,
    derivative,
    drop_constant_terms,
    to_tokens,
)
from mathpipe.generate.symbolic.expr.rewriting import (
    as_shifted_monomial,
    cancel_logs_and_distribute,
    expand_if_small,
    factor_out_content,
    factors,
    has_x,
    product_to_sum,
    split_constant,
    substitution_candidates,
)
from mathpipe.generate.symbolic.integrate.closed_forms import integrate_exp_trig, integrate_quadratic_root
from mathpipe.generate.symbolic.integrate.heuristics import INVERSE, is_exponential, kernels, likely_nonelementary
from mathpipe.generate.symbolic.integrate.primitive_table import PrimitiveTable
from mathpipe.generate.symbolic.integrate.rational_functions import integrate_rational
from mathpipe.generate.symbolic.integrate.value_lookup import PointValues

MAX_STEPS = 60  # integrals attempted for one problem
MAX_DEPTH = 2  # nested substitutions and integrations by parts
MAX_CANDIDATES = 6  # inner functions tried for one integrand
MAX_TOKENS = 150  # of an intermediate integrand
MAX_DENOMINATOR = 1_000  # of a constant factor identified from values
MAX_FRACTION_SIZE = 1_000_000  # numerator times denominator: larger fractions agree by chance

_T = se.Symbol("_t")


def constant_ratio(e: Expr, entry: Expr, values: PointValues) -> Expr | None:
    """The constant c of e = c * entry: exact if the quotient cancels, else a simple fraction that fits the values; or None."""
    quotient = e / entry
    if not has_x(quotient):
        return quotient
    constant, core = split_constant(e)
    entry_constant, entry_core = split_constant(entry)
    a, b = values.at(core), values.at(entry_core)
    guess = None if a is None or b is None else _simple_fraction([p / q for p, q in zip(a, b, strict=True)])
    return None if guess is None else guess * constant / entry_constant


def _simple_fraction(values: list[complex]) -> Expr | None:
    """The fraction with small numerator and denominator that all values equal up to rounding; None if there is none."""
    value = values[0]
    if not all(abs(other - value.real) <= 1e-10 * abs(value) for other in values) or not 1e-6 < abs(value) < 1e6:
        return None
    guess = Fraction(value.real).limit_denominator(MAX_DENOMINATOR)
    if (
        abs(float(guess) - value.real) > 1e-11 * abs(value)
        or abs(guess.numerator) * guess.denominator > MAX_FRACTION_SIZE
    ):
        return None
    return se.Rational(guess.numerator, guess.denominator)


def find_antiderivative(e: Expr, table: PrimitiveTable) -> Expr:
    """A primitive of e without an additive constant, not verified; raises RejectedExpression if none is found."""
    primitive = RuleSearch(table).primitive(e)
    if primitive is None:
        raise RejectedExpression("no primitive found")
    return drop_constant_terms(cancel_logs_and_distribute(primitive))


class RuleSearch:
    """The search for the primitive of one integrand. ``steps``: the number of integrals attempted so far."""

    def __init__(self, table: PrimitiveTable) -> None:
        self._table = table
        self._values = PointValues()
        self._results: dict[Expr, tuple[int, Expr | None]] = {}
        self._token_cache: dict[Expr, bytes] = {}
        self._content_factored: dict[Expr, Expr] = {}
        self.steps = 0

    def primitive(self, e: Expr, depth: int = MAX_DEPTH) -> Expr | None:
        """A primitive of e; None if the rules find none within their limits."""
        if not has_x(e):
            return e * X
        if e in self._results:
            previous_depth, primitive = self._results[e]
            if primitive is not None or previous_depth >= depth:
                return primitive
        self.steps += 1
        if self.steps > MAX_STEPS:
            return None
        self._results[e] = (depth, None)  # an integrand that recurs within its own search fails
        try:
            primitive = self._primitive(e, depth)
        except (RejectedExpression, RuntimeError, ZeroDivisionError):
            primitive = None
        self._results[e] = (depth, primitive)
        return primitive

    def _primitive(self, e: Expr, depth: int) -> Expr | None:
        if len(to_tokens(e, self._token_cache)) > MAX_TOKENS:
            return None
        constant, core = split_constant(e)
        if constant != 1:
            primitive = self.primitive(core, depth)
            return None if primitive is None else constant * primitive
        if type(core) is classes.Add:
            primitive = self._sum(core, depth)
            if primitive is not None:
                return primitive
        elif likely_nonelementary(core):
            return None
        primitive = self._apply_rules(core)
        if primitive is not None:
            return primitive
        content_factored = self._cached_factor_out_content(core)
        if content_factored != core:
            return self.primitive(content_factored, depth)
        if type(core) is classes.Add:
            return self._rewrite(core, depth)
        for search in (self._substitute, self._rewrite, self._by_parts):
            primitive = search(core, depth)
            if primitive is not None:
                return primitive
        return None

    def _cached_factor_out_content(self, e: Expr) -> Expr:
        primitive = self._content_factored.get(e)
        if primitive is None:
            primitive = self._content_factored[e] = factor_out_content(e)
        return primitive

    def _apply_rules(self, e: Expr) -> Expr | None:
        """Apply the rules that need no other integral."""
        algebraic = (self._power, integrate_rational, integrate_quadratic_root, self._look_up)
        for rule in (self._look_up, integrate_exp_trig) if kernels(e) else algebraic:
            primitive = rule(e)
            if primitive is not None:
                return primitive
        return None

    def _sum(self, e: Expr, depth: int) -> Expr | None:
        """Integrate term by term; the longest term first, since it fails most often."""
        if any(likely_nonelementary(split_constant(term)[1]) for term in e.args):
            return None
        terms = sorted(
            e.args, key=lambda term: (-len(to_tokens(term, self._token_cache)), to_tokens(term, self._token_cache))
        )
        parts = []
        for term in terms:
            part = self.primitive(term, depth)
            if part is None:
                return None
            parts.append(part)
        return se.Add(*parts)

    def _look_up(self, e: Expr) -> Expr | None:
        key = self._values.key(e)
        entry = None if key is None else self._table.index.find(key)
        if entry is None:
            return None
        c = constant_ratio(e, self._table.integrands[entry], self._values)
        return None if c is None else c * self._table.primitives[entry]

    def _power(self, e: Expr) -> Expr | None:
        """Sums of constant multiples of x^r with constant r."""
        total = se.Integer(0)
        expanded = expand_if_small(e)
        for term in expanded.args if type(expanded) is classes.Add else (expanded,):
            constant, rest = split_constant(term)
            r = _exponent_of_x(rest)
            if r is None:
                return None
            total += constant * (se.log(X) if r == -1 else X ** (r + 1) / (r + 1))
        return total

    # Substitutions

    def _substitute(self, e: Expr, depth: int) -> Expr | None:
        if depth <= 0:
            return None
        parts = substitution_candidates(e, 2 * MAX_CANDIDATES)
        for attempt in (self._simpler_power, self._common_exponential, self._common_root, self._logarithm):
            primitive = attempt(e, parts, depth)
            if primitive is not None:
                return primitive
        for u in parts[:MAX_CANDIDATES]:
            primitive = self._substitute_inner(e, u, depth)
            if primitive is not None:
                return primitive
        return None

    def _substitute_inner(self, e: Expr, u: Expr, depth: int) -> Expr | None:
        """Substitute u where f = g(u) u'."""
        if any(_T in (symbols := part.free_symbols) and X in symbols for part in factors(e.xreplace({u: _T}))):
            return None  # dividing by u' does not remove a factor that mixes x with u
        slope = derivative(u)
        if slope == 0:
            return None
        integrand = (e / self._cached_factor_out_content(slope)).xreplace({u: _T})
        if has_x(integrand):
            return None
        return self._integrate_and_resubstitute(integrand, u, depth)

    def _integrate_and_resubstitute(self, integrand: Expr, u: Expr, depth: int) -> Expr | None:
        """Integrate an integrand in t and substitute u for t."""
        primitive = self.primitive(integrand.xreplace({_T: X}), depth - 1)
        return None if primitive is None else primitive.xreplace({X: u})

    def _simpler_power(self, e: Expr, parts: list[Expr], depth: int) -> Expr | None:
        """Substitute u = a x^n + b, the argument of a function: x = ((t - b) / a)^(1/n)."""
        tried = 0
        for part in parts:
            u = part if type(part) is classes.Add else part.args[0]
            if type(part) is classes.Pow and part.args[0] == se.E:
                u = part.args[1]
            form = as_shifted_monomial(u) if u != X else None
            if form is None:
                continue
            a, b, n = form
            inverse = (_T - b) / a if n == 1 else ((_T - b) / a) ** (se.Integer(1) / n)
            integrand = e.xreplace({u: _T}).xreplace({X: inverse})
            integrand = integrand * inverse ** (1 - n) / (n * a) if n > 1 else integrand / a
            if n > 1 and _has_root(integrand, of_sums=b != 0):
                continue
            if n == 1:  # no simpler than before: only rules without further integrals
                constant, core = split_constant(integrand.xreplace({_T: X}))
                primitive = self._apply_rules(core)
                primitive = None if primitive is None else constant * primitive.xreplace({X: u})
            else:
                primitive = self._integrate_and_resubstitute(integrand, u, depth)
            tried += 1
            if primitive is not None or tried == 2:
                return primitive
        return None

    def _common_exponential(self, e: Expr, parts: list[Expr], depth: int) -> Expr | None:
        """Substitute u = e^w in functions of exponentials whose exponents are multiples of w."""
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
        replacements = {}
        for (part, w), slope in zip(exponents.items(), slopes, strict=True):
            replacements[part] = se.exp(se.expand(w - slope * X)) * _T ** (slope / unit)
        integrand = e.xreplace(replacements)
        if has_x(integrand):
            return None
        return self._integrate_and_resubstitute(integrand / (unit * _T), se.exp(unit * X), depth)

    def _common_root(self, e: Expr, parts: list[Expr], depth: int) -> Expr | None:
        """Substitute u = (a x + b)^(1/n) in functions of roots of one a x + b."""
        roots = [p for p in e.atoms(classes.Pow) if _is_root(p)]
        bases = {p.args[0] for p in roots}
        if len(bases) != 1:
            return None
        base = bases.pop()
        form = as_shifted_monomial(base)
        if form is None or form[2] != 1:
            return None
        a, b, _ = form
        n = math.lcm(*(int(p.args[1].q) for p in roots))
        if n > 6:
            return None
        inverse = (_T**n - b) / a
        integrand = e.xreplace({p: _T ** (p.args[1] * n) for p in roots}).xreplace({X: inverse})
        return self._integrate_and_resubstitute(integrand * n * _T ** (n - 1) / a, base ** (se.Integer(1) / n), depth)

    def _logarithm(self, e: Expr, parts: list[Expr], depth: int) -> Expr | None:
        """Substitute u = ln(a x + b), x = (e^u - b) / a, in functions of one logarithm and powers of x."""
        logarithms = [p for p in parts if type(p) is classes.log]
        form = as_shifted_monomial(logarithms[0].args[0]) if len(logarithms) == 1 else None
        if form is None or form[2] != 1:
            return None
        a, b, _ = form
        integrand = e.xreplace({logarithms[0]: _T}).xreplace({X: (se.exp(_T) - b) / a}) * se.exp(_T) / a
        expanded = _with_powers_of_e(integrand).xreplace({_T: X})
        constant, core = split_constant(expanded)
        primitive = self._apply_rules(core)
        if primitive is None and type(expand_if_small(core)) is classes.Add:
            primitive = self._sum(expand_if_small(core), 0)
        return None if primitive is None else (constant * primitive).xreplace({X: logarithms[0]})

    # Rewriting and integration by parts

    def _rewrite(self, e: Expr, depth: int) -> Expr | None:
        expanded = expand_if_small(e)
        if expanded != e:
            return self.primitive(expanded, depth)
        sums = product_to_sum(e)
        return None if sums is None else self.primitive(sums, depth)

    def _by_parts(self, e: Expr, depth: int) -> Expr | None:
        """int P h = Q h - int Q h' with Q' = P, for logarithms and inverse functions h and their powers up to 3."""
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
            remaining_primitive = self.primitive(remaining, depth - 1)
            if remaining_primitive is not None:
                return q * h - remaining_primitive
        return None


def _slope(h: Expr) -> Expr:
    """h'; for h = ln(p q ...) term by term: sum p'/p."""
    if type(h) is not classes.log:
        return derivative(h)
    total = se.Integer(0)
    for factor in factors(h.args[0]):
        base, exponent = (factor.args[0], factor.args[1]) if type(factor) is classes.Pow else (factor, se.Integer(1))
        if base == se.E:
            total += derivative(exponent)
        elif has_x(exponent):
            return derivative(h)
        elif has_x(base):
            total += exponent * derivative(base) / base
    return total


def _with_powers_of_e(e: Expr) -> Expr:
    """Rewrite (e^u)^n as e^(n u), which holds for integer n."""
    nested = [p for p in e.atoms(classes.Pow) if is_exponential(p.args[0]) and isinstance(p.args[1], classes.Integer)]
    return e.xreplace({p: se.exp(p.args[0].args[1] * p.args[1]) for p in nested}) if nested else e


def _exponent_of_x(e: Expr) -> Expr | None:
    """r of x^r; None for other expressions."""
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
    """Whether t occurs under a root; ``of_sums``: only count roots of sums."""
    bases = [p.args[0] for p in e.atoms(classes.Pow) if _is_fraction(p.args[1])]
    return any(_T in base.free_symbols and not (of_sums and base == _T) for base in bases)


def _is_fraction(e: Expr) -> bool:
    return isinstance(e, classes.Rational) and not isinstance(e, classes.Integer)
