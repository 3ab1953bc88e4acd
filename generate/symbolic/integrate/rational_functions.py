"""Primitives of rational functions over the rationals: division, partial fractions, logarithms and arctangents.

p/q = s + sum_i sum_j a_ij / d_i^j, where the d_i are the linear and quadratic factors of q. Terms over (x - r) become logarithms
and powers; over a quadratic d with D = 4c - b^2 != 0, I_j = int dx / d^j follows
I_j = (2x + b) / ((j-1) D d^(j-1)) + 2 (2j-3) / ((j-1) D) I_(j-1). Denominators with other factors are given up, as are degrees and
coefficients beyond the limits. A polynomial is a list of fractions, lowest power first, without trailing zeros.
"""

from __future__ import annotations

import math
from fractions import Fraction

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import Expr, X

Poly = list[Fraction]

MOST_DEGREE = 24
MOST_DIGITS = 12  # of a coefficient that is factored or written
_ONE: Poly = [Fraction(1)]


def rational_primitive(e: Expr) -> Expr | None:
    """The primitive of a quotient of polynomials with rational coefficients; None where it is no such thing, or beyond us."""
    both = as_quotient(e)
    if both is None:
        return None
    top, bottom = both
    if len(bottom) > 1:
        common = gcd(top, bottom)
        top, bottom = divide(top, common)[0], divide(bottom, common)[0]
    lead = bottom[-1]
    top, bottom = [c / lead for c in top], [c / lead for c in bottom]
    whole, rest = divide(top, bottom)
    total = _polynomial_primitive(whole)
    if not rest:
        return total
    factors = _factors(bottom)
    if factors is None:
        return None
    for factor, times in factors:
        part = _over_factor(rest, bottom, factor, times)
        if part is None:
            return None
        total += part
    return total


def as_quotient(e: Expr) -> tuple[Poly, Poly] | None:
    """(numerator, denominator) of an expression of x, rationals, sums, products and integer powers."""
    kind = type(e)
    if e == X:
        return [Fraction(0), Fraction(1)], _ONE
    if e.is_Number:
        return _number(e)
    if kind is classes.Pow:
        return _power_quotient(e)
    if kind is not classes.Add and kind is not classes.Mul:
        return None
    top: Poly = _ONE if kind is classes.Mul else []
    bottom: Poly = _ONE
    for child in e.args:
        both = as_quotient(child)
        if both is None:
            return None
        a, b = both
        if kind is classes.Mul:
            top, bottom = multiply(top, a), multiply(bottom, b)
        elif b == bottom:
            top = add(top, a)
        else:
            top, bottom = add(multiply(top, b), multiply(a, bottom)), multiply(bottom, b)
        if max(len(top), len(bottom)) > MOST_DEGREE + 1:
            return None
    return top, bottom


def _number(e: Expr) -> tuple[Poly, Poly] | None:
    if not isinstance(e, classes.Integer | classes.Rational):
        return None
    value = Fraction(int(e.p), int(e.q)) if isinstance(e, classes.Rational) else Fraction(int(e))
    return ([value] if value else []), _ONE


def _power_quotient(e: Expr) -> tuple[Poly, Poly] | None:
    base, exponent = e.args
    if not isinstance(exponent, classes.Integer) or abs(int(exponent)) > MOST_DEGREE:
        return None
    both = as_quotient(base)
    if both is None:
        return None
    n = int(exponent)
    a, b = both if n > 0 else both[::-1]
    n = abs(n)
    if not b or max(len(a) - 1, len(b) - 1) * n > MOST_DEGREE:
        return None
    return power(a, n), power(b, n)


def add(a: Poly, b: Poly) -> Poly:
    """a + b."""
    if len(a) < len(b):
        a, b = b, a
    return _trimmed([c + (b[k] if k < len(b) else 0) for k, c in enumerate(a)])


def multiply(a: Poly, b: Poly) -> Poly:
    """a b."""
    if a == _ONE:
        return b
    if b == _ONE:
        return a
    if not a or not b:
        return []
    out = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, c in enumerate(a):
        if c:
            for j, d in enumerate(b):
                out[i + j] += c * d
    return out


def power(a: Poly, n: int) -> Poly:
    """a^n."""
    out = _ONE
    for _ in range(n):
        out = multiply(out, a)
    return out


def divide(a: Poly, b: Poly) -> tuple[Poly, Poly]:
    """(quotient, remainder)."""
    rest = list(a)
    quotient = [Fraction(0)] * max(len(a) - len(b) + 1, 0)
    for k in range(len(quotient) - 1, -1, -1):
        c = rest[k + len(b) - 1] / b[-1]
        quotient[k] = c
        if c:
            for j, d in enumerate(b):
                rest[k + j] -= c * d
    return _trimmed(quotient), _trimmed(rest[: len(b) - 1] if len(a) >= len(b) else rest)


def gcd(a: Poly, b: Poly) -> Poly:
    """The monic greatest common divisor."""
    while b:
        a, b = b, divide(a, b)[1]
    return [c / a[-1] for c in a] if a else _ONE


def differentiate(a: Poly) -> Poly:
    """a'."""
    return [k * c for k, c in enumerate(a)][1:]


def expression(a: Poly) -> Expr:
    """The polynomial as an expression."""
    return se.Add(*[number(c) * X**k for k, c in enumerate(a) if c])


def number(c: Fraction) -> Expr:
    """A fraction as an exact number."""
    return se.Integer(c.numerator) / se.Integer(c.denominator)


def _trimmed(a: Poly) -> Poly:
    while a and not a[-1]:
        a.pop()
    return a


def _polynomial_primitive(a: Poly) -> Expr:
    return expression([Fraction(0), *(c / (k + 1) for k, c in enumerate(a))])


def _factors(a: Poly) -> list[tuple[Poly, int]] | None:
    """Monic linear and quadratic factors with their powers; None where others are left or coefficients are large."""
    found: list[tuple[Poly, int]] = []
    common = gcd(a, differentiate(a))
    rest, times = divide(a, common)[0], 1
    while len(rest) > 1:  # Yun: rest holds every factor of power times or more, once
        further = gcd(rest, common)
        pieces = _squarefree_factors(divide(rest, further)[0])
        if pieces is None:
            return None
        found += [(piece, times) for piece in pieces]
        common, rest, times = divide(common, further)[0], further, times + 1
    return found


def _squarefree_factors(a: Poly) -> list[Poly] | None:
    found: list[Poly] = []
    for root in _rational_roots(a):
        factor = [-root, Fraction(1)]
        found.append(factor)
        a = divide(a, factor)[0]
    a = [c / a[-1] for c in a]
    if len(a) == 5 and not a[1] and not a[3]:  # x^4 + p x^2 + q as (x^2 + r)(x^2 + s)
        apart = _square_root(a[2] * a[2] - 4 * a[0])
        if apart is not None:
            return [*found, *([(a[2] + sign * apart) / 2, Fraction(0), Fraction(1)] for sign in (1, -1))]
    if len(a) > 3:
        return None
    return [*found, a] if len(a) > 1 else found


def _square_root(c: Fraction) -> Fraction | None:
    if c < 0:
        return None
    p, q = math.isqrt(c.numerator), math.isqrt(c.denominator)
    return Fraction(p, q) if p * p == c.numerator and q * q == c.denominator else None


def _rational_roots(a: Poly) -> list[Fraction]:
    scale = math.lcm(*(c.denominator for c in a))
    whole = [int(c * scale) for c in a]
    found = [] if whole[0] else [Fraction(0)]
    low = next(c for c in whole if c)
    if max(abs(low), abs(whole[-1])) > 20_000:
        return found
    for p in _divisors(abs(low)):
        for q in _divisors(abs(whole[-1])):
            if math.gcd(p, q) == 1:
                found += [r for r in (Fraction(p, q), Fraction(-p, q)) if not _value(a, r)]
    return found


def _divisors(n: int) -> list[int]:
    small = [k for k in range(1, math.isqrt(n) + 1) if n % k == 0]
    return sorted({*small, *(n // k for k in small)})


def _value(a: Poly, x: Fraction) -> Fraction:
    total = Fraction(0)
    for c in reversed(a):
        total = total * x + c
    return total


def _over_factor(top: Poly, bottom: Poly, factor: Poly, times: int) -> Expr | None:
    """The primitive of the part of top / bottom whose denominators are powers of the factor."""
    modulus = power(factor, times)
    others = divide(bottom, modulus)[0]
    left = divide(multiply(top, _inverse(others, modulus)), modulus)[1]
    total = se.Integer(0)
    j = times
    while left:
        left, a = divide(left, factor)
        if any(max(abs(c.numerator), c.denominator) >= 10**MOST_DIGITS for c in a):
            return None
        total += _term(a, factor, j)
        j -= 1
    return total


def _inverse(a: Poly, modulus: Poly) -> Poly:
    """b with a b = 1 modulo the modulus."""
    r0, r1 = modulus, divide(a, modulus)[1]
    s0: Poly = []
    s1: Poly = _ONE
    while len(r1) > 1:
        quotient, rest = divide(r0, r1)
        r0, r1 = r1, rest
        s0, s1 = s1, add(s0, [-c for c in multiply(quotient, s1)])
    return [c / r1[0] for c in s1]


def _term(a: Poly, factor: Poly, j: int) -> Expr:
    """The primitive of a / factor^j, a of lower degree than the factor."""
    if not a:
        return se.Integer(0)
    if len(factor) == 2:
        return number(a[0]) * _power_primitive(factor, j)
    c, b, _ = factor
    slope = a[1] if len(a) > 1 else Fraction(0)
    rest = a[0] - slope * b / 2
    total = number(slope / 2) * _power_primitive(factor, j) if slope else se.Integer(0)
    return total + number(rest) * _quadratic(b, c, j) if rest else total


def _power_primitive(factor: Poly, j: int) -> Expr:
    """The primitive of factor' / factor^j."""
    scale = Fraction(math.lcm(*(c.denominator for c in factor)))
    if j == 1:
        return se.log(expression([c * scale for c in factor]))
    return number(scale ** (j - 1) / (1 - j)) * expression([c * scale for c in factor]) ** (1 - j)


def _quadratic(b: Fraction, c: Fraction, j: int) -> Expr:
    """The primitive of 1 / (x^2 + b x + c)^j."""
    d = 4 * c - b * b
    shifted = X + number(b / 2)
    if j == 1:
        root = se.sqrt(number(abs(d) / 4))
        if d > 0:
            return se.atan(shifted / root) / root
        return (se.log(shifted - root) - se.log(shifted + root)) / (2 * root)
    before = 2 * shifted * expression([c, b, Fraction(1)]) ** (1 - j) / number((j - 1) * d)
    return before + number(Fraction(2 * (2 * j - 3)) / ((j - 1) * d)) * _quadratic(b, c, j - 1)
