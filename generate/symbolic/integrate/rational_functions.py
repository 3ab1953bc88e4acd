"""Primitives of rational functions over the rationals: division, partial fractions, logarithms and arctangents.

p/q = s + sum_i sum_j a_ij / d_i^j, where the d_i are the linear and quadratic factors of q. Terms over (x - r) become logarithms
and powers; over a quadratic d with D = 4c - b^2 != 0, I_j = int dx / d^j follows
I_j = (2x + b) / ((j-1) D d^(j-1)) + 2 (2j-3) / ((j-1) D) I_(j-1). The module does not
integrate if the denominator has other factors or if degrees or coefficients exceed the limits. A polynomial is a list of fractions,
lowest power first, without trailing zeros.
"""

from __future__ import annotations

import math
from fractions import Fraction

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import Expr, X

Poly = list[Fraction]

MAX_DEGREE = 24
MAX_DIGITS = 12  # of a coefficient of a partial fraction
_ONE: Poly = [Fraction(1)]


def integrate_rational(e: Expr) -> Expr | None:
    """The primitive of a quotient of polynomials with rational coefficients; None for other
    integrands and beyond the limits.
    """
    quotient = as_quotient(e)
    if quotient is None:
        return None
    numerator, denominator = quotient
    if len(denominator) > 1:
        common = gcd(numerator, denominator)
        numerator, denominator = divide(numerator, common)[0], divide(denominator, common)[0]
    lead = denominator[-1]
    numerator, denominator = [c / lead for c in numerator], [c / lead for c in denominator]
    whole, rest = divide(numerator, denominator)
    total = _polynomial_primitive(whole)
    if not rest:
        return total
    factors = _factors(denominator)
    if factors is None:
        return None
    for factor, times in factors:
        part = _over_factor(rest, denominator, factor, times)
        if part is None:
            return None
        total += part
    return total


def as_quotient(e: Expr) -> tuple[Poly, Poly] | None:
    """(numerator, denominator) of an expression of x, rationals, sums, products and integer powers; None for others."""
    kind = type(e)
    if e == X:
        return [Fraction(0), Fraction(1)], _ONE
    if e.is_Number:
        return _number(e)
    if kind is classes.Pow:
        return _power_quotient(e)
    if kind is not classes.Add and kind is not classes.Mul:
        return None
    numerator: Poly = _ONE if kind is classes.Mul else []
    denominator: Poly = _ONE
    for child in e.args:
        quotient = as_quotient(child)
        if quotient is None:
            return None
        a, b = quotient
        if kind is classes.Mul:
            numerator, denominator = multiply(numerator, a), multiply(denominator, b)
        elif b == denominator:
            numerator = add(numerator, a)
        else:
            numerator, denominator = add(multiply(numerator, b), multiply(a, denominator)), multiply(denominator, b)
        if max(len(numerator), len(denominator)) > MAX_DEGREE + 1:
            return None
    return numerator, denominator


def _number(e: Expr) -> tuple[Poly, Poly] | None:
    if not isinstance(e, classes.Integer | classes.Rational):
        return None
    value = Fraction(int(e.p), int(e.q)) if isinstance(e, classes.Rational) else Fraction(int(e))
    return ([value] if value else []), _ONE


def _power_quotient(e: Expr) -> tuple[Poly, Poly] | None:
    base, exponent = e.args
    if not isinstance(exponent, classes.Integer) or abs(int(exponent)) > MAX_DEGREE:
        return None
    quotient = as_quotient(base)
    if quotient is None:
        return None
    n = int(exponent)
    a, b = quotient if n > 0 else quotient[::-1]
    n = abs(n)
    if not b or max(len(a) - 1, len(b) - 1) * n > MAX_DEGREE:
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
    """Monic linear and quadratic factors with their multiplicities; None if other factors remain."""
    factors_with_multiplicity: list[tuple[Poly, int]] = []
    common = gcd(a, differentiate(a))
    remaining, multiplicity = divide(a, common)[0], 1
    # Yun's algorithm: ``remaining`` is the product of the factors of at least the current multiplicity
    while len(remaining) > 1:
        repeated = gcd(remaining, common)
        pieces = _squarefree_factors(divide(remaining, repeated)[0])
        if pieces is None:
            return None
        factors_with_multiplicity += [(piece, multiplicity) for piece in pieces]
        common, remaining, multiplicity = divide(common, repeated)[0], repeated, multiplicity + 1
    return factors_with_multiplicity


def _squarefree_factors(a: Poly) -> list[Poly] | None:
    factors: list[Poly] = []
    for root in _rational_roots(a):
        factor = [-root, Fraction(1)]
        factors.append(factor)
        a = divide(a, factor)[0]
    a = [c / a[-1] for c in a]
    if len(a) == 5 and not a[1] and not a[3]:  # x^4 + p x^2 + q as (x^2 + r)(x^2 + s)
        root_of_discriminant = _square_root(a[2] * a[2] - 4 * a[0])
        if root_of_discriminant is not None:
            return [
                *factors,
                *([(a[2] + sign * root_of_discriminant) / 2, Fraction(0), Fraction(1)] for sign in (1, -1)),
            ]
    if len(a) > 3:
        return None
    return [*factors, a] if len(a) > 1 else factors


def _square_root(c: Fraction) -> Fraction | None:
    if c < 0:
        return None
    p, q = math.isqrt(c.numerator), math.isqrt(c.denominator)
    return Fraction(p, q) if p * p == c.numerator and q * q == c.denominator else None


def _rational_roots(a: Poly) -> list[Fraction]:
    scale = math.lcm(*(c.denominator for c in a))
    integer_coefficients = [int(c * scale) for c in a]
    roots = [] if integer_coefficients[0] else [Fraction(0)]
    lowest = next(c for c in integer_coefficients if c)
    if max(abs(lowest), abs(integer_coefficients[-1])) > 20_000:
        return roots
    for p in _divisors(abs(lowest)):
        for q in _divisors(abs(integer_coefficients[-1])):
            if math.gcd(p, q) == 1:
                roots += [r for r in (Fraction(p, q), Fraction(-p, q)) if not _value(a, r)]
    return roots


def _divisors(n: int) -> list[int]:
    small = [k for k in range(1, math.isqrt(n) + 1) if n % k == 0]
    return sorted({*small, *(n // k for k in small)})


def _value(a: Poly, x: Fraction) -> Fraction:
    total = Fraction(0)
    for c in reversed(a):
        total = total * x + c
    return total


def _over_factor(numerator: Poly, denominator: Poly, factor: Poly, times: int) -> Expr | None:
    """The primitive of the part of top / bottom whose denominators are powers of the factor."""
    modulus = power(factor, times)
    others = divide(denominator, modulus)[0]
    left = divide(multiply(numerator, _inverse(others, modulus)), modulus)[1]
    total = se.Integer(0)
    j = times
    while left:
        left, a = divide(left, factor)
        if any(max(abs(c.numerator), c.denominator) >= 10**MAX_DIGITS for c in a):
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
