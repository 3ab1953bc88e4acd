"""Expressions as polynomials over kernels, so that an identity is decided by exact arithmetic.

A kernel is a function that polynomials of other kernels cannot express: x, e^u, ln u, u^(1/n), sin u and cos u, atan u, |u|/u,
1/P. A value is a polynomial with rational coefficients in these. Kernels obey s^n = u (roots), w P = 1 (reciprocals),
sin^2 = 1 - cos^2, sign^2 = 1 and I^2 = -1; a polynomial that is zero after these relations is zero as a function.

Only rewrites that hold for principal branches at every complex argument are used: e^(u + v) = e^u e^v, e^(r ln u) = u^r,
ln(c u) = ln c + ln u and sqrt(c u) = sqrt(c) sqrt(u) for c > 0, sin(asin u) = u and the like. ln(e^u) = u, sqrt(u^2) = u and
sqrt(u v) = sqrt(u) sqrt(v) are not. abs and sign are those of real arguments.

This module holds the ring and its arithmetic, ``reciprocals`` division, ``elementary_functions`` the rewrites, ``kernels`` the
values of trees and their derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from flint import fmpq, fmpq_mpoly_ctx

Polynomial = Any  # flint.fmpq_mpoly; python-flint has no complete type stubs

MAX_KERNELS = 32
FEW_KERNELS = 12  # tried first: arithmetic with fewer is faster
MAX_TERMS = 3000
MAX_POWER = 24  # of a polynomial with several terms
MAX_EXPONENT = 4000  # of a kernel
MAX_BITS = 20_000  # of a coefficient
MAX_RESTARTS = 6


class NotProven(Exception):
    """The identity is not decided: too large, or a function that has no exact form here."""


class TooManyKernels(NotProven):
    """More kernels than the size allows."""


class Restart(Exception):
    """A finer unit of an exponent, angle or root was met: evaluate again with it."""


@dataclass(frozen=True)
class Kernel:
    """A function ``kind`` of the polynomial ``argument``; ``kernel^degree`` is the polynomial ``relation`` if degree > 0.

    ``branching``: it or its argument may be analytic on parts of the plane only, or be a constant that is zero in disguise.
    ``sources``: for each transcendental function it depends on (x apart) one, counted with nesting: one source has no hidden zeros.
    """

    kind: str
    argument: Polynomial
    degree: int
    relation: Polynomial
    branching: bool
    sources: frozenset[str]


@cache
def _ring(size: int) -> tuple[Any, tuple[Polynomial, ...], Polynomial, Polynomial]:
    """(the ring of polynomials in ``size`` kernels, its generators, 1, 0)."""
    context = fmpq_mpoly_ctx.get(("k", size), "degrevlex")
    return context, context.gens(), context.constant(1), context.constant(0)


class KernelRing:
    """The kernels of one identity, and arithmetic with polynomials in them.

    ``units``: for each exponent and angle (as text) the unit of which its coefficients are multiples, for each radicand the order
    of its root as 1 / n; shared by restarts. ``size``: the largest number of kernels.
    """

    def __init__(self, units: dict[str, fmpq], size: int = MAX_KERNELS) -> None:
        self._units, self._size = units, size
        self._context, self._generators, self._one, self._null = _ring(size)
        self._kernels: list[Kernel] = []
        self._index: dict[str, int] = {}
        self._inverses: list[int] = []
        self._algebraic: list[tuple[int, int]] = []
        self.x = self._kernel("x", "", self._null)

    def _kernel(
        self,
        kind: str,
        key: str,
        argument: Polynomial,
        *,
        degree: int = 0,
        relation: Polynomial = None,
        branching: bool = False,
        source: str = "",
    ) -> Polynomial:
        """The generator of this kernel, created at its first use."""
        name = f"{kind} {key}"
        position = self._index.get(name)
        if position is None:
            used = self._used(argument)
            position = len(self._kernels)
            if position >= self._size:
                raise TooManyKernels("too many kernels")
            branching = branching or any(self._kernels[i].branching for i in used)
            inner = frozenset[str]().union(*(self._kernels[i].sources for i in used))
            sources = inner | {source} if source else inner
            self._index[name] = position
            self._kernels.append(Kernel(kind, argument, degree, relation, branching, sources))
            if kind == "inverse":
                self._inverses.append(position)
            elif degree:
                self._algebraic.append((position, degree))
        return self._generators[position]

    def _used(self, p: Polynomial) -> list[int]:
        return [] if p.is_constant() else [i for i, d in enumerate(p.degrees()[: len(self._kernels)]) if d]

    def _is_constant(self, p: Polynomial) -> bool:
        """Whether p is free of x and of c1, c2."""
        if p.is_constant():
            return True
        return all(self._kernels[i].kind not in ("x", "constant") and self._constant_kernel(i) for i in self._used(p))

    def _constant_kernel(self, position: int) -> bool:
        kernel = self._kernels[position]
        return kernel.kind in ("pi", "I") or (
            kernel.kind not in ("x", "constant") and self._is_constant(kernel.argument)
        )

    def multiply(self, a: Polynomial, b: Polynomial) -> Polynomial:
        if len(a) * len(b) > 8 * MAX_TERMS:
            raise NotProven("too many terms")
        product = a * b
        if len(product) > MAX_TERMS:
            raise NotProven("too many terms")
        return product

    def natural_power(self, u: Polynomial, n: int) -> Polynomial:
        if n > (MAX_EXPONENT if len(u) <= 1 else MAX_POWER) or (len(u) > 1 and len(u) ** min(n, 6) > 40 * MAX_TERMS):
            raise NotProven("large power")
        if n > 1 and n * max((c.height_bits() for c in u.coeffs()), default=0) > MAX_BITS:
            raise NotProven("large coefficients")
        power = u**n
        if len(power) > MAX_TERMS or (len(power) == 1 and max(power.degrees()) > MAX_EXPONENT):
            raise NotProven("large power")
        return power

    def reduce(self, p: Polynomial) -> Polynomial:
        """p with every algebraic kernel below its degree."""
        if not self._algebraic or p.is_constant():
            return p
        degrees = p.degrees()
        for position, degree in reversed(self._algebraic):
            if degrees[position] >= degree:
                p = self._reduce_kernel(p, position, degree)
                degrees = p.degrees()
        return p

    def _reduce_kernel(self, p: Polynomial, position: int, degree: int) -> Polynomial:
        """Replace k^(q n + r) by k^r times the q-th power of the polynomial that k^n is."""
        relation = self._kernels[position].relation
        total, power, done = self._null, self._one, 0
        for exponent, part in reversed(self._parts(p, position, degree)):
            quotient = exponent // degree
            if quotient - done > MAX_POWER:
                raise NotProven("large power")
            for _ in range(quotient - done):
                power = self.multiply(power, relation)
            done = quotient
            total = total + self.multiply(part, power)
        return total

    def _parts(self, p: Polynomial, position: int, degree: int = 1) -> list[tuple[int, Polynomial]]:
        """[(exponent, part)] with p = the sum of part * kernel^exponent, the exponents descending multiples of the degree."""
        kernel, parts = self._generators[position], []
        while not p.is_zero() and (exponent := int(p.degrees()[position]) // degree * degree):
            part, p = divmod(p, kernel**exponent)
            parts.append((exponent, part))
        return [*parts, (0, p)]

    def clear(self, p: Polynomial) -> tuple[Polynomial, Polynomial]:
        """(numerator, denominator) without reciprocal kernels."""
        denominator = self._one
        if not self._inverses or p.is_constant():
            return p, denominator
        degrees = p.degrees()
        for position in self._inverses:
            highest = int(degrees[position])
            if not highest:
                continue
            base = self._kernels[position].argument
            parts, p = self._parts(p, position), self._null
            for exponent, part in parts:
                p = p + self.multiply(part, self.natural_power(base, highest - exponent))
            denominator = self.multiply(denominator, self.natural_power(base, highest))
        return p, denominator

    def is_zero(self, p: Polynomial) -> bool:
        """Whether p is zero by the relations among its kernels."""
        for _ in range(MAX_RESTARTS):
            p = self.reduce(p)
            if p.is_zero():
                return True
            p, denominator = self.clear(p)
            if p.is_zero() or denominator.is_one():
                return bool(p.is_zero())
        raise NotProven("relations nested too deep")

    def _without_reciprocals(self, p: Polynomial) -> tuple[Polynomial, Polynomial]:
        """(numerator, denominator), reduced and without reciprocals; those of relations are cleared, too."""
        total = self._one
        if self._is_plain(p):
            return p, total
        for _ in range(MAX_RESTARTS):
            p, denominator = self.clear(self.reduce(p))
            p, total = self.reduce(p), self.multiply(total, denominator)
            if not self._has_reciprocals(p):
                total = self.reduce(total)
                if not self._has_reciprocals(total):
                    return p, total
        raise NotProven("relations nested too deep")

    def _is_plain(self, p: Polynomial) -> bool:
        """Whether p has no reciprocals and is reduced."""
        degrees = p.degrees()
        for i in self._inverses:
            if degrees[i]:
                return False
        return all(degrees[i] < degree for i, degree in self._algebraic)

    def _has_reciprocals(self, p: Polynomial) -> bool:
        if not self._inverses or p.is_constant():
            return False
        degrees = p.degrees()
        return any(degrees[i] for i in self._inverses)
