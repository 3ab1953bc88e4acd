"""Clean equations: one numerator, without factors that say nothing of the highest derivative, expanded where that is shorter.

An expression is held as numerator / product of base^exponent (exponents > 0), so that a sum needs only the largest exponent of
each base. Every expansion is preceded by a count of the terms it would give: only counted limits decide, never a clock.
"""

from __future__ import annotations

import math
from functools import reduce

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import Expr, Unwritable, words

MOST_TERMS = 150  # of an expansion
MOST_OPERATIONS = 600  # of an equation under way
Powers = dict[Expr, Expr]
ONE = se.Integer(1)


def clean(expression: Expr, highest: Expr, memo: dict[Expr, bytes]) -> bytes:
    """The words of an equation whose other side is zero, equivalent to ``expression = 0`` where no dropped factor vanishes.

    ``memo``: words of expressions written before.
    Unwritable where the ``highest`` derivative is gone, or where it grows too large on the way.
    """
    limited(expression)
    numerator = reduced(fraction(expression)[0], highest)
    written = words(numerator, memo)
    if (terms := expanded(numerator)) is not None:
        other = words(reduced(terms, highest), memo)
        written = min(written, other, key=lambda w: (len(w), w))
    return written


def limited(expression: Expr, most: int = MOST_OPERATIONS) -> Expr:
    """The expression itself; Unwritable where it has more than ``most`` operations."""
    if se.count_ops(expression) > most:
        raise Unwritable("too many operations")
    return expression


def fraction(e: Expr) -> tuple[Expr, Powers]:
    """(numerator, powers of the denominator)."""
    kind = type(e)
    if kind is classes.Add:
        return _sum([fraction(term) for term in e.args])
    if kind is classes.Mul:
        return _product([fraction(factor) for factor in e.args])
    if kind is classes.Pow:
        base, exponent = e.args
        if isinstance(exponent, classes.Integer):
            return _power(fraction(base), int(exponent))
        if isinstance(exponent, classes.Number) and exponent < 0:
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
    return limited(se.Add(*terms)), common


def _product(parts: list[tuple[Expr, Powers]]) -> tuple[Expr, Powers]:
    numerator = se.Mul(*[n for n, _ in parts])
    powers: Powers = {}
    for _, more in parts:
        for base, exponent in more.items():
            powers[base] = exponent if base not in powers else powers[base] + exponent
    return _cancelled(numerator, powers) if powers else (numerator, powers)


def _cancelled(numerator: Expr, powers: Powers) -> tuple[Expr, Powers]:
    above = factors(numerator)
    left = dict(powers)
    for base, exponent in powers.items():
        shared = above.get(base)
        if shared is None or not shared > 0:
            continue
        shared = min(shared, exponent)
        numerator = numerator * base**-shared
        left[base] = exponent - shared
    return numerator, {base: exponent for base, exponent in left.items() if exponent != 0}


def _power(part: tuple[Expr, Powers], n: int) -> tuple[Expr, Powers]:
    numerator, powers = part
    if n == -1 and not powers and type(numerator) is classes.Add:
        return ONE, {numerator: ONE}
    if n > 0:
        return numerator**n, {base: exponent * n for base, exponent in powers.items()}
    above = factors(numerator)
    turned = se.Mul(*[base ** (exponent * -n) for base, exponent in powers.items()])
    number = se.Integer(1)
    below: Powers = {}
    for base, exponent in above.items():
        if base.is_Number:
            number = number * base ** (exponent * n)
        elif exponent < 0:
            turned = turned * base ** (exponent * n)
        else:
            below[base] = exponent * -n
    return _cancelled(turned * number, below)


def factors(e: Expr) -> Powers:
    """The factors of a product with their exponents; a factor with an exponent that is no number is its own base."""
    found: Powers = {}
    for factor in e.args if type(e) is classes.Mul else (e,):
        base, exponent = factor, ONE
        if type(factor) is classes.Pow:
            operands = factor.args
            if isinstance(operands[1], classes.Number):
                base, exponent = operands
        found[base] = exponent if base not in found else found[base] + exponent
    return found


def reduced(e: Expr, highest: Expr) -> Expr:
    """Without the factors, and the common factors of its terms, that do not hold the highest derivative; whole coefficients."""
    for _ in range(8):
        if type(e) is classes.Mul:
            holding = [base for base in factors(e) if se.has_symbol(base, highest)]
            if len(holding) != 1:
                raise Unwritable("the highest derivative is gone")
            e = holding[0]
        if type(e) is not classes.Add:
            break
        shared = _shared([factors(term) for term in e.args])
        if not shared:
            break
        divisor = se.Mul(*[base**-exponent for base, exponent in shared.items()])
        e = se.Add(*[term * divisor for term in e.args])
    if not se.has_symbol(e, highest):
        raise Unwritable("the highest derivative is gone")
    return _whole(e)


def _shared(terms: list[Powers]) -> Powers:
    """What every term has as a factor."""
    first, *others = terms
    found: Powers = {}
    for base, exponent in first.items():
        if base.is_Number:
            continue
        least = exponent
        for powers in others:
            other = powers.get(base)
            if other is None:
                break
            least = min(least, other)
        else:
            if least != 0:
                found[base] = least
    return found


def _whole(e: Expr) -> Expr:
    """A sum times the number that makes its coefficients whole and coprime."""
    if type(e) is not classes.Add:
        return e
    numbers = [_coefficient(term) for term in e.args]
    above = reduce(math.gcd, (abs(int(n.p)) if n.is_Rational else 1 for n in numbers))
    below = reduce(math.lcm, (int(n.q) if n.is_Rational else 1 for n in numbers))
    if above == below == 1 or not above:
        return e
    scale = se.Rational(below, above)
    return se.Add(*[term * scale for term in e.args])


def _coefficient(term: Expr) -> Expr:
    if term.is_Number:
        return term
    if type(term) is classes.Mul and term.args[0].is_Number:
        return term.args[0]
    return ONE


def expanded(e: Expr) -> Expr | None:
    """The expanded form; None where nothing is to expand or more than ``MOST_TERMS`` terms would come."""
    count, products = _terms(e)
    return e.expand() if products and count <= MOST_TERMS else None


def _terms(e: Expr) -> tuple[int, bool]:
    """(terms after expansion, whether any product is to be expanded), a bound from above."""
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
            return (math.comb(_terms(base)[0] + n - 1, n) if n <= MOST_TERMS else MOST_TERMS + 1), True
    return 1, False
