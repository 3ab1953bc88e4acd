"""Division of polynomials over kernels: reciprocal kernels, lowest terms, and what must be known for a divisor not to vanish.

Kernels need not be independent for a proof: dependent ones only hide identities, except in a denominator, which may vanish
identically although its polynomial does not. ``condition`` therefore says how much of definedness is left to evaluation.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from flint import fmpq

from mathpipe.generate.symbolic.check.exact.kernel_ring import Kernel, KernelRing, NotProven, Polynomial


class Condition(IntEnum):
    """What else a proof needs: nothing, a defined value at one point, or one on every interval between branch points."""

    NONE = 0
    ONE_POINT = 1
    EVERY_INTERVAL = 2


class ReciprocalRing(KernelRing):
    """Polynomials over kernels with division."""

    def __init__(self, units: dict[str, fmpq], size: int) -> None:
        super().__init__(units, size)
        self.condition = Condition.NONE

    def _require_nonzero(self, p: Polynomial) -> None:
        """Note what must be evaluated to know that p, which is not zero as a polynomial, is not zero as a function on an interval.

        A square root s is removed by the norm (a + b s)(a - b s). A logarithm has infinitely many branches ln u + 2 pi i k and p
        is a polynomial in it, so p is zero on an interval only if its coefficients are.
        """
        used = self._used(p)
        while branching := [i for i in used if self._kernels[i].branching]:
            if self._kernels[branching[-1]].degree != 2:
                break
            p = self._norm(p, branching[-1])
            if p.is_zero():
                break
            used = self._used(p)
        kernels = [self._kernels[i] for i in used]
        if len(branching) > 1 or (branching and not self._is_one_logarithm(kernels, self._kernels[branching[0]])):
            self.condition = Condition.EVERY_INTERVAL
        elif len(frozenset[str]().union(*(k.sources for k in kernels))) > 1:
            self.condition = max(self.condition, Condition.ONE_POINT)

    def _norm(self, p: Polynomial, position: int) -> Polynomial:
        """(a + b s)(a - b s) = a^2 - b^2 s^2 of p = a + b s, without reciprocals."""
        parts: tuple[dict[tuple[int, ...], Any], dict[tuple[int, ...], Any]] = ({}, {})
        for exponents, coefficient in p.to_dict().items():
            lowered = (*exponents[:position], 0, *exponents[position + 1 :])
            parts[exponents[position]][lowered] = coefficient
        a, b = (self._context.from_dict(part) for part in parts)
        square = self.multiply(b, b)
        return self._without_reciprocals(self.multiply(a, a) - self.multiply(square, self._kernels[position].relation))[
            0
        ]

    def _is_one_logarithm(self, kernels: list[Kernel], branching: Kernel) -> bool:
        """Whether the only branching kernel is a logarithm or inverse function of a rational function, the others single-valued."""
        if branching.kind not in ("ln", "asin", "acos", "acosh", "atanh") or not self._is_rational(branching.argument):
            return False
        others = [k for k in kernels if k is not branching]
        return all(not source.startswith(("atan ", "asinh ")) for k in others for source in k.sources)

    def _is_rational(self, p: Polynomial) -> bool:
        """Whether p is a rational function of x with rational coefficients, and not constant."""
        kernels = [self._kernels[i] for i in self._used(p)]
        return bool(kernels) and all(
            k.kind == "x" or (k.kind == "inverse" and self._is_rational(k.argument)) for k in kernels
        )

    def integer_power(self, u: Polynomial, n: int) -> Polynomial:
        return self.natural_power(u, n) if n >= 0 else self.natural_power(self.inverse(u), -n)

    def normal(self, p: Polynomial) -> tuple[Polynomial, Polynomial]:
        """(numerator, denominator) in lowest terms, the denominator with leading coefficient 1, without reciprocals."""
        if p.is_constant():
            return p, self._one
        p, denominator = self._without_reciprocals(p)
        if denominator.is_one():
            return p, self._one
        if p.is_zero():
            return self._null, self._one
        divisor = p.gcd(denominator)
        if not divisor.is_constant():
            p, denominator = p / divisor, denominator / divisor
        leading = denominator.leading_coefficient()
        return p / leading, denominator / leading

    def canonical(self, p: Polynomial) -> Polynomial:
        """p in lowest terms, as a polynomial of kernels."""
        numerator, denominator = self.normal(p)
        return numerator if denominator.is_one() else self.multiply(numerator, self.inverse(denominator))

    def inverse(self, p: Polynomial) -> Polynomial:
        """1 / p; raises NotProven where p is zero."""
        if p.is_constant():
            if p.is_zero():
                raise NotProven("division by zero")
            return self._context.constant(1 / p.leading_coefficient())
        numerator, denominator = self._without_reciprocals(p)
        if numerator.is_zero():
            raise NotProven("division by zero")
        if numerator.is_constant():
            return denominator / numerator.leading_coefficient()
        monomial = numerator.term_content()
        rest = numerator / monomial
        leading = rest.leading_coefficient()
        result = denominator / (leading * monomial.leading_coefficient())
        for position, exponent in enumerate(monomial.degrees()):
            if exponent:
                result = self.multiply(result, self._inverse_of_kernel(position, int(exponent)))
        rest = rest / leading
        return result if rest.is_constant() else self.multiply(result, self._reciprocal(rest))

    def _inverse_of_kernel(self, position: int, exponent: int) -> Polynomial:
        kernel, generator = self._kernels[position], self._generators[position]
        if kernel.kind in ("root", "sign", "I"):
            turns = -(-exponent // kernel.degree)
            return generator ** (turns * kernel.degree - exponent) * self.integer_power(
                self.inverse(kernel.relation), turns
            )
        return self.integer_power(self._reciprocal(generator), exponent)

    def _reciprocal(self, p: Polynomial) -> Polynomial:
        """The kernel 1 / p, for p without reciprocal kernels and with leading coefficient 1."""
        text = str(p)
        if f"inverse {text}" not in self._index:
            self._require_nonzero(p)
        return self._kernel("inverse", text, p)
