"""Normalise an equation: one numerator, without factors that lack the highest derivative, expanded if that is shorter.

A fraction is stored as numerator / product of base^exponent with exponents > 0, so that a sum needs only the largest exponent of
each base. Terms are counted before every expansion: only counted limits decide, never elapsed time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import ONE, ZERO, Expr, RejectedExpression, to_tokens

MAX_TERMS = 150  # of an expansion
MAX_OPERATIONS = 600  # of an intermediate equation
Powers = dict[Expr, Expr]
MINUS_ONE = se.Integer(-1)


def normalise_equation(expression: Expr, highest: Expr, token_cache: dict[Expr, bytes]) -> bytes:
    """The tokens of the left side of an equation with right side 0.

    It is equivalent to ``expression = 0`` wherever no dropped factor vanishes.
    Raises RejectedExpression if the ``highest`` derivative vanishes or an intermediate equation is too large.
    """
    check_operation_count(expression)
    numerator = drop_irrelevant_factors(as_fraction(expression)[0], highest)
    tokens = to_tokens(numerator, token_cache)
    if (terms := try_expand(numerator)) is not None:
        expanded_tokens = to_tokens(drop_irrelevant_factors(terms, highest), token_cache)
        tokens = min(tokens, expanded_tokens, key=lambda t: (len(t), t))
    return tokens


def check_operation_count(expression: Expr, limit: int = MAX_OPERATIONS) -> Expr:
    """Return the expression; raises RejectedExpression if it has more than ``limit`` operations."""
    if se.count_ops(expression) > limit:
        raise RejectedExpression("too many operations")
    return expression


def as_fraction(e: Expr) -> tuple[Expr, Powers]:
    """(numerator, {base: exponent} of the denominator)."""
    kind = type(e)
    if kind is classes.Add:
        return _sum([as_fraction(term) for term in e.args])
    if kind is classes.Mul:
        return _product([as_fraction(factor) for factor in e.args])
    if kind is classes.Pow:
        base, exponent = e.args
        if isinstance(exponent, classes.Integer):
            return _power(as_fraction(base), exponent)
        if isinstance(exponent, classes.Number) and exponent.is_negative:
            return ONE, {base: -exponent}
    return e, {}


def _sum(parts: list[tuple[Expr, Powers]]) -> tuple[Expr, Powers]:
    common: Powers = {}
    for _, powers in parts:
        for base, exponent in powers.items():
            if base not in common or common[base] < exponent:
                common[base] = exponent
    if not common:
        return se.Add(*[numerator for numerator, _ in parts]), common
    terms = []
    for numerator, powers in parts:
        missing = [
            base**exponent if base not in powers else base ** (exponent - powers[base])
            for base, exponent in common.items()
        ]
        terms.append(se.Mul(numerator, *missing))
    return check_operation_count(se.Add(*terms)), common


def _product(parts: list[tuple[Expr, Powers]]) -> tuple[Expr, Powers]:
    numerator = se.Mul(*[n for n, _ in parts])
    powers: Powers = {}
    for _, part_powers in parts:
        for base, exponent in part_powers.items():
            powers[base] = exponent if base not in powers else powers[base] + exponent
    return _cancel_common_factors(numerator, powers) if powers else (numerator, powers)


def _cancel_common_factors(numerator: Expr, powers: Powers) -> tuple[Expr, Powers]:
    numerator_powers = factor_powers(numerator)
    remaining = dict(powers)
    for base, exponent in powers.items():
        shared = numerator_powers.get(base)
        if shared is None or not shared.is_positive:
            continue
        shared = min(shared, exponent)
        numerator = numerator * base**-shared
        remaining[base] = exponent - shared
    return numerator, {base: exponent for base, exponent in remaining.items() if exponent != ZERO}


def _power(part: tuple[Expr, Powers], n: Expr) -> tuple[Expr, Powers]:
    numerator, powers = part
    if n == MINUS_ONE and not powers and type(numerator) is classes.Add:
        return ONE, {numerator: ONE}
    if n.is_positive:
        return numerator**n, {base: exponent * n for base, exponent in powers.items()}
    numerator_powers = factor_powers(numerator)
    inverted = se.Mul(*[base ** (exponent * -n) for base, exponent in powers.items()])
    coefficient = ONE
    denominator_powers: Powers = {}
    for base, exponent in numerator_powers.items():
        if base.is_Number:
            coefficient = coefficient * base ** (exponent * n)
        elif exponent.is_negative:
            inverted = inverted * base ** (exponent * n)
        else:
            denominator_powers[base] = exponent * -n
    return _cancel_common_factors(inverted * coefficient, denominator_powers)


def factor_powers(e: Expr) -> Powers:
    """{base: exponent} of the factors of a product; a factor whose exponent is not a number is its own base."""
    exponents: Powers = {}
    for factor in e.args if type(e) is classes.Mul else (e,):
        base, exponent = factor, ONE
        if type(factor) is classes.Pow:
            operands = factor.args
            if isinstance(operands[1], classes.Number):
                base, exponent = operands
        exponents[base] = exponent if base not in exponents else exponents[base] + exponent
    return exponents


def drop_irrelevant_factors(e: Expr, highest: Expr) -> Expr:
    """Drop factors, and common factors of the terms, without the highest derivative; make the coefficients integers."""
    for _ in range(8):
        if type(e) is classes.Mul:
            containing = [base for base in factor_powers(e) if se.has_symbol(base, highest)]
            if len(containing) != 1:
                raise RejectedExpression("highest derivative vanishes")
            e = containing[0]
        if type(e) is not classes.Add:
            break
        shared = _common_factors(e.args)
        if not shared:
            break
        divisor = se.Mul(*[base**-exponent for base, exponent in shared.items()])
        e = se.Add(*[term * divisor for term in e.args])
    if not se.has_symbol(e, highest):
        raise RejectedExpression("highest derivative vanishes")
    return _with_integer_coefficients(e)


def _common_factors(terms: Iterable[Expr]) -> Powers:
    """{base: exponent} of the common factors of all terms, numbers apart."""
    first, *others = terms
    shared = {base: exponent for base, exponent in factor_powers(first).items() if not base.is_Number}
    for term in others:
        if not shared:
            break
        powers = factor_powers(term)
        shared = {base: min(exponent, powers[base]) for base, exponent in shared.items() if base in powers}
    return {base: exponent for base, exponent in shared.items() if exponent != ZERO}


def _with_integer_coefficients(e: Expr) -> Expr:
    """Scale a sum so that its coefficients are coprime integers."""
    if type(e) is not classes.Add:
        return e
    numbers = e.as_coefficients_dict().values()
    denominator_lcm = math.lcm(*(int(n.q) for n in numbers if type(n) in _FRACTIONS))
    numerator_gcd = 1
    if not any(type(n) in _UNITS for n in numbers):
        numerator_gcd = math.gcd(*(abs(int(n.p)) if n.is_Rational else 1 for n in numbers))
    if numerator_gcd == denominator_lcm == 1 or not numerator_gcd:
        return e
    scale = se.Rational(denominator_lcm, numerator_gcd)
    return se.Add(*[term * scale for term in e.args])


_FRACTIONS = (classes.Rational, classes.Half)
_UNITS = (classes.One, classes.NegativeOne)


def try_expand(e: Expr) -> Expr | None:
    """The expanded form; None if there is nothing to expand or more than ``MAX_TERMS`` terms would result."""
    count, products = _terms(e)
    return e.expand() if products and count <= MAX_TERMS else None


def _terms(e: Expr) -> tuple[int, bool]:
    """(upper bound on the terms after expansion, whether there is anything to expand)."""
    kind = type(e)
    if kind is classes.Add:
        counted = [_terms(term) for term in e.args]
        return sum(n for n, _ in counted), any(p for _, p in counted)
    if kind is classes.Mul:
        counted = [_terms(factor) for factor in e.args]
        total = math.prod(n for n, _ in counted)
        return total, total > 1
    if kind is classes.Pow:
        base, exponent = e.args
        if type(base) is classes.Add and isinstance(exponent, classes.Integer):
            n = abs(int(exponent))
            return (math.comb(_terms(base)[0] + n - 1, n) if n <= MAX_TERMS else MAX_TERMS + 1), True
    return 1, False
