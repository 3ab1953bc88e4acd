"""Rational numbers for kernels: content and sign of a polynomial, common units, prime powers."""

from __future__ import annotations

from math import gcd, lcm

from flint import fmpq, fmpz

from mathpipe.generate.symbolic.check.exact.kernel_ring import Polynomial

HALF = fmpq(1, 2)
LARGE_INTEGER, TRIAL_LIMIT = 10**15, 10_000  # integers above the first are divided by primes up to the second only


def content(p: Polynomial) -> fmpq:
    """The positive rational number by which p is a primitive polynomial with integer coefficients."""
    coefficients = p.coeffs()
    return fmpq(gcd(*(int(c.numer()) for c in coefficients)), lcm(*(int(c.denom()) for c in coefficients)))


def sign_of(p: Polynomial) -> int:
    return -1 if p.leading_coefficient() < 0 else 1


def common_unit(a: fmpq, b: fmpq) -> fmpq:
    """The largest number of which a and b are multiples."""
    return fmpq(gcd(int(a.numer() * b.denom()), int(b.numer() * a.denom())), int(a.denom() * b.denom()))


def prime_powers(number: fmpq) -> list[tuple[int, int]]:
    """The prime powers of a positive rational number; a large factor of unknown primes counts as one."""
    powers = []
    for value, sign in ((fmpz(number.numer()), 1), (fmpz(number.denom()), -1)):
        if value > 1:
            factors = value.factor() if value < LARGE_INTEGER else value.factor(trial_limit=TRIAL_LIMIT)
            powers += [(int(prime), sign * exponent) for prime, exponent in factors]
    return powers
