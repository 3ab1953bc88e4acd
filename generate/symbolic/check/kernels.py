"""Expressions as polynomials over kernels, so that an identity is decided by exact arithmetic.

A kernel is a function that polynomials of other kernels cannot express: x, e^u, ln u, u^(1/n), sin u and cos u, atan u, |u|/u,
1/P. A value is a polynomial with rational coefficients in these. Kernels obey s^n = u (roots), w P = 1 (reciprocals),
sin^2 = 1 - cos^2, sign^2 = 1 and I^2 = -1; a polynomial that is zero after these relations is zero as a function.

Only rewrites that hold for principal branches at every complex argument are used: e^(u + v) = e^u e^v, e^(r ln u) = u^r,
ln(c u) = ln c + ln u and sqrt(c u) = sqrt(c) sqrt(u) for c > 0, sin(asin u) = u and the like. ln(e^u) = u, sqrt(u^2) = u and
sqrt(u v) = sqrt(u) sqrt(v) are not. abs and sign are those of real arguments.

Kernels need not be independent for a proof: dependent ones only hide identities, except in a denominator, which may vanish
identically although its polynomial does not. ``condition`` therefore says how much of definedness is left to evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from math import gcd, lcm
from typing import Any

from flint import fmpq, fmpq_mpoly_ctx, fmpz

from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import TOKENS

Polynomial = Any  # flint.fmpq_mpoly; python-flint has no complete type stubs

MAX_KERNELS = 32
FEW_KERNELS = 12  # tried first: arithmetic with fewer is faster
MAX_TERMS = 600
MAX_POWER = 24  # of a polynomial with several terms
MAX_EXPONENT = 4000  # of a kernel
MAX_RESTARTS = 6
LARGE_INTEGER, TRIAL_LIMIT = 10**15, 10_000  # integers above the first are divided by primes up to the second only


class NotProven(Exception):
    """The identity is not decided: too large, or a function that has no exact form here."""


class TooManyKernels(NotProven):
    """More kernels than the size allows."""


class Restart(Exception):
    """A finer unit of an exponent, angle or root was met: evaluate again with it."""


class Condition(IntEnum):
    """What else a proof needs: nothing, a defined value at one point, or one on every interval between branch points."""

    NONE = 0
    ONE_POINT = 1
    EVERY_INTERVAL = 2


@dataclass(frozen=True)
class _Kernel:
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


HALF = fmpq(1, 2)


@cache
def _ring(size: int) -> tuple[Any, tuple[Polynomial, ...], Polynomial, Polynomial]:
    """(the ring of polynomials in ``size`` kernels, its generators, 1, 0)."""
    context = fmpq_mpoly_ctx.get(("k", size), "degrevlex")
    return context, context.gens(), context.constant(1), context.constant(0)


class Kernels:
    """The kernels of one identity; values of trees and their derivatives.

    ``units``: for each exponent and angle (as text) the unit of which its coefficients are multiples, for each radicand the order
    of its root as 1 / n; shared by restarts. ``size``: the largest number of kernels.
    """

    def __init__(self, units: dict[str, fmpq], size: int = MAX_KERNELS) -> None:
        self._units, self._size = units, size
        self._context, self._generators, self._one, self._null = _ring(size)
        self._kernels: list[_Kernel] = []
        self._index: dict[str, int] = {}
        self._derivatives: dict[int, Polynomial] = {}
        self._values: dict[Tree, Polynomial] = {}
        self._inverses: list[int] = []
        self._algebraic: list[tuple[int, int]] = []
        self.condition = Condition.NONE
        self.x = self._kernel("x", "", self._null)

    def forget_values(self) -> None:
        """Forget the values of trees, before the same leaves get other values."""
        self._values.clear()

    def constant(self, name: str) -> Polynomial:
        """A free constant, such as c1."""
        return self._kernel("constant", name, self._null)

    # -- kernels -------------------------------------------------------------------------------------------------------

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
            self._kernels.append(_Kernel(kind, argument, degree, relation, branching, sources))
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

    def _is_one_logarithm(self, kernels: list[_Kernel], branching: _Kernel) -> bool:
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

    # -- arithmetic ----------------------------------------------------------------------------------------------------

    def multiply(self, a: Polynomial, b: Polynomial) -> Polynomial:
        if len(a) * len(b) > 8 * MAX_TERMS:
            raise NotProven("too many terms")
        product = a * b
        if len(product) > MAX_TERMS:
            raise NotProven("too many terms")
        return product

    def integer_power(self, u: Polynomial, n: int) -> Polynomial:
        if n < 0:
            return self.integer_power(self.inverse(u), -n)
        if n > (MAX_EXPONENT if len(u) <= 1 else MAX_POWER) or (len(u) > 1 and len(u) ** min(n, 6) > 40 * MAX_TERMS):
            raise NotProven("large power")
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
        parts: dict[int, dict[tuple[int, ...], Any]] = {}
        for exponents, coefficient in p.to_dict().items():
            quotient, rest = divmod(exponents[position], degree)
            lowered = (*exponents[:position], rest, *exponents[position + 1 :])
            parts.setdefault(quotient, {})[lowered] = coefficient
        total, power, done = self._null, self._one, 0
        for quotient in sorted(parts):
            if quotient - done > MAX_POWER:
                raise NotProven("large power")
            for _ in range(quotient - done):
                power = self.multiply(power, relation)
            done = quotient
            total = total + self.multiply(self._context.from_dict(parts[quotient]), power)
        return total

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
            parts: dict[int, dict[tuple[int, ...], Any]] = {}
            for exponents, coefficient in p.to_dict().items():
                lowered = (*exponents[:position], 0, *exponents[position + 1 :])
                parts.setdefault(exponents[position], {})[lowered] = coefficient
            p = self._null
            for exponent, terms in parts.items():
                p = p + self.multiply(self._context.from_dict(terms), self.integer_power(base, highest - exponent))
            denominator = self.multiply(denominator, self.integer_power(base, highest))
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

    # -- derivatives ---------------------------------------------------------------------------------------------------

    def derivative(self, p: Polynomial) -> Polynomial:
        """dp/dx by the chain rule over the kernels of p."""
        total = self._null
        for position in self._used(p):
            if position not in self._derivatives:
                self._derivatives[position] = self._derive(self._kernels[position], self._generators[position])
            slope = self._derivatives[position]
            if not slope.is_zero():
                total = total + self.multiply(p.derivative(position), slope)
        return total

    def _derive(self, kernel: _Kernel, k: Polynomial) -> Polynomial:
        u = kernel.argument
        if kernel.kind == "x":
            return self._one
        if kernel.kind in ("constant", "sign", "I", "pi"):
            return self._null
        slope = self.derivative(u)
        if slope.is_zero():
            return slope
        if kernel.kind == "inverse":
            return -self.multiply(slope, k**2)
        if kernel.kind == "root":
            return self.multiply(slope, self.multiply(k, self.inverse(u))) / kernel.degree
        if kernel.kind == "exp":
            return self.multiply(slope, k)
        if kernel.kind in ("sin", "cos"):
            sine, cosine = self._sine_and_cosine_kernels(u)
            return self.multiply(slope, cosine if kernel.kind == "sin" else -sine)
        return self.multiply(slope, self._slope_of_inverse_function(kernel.kind, u))

    def _slope_of_inverse_function(self, kind: str, u: Polynomial) -> Polynomial:
        """df/du of ln and of the inverse functions."""
        if kind == "ln":
            return self.inverse(u)
        square = self.multiply(u, u)
        if kind in ("atan", "atanh"):
            return self.inverse(1 + square if kind == "atan" else 1 - square)
        if kind in ("asin", "acos"):
            slope = self.inverse(self.power(1 - square, HALF))
            return slope if kind == "asin" else -slope
        if kind == "asinh":
            return self.inverse(self.power(1 + square, HALF))
        return self.inverse(self.multiply(self.power(u - 1, HALF), self.power(u + 1, HALF)))  # acosh

    # -- functions -----------------------------------------------------------------------------------------------------

    def _multiple(self, key: str, coefficient: fmpq) -> int:
        """The coefficient in the unit of ``key``; starts again with a finer unit where it is no integer."""
        unit = self._units.get(key)
        if unit is None:
            self._units[key] = unit = abs(coefficient)
        ratio = coefficient / unit
        if ratio.denom() != 1:
            self._units[key] = _common_unit(unit, coefficient)
            raise Restart
        return int(ratio.numer())

    def exponential(self, p: Polynomial) -> Polynomial:
        """e^p, a product over the terms of p."""
        numerator, denominator = self.normal(p)
        inverse = self._one if denominator.is_one() else self.inverse(denominator)
        result = self._one
        for exponents, coefficient in numerator.to_dict().items():
            term = self._context.from_dict({exponents: 1})
            factor = self._exponential_of_inverse(exponents, coefficient) if denominator.is_one() else None
            result = self.multiply(
                result,
                self._exponential_kernel(self.multiply(term, inverse), coefficient) if factor is None else factor,
            )
        return result

    def _exponential_kernel(self, term: Polynomial, coefficient: fmpq) -> Polynomial:
        key = f"exp {term}"
        multiple = self._multiple(key, coefficient)
        exponent = term * self._units[key]
        disguised = not term.is_constant() and self._is_constant(term)
        kernel = self._kernel("exp", str(exponent), exponent, branching=disguised, source=key)
        return self.integer_power(kernel, multiple)

    def _exponential_of_inverse(self, exponents: tuple[int, ...], coefficient: fmpq) -> Polynomial | None:
        """e^(r ln u) = u^r, and e^(n asinh u), e^(n acosh u), e^(n atanh u); None for other terms."""
        if sum(exponents) != 1:
            return None
        kernel = self._kernels[list(exponents).index(1)]
        u = kernel.argument
        if kernel.kind == "ln":
            return self.power(u, coefficient)
        if coefficient.denom() != 1 or kernel.kind not in ("asinh", "acosh", "atanh"):
            return None
        if kernel.kind == "atanh":  # (1 + u) / sqrt(1 - u^2)
            root = self.power(1 - self.multiply(u, u), HALF)
            return self.integer_power(self.multiply(1 + u, self.inverse(root)), int(coefficient.numer()))
        if kernel.kind == "asinh":
            root = self.power(1 + self.multiply(u, u), HALF)
        else:
            root = self.multiply(self.power(u - 1, HALF), self.power(u + 1, HALF))
        return self.integer_power(u + root, int(coefficient.numer()))

    def power(self, p: Polynomial, exponent: fmpq) -> Polynomial:
        """p^r on the principal branch."""
        if exponent.denom() == 1:
            return self.integer_power(p, int(exponent.numer()))
        numerator, denominator = self.normal(p)
        if numerator.is_zero():
            raise NotProven("a root of zero")
        content = _content(numerator)
        radicand = numerator / content
        if not denominator.is_one():
            radicand = self.multiply(radicand, self.inverse(denominator))
        result = self._number_power(content, exponent)
        if radicand.is_one():
            return result
        return self.multiply(result, self._root_power(radicand, exponent, branching=True))

    def _root_power(self, radicand: Polynomial, exponent: fmpq, *, branching: bool) -> Polynomial:
        key = f"root {radicand}"
        unit = fmpq(1, exponent.denom())
        previous_unit = self._units.setdefault(key, unit)
        order = lcm(int(previous_unit.denom()), int(unit.denom()))
        if order != int(previous_unit.denom()):
            self._units[key] = fmpq(1, order)
            raise Restart
        root = self._kernel(
            "root", f"{order} {radicand}", radicand, degree=order, relation=radicand, branching=branching
        )
        turns, rest = divmod(int((exponent * order).numer()), order)
        return self.multiply(self.integer_power(radicand, turns), root**rest)

    def _number_power(self, number: fmpq, exponent: fmpq) -> Polynomial:
        """A positive rational number to a rational power, a product over its primes."""
        result = self._one
        for prime, multiplicity in _prime_powers(number):
            power = exponent * multiplicity
            if power.denom() == 1:
                result = result * fmpq(prime) ** int(power.numer())
            else:
                result = self.multiply(result, self._root_power(self._context.constant(prime), power, branching=False))
        return result

    def logarithm(self, p: Polynomial) -> Polynomial:
        numerator, denominator = self.normal(p)
        if numerator.is_zero():
            raise NotProven("ln 0")
        content = _content(numerator)
        total = self._null
        for prime, multiplicity in _prime_powers(content):
            total = (
                total
                + self._kernel("ln", str(prime), self._context.constant(prime), source=f"ln {prime}") * multiplicity
            )
        rest = numerator / content
        if not denominator.is_one():
            rest = self.multiply(rest, self.inverse(denominator))
        if rest.is_one():
            return total
        text = str(rest)
        if f"inverse {text}" not in self._index and f"ln {text}" not in self._index:
            self._require_nonzero(rest)
        return total + self._kernel("ln", text, rest, branching=True, source=f"ln {rest}")

    def sine_and_cosine(self, p: Polynomial) -> tuple[Polynomial, Polynomial]:
        numerator, denominator = self.normal(p)
        if numerator.is_zero():
            return self._null, self._one
        content = _content(numerator) * _sign(numerator)
        angle = numerator / content
        if not denominator.is_one():
            angle = self.multiply(angle, self.inverse(denominator))
        special = self._sine_and_cosine_of_inverse(angle) if abs(content) == 1 else None
        sine, cosine = special or self._sine_and_cosine_of_multiple(angle, abs(content))
        return (sine if content > 0 else -sine), cosine

    def _sine_and_cosine_of_multiple(self, angle: Polynomial, coefficient: fmpq) -> tuple[Polynomial, Polynomial]:
        key = f"angle {angle}"
        multiple = self._multiple(key, coefficient)
        if multiple > MAX_POWER:
            raise NotProven("large multiple of an angle")
        sine, cosine = self._sine_and_cosine_kernels(angle * self._units[key])
        s, c, previous_s, previous_c = sine, cosine, self._null, self._one
        for _ in range(multiple - 1):
            s, previous_s = 2 * self.multiply(cosine, s) - previous_s, s
            c, previous_c = 2 * self.multiply(cosine, c) - previous_c, c
        return s, c

    def _sine_and_cosine_kernels(self, angle: Polynomial) -> tuple[Polynomial, Polynomial]:
        text, disguised = str(angle), self._is_constant(angle)
        cosine = self._kernel("cos", text, angle, branching=disguised, source=f"angle {text}")
        sine = self._kernel(
            "sin", text, angle, degree=2, relation=1 - cosine**2, branching=disguised, source=f"angle {text}"
        )
        return sine, cosine

    def _sine_and_cosine_of_inverse(self, angle: Polynomial) -> tuple[Polynomial, Polynomial] | None:
        """For the angles asin u, acos u and atan u, on principal branches."""
        used = self._used(angle)
        if (
            len(used) != 1
            or angle != self._generators[used[0]]
            or self._kernels[used[0]].kind not in ("asin", "acos", "atan")
        ):
            return None
        kind, u = self._kernels[used[0]].kind, self._kernels[used[0]].argument
        square = self.multiply(u, u)
        if kind == "atan":
            cosine = self.inverse(self.power(1 + square, HALF))
            return self.multiply(u, cosine), cosine
        root = self.power(1 - square, HALF)
        return (u, root) if kind == "asin" else (root, u)

    def inverse_function(self, kind: str, p: Polynomial) -> Polynomial:
        """asin, acos, atan, asinh, acosh, atanh; the odd ones of an argument with a positive leading coefficient."""
        u = self.canonical(p)
        if u.is_zero() and kind not in ("acos", "acosh"):
            return self._null
        odd = kind not in ("acos", "acosh")
        sign = _sign(self.normal(u)[0]) if odd else 1
        u = u * sign
        branching = kind not in ("atan", "asinh") or self._is_constant(u)
        return self._kernel(kind, str(u), u, branching=branching, source=f"{kind} {u}") * sign

    def sign(self, p: Polynomial) -> Polynomial:
        """The sign of a real function, whose square is 1."""
        numerator, denominator = self.normal(p)
        if numerator.is_zero():
            raise NotProven("the sign of zero")
        content = _content(numerator) * _sign(numerator)
        u = numerator / content
        if not denominator.is_one():
            u = self.multiply(u, self.inverse(denominator))
        sign = 1 if content > 0 else -1
        if u.is_one():
            return self._context.constant(sign)
        text = str(u)
        if f"sign {text}" not in self._index:
            self._require_nonzero(u)
            if any(self._kernels[i].branching and self._kernels[i].kind != "sign" for i in self._used(u)):
                self.condition = Condition.EVERY_INTERVAL  # it may not be real
        return self._kernel("sign", text, u, degree=2, relation=self._one, branching=True) * sign

    # -- trees ---------------------------------------------------------------------------------------------------------

    def value(self, tree: Tree, unknowns: Mapping[str, Polynomial]) -> Polynomial:
        """The polynomial of a tree; ``unknowns``: the polynomials of y and its derivatives. NotProven if it has none."""
        if isinstance(tree, int):
            return self._context.constant(tree)
        value = self._values.get(tree)
        if value is None:
            value = self._values[tree] = self._evaluate(tree, unknowns)
        return value

    def _evaluate(self, tree: tuple[Any, ...], unknowns: Mapping[str, Polynomial]) -> Polynomial:
        name = TOKENS[tree[0]]
        if len(tree) == 1:
            return self._leaf(name, unknowns)
        a = self.value(tree[1], unknowns)
        if len(tree) == 2:
            return self._unary(name, a)
        b = self.value(tree[2], unknowns)
        if name == "add":
            return a + b
        if name == "sub":
            return a - b
        if name == "mul":
            return self.multiply(a, b)
        if name == "div":
            return self.multiply(a, self.inverse(b))
        exponent = b if name == "pow" else self.inverse(b)
        if exponent.is_constant():
            return self.power(a, fmpq(0) if exponent.is_zero() else exponent.leading_coefficient())
        if not a.is_constant():
            self._require_nonzero(a)
        return self.exponential(self.multiply(exponent, self.logarithm(a)))

    def _leaf(self, name: str, unknowns: Mapping[str, Polynomial]) -> Polynomial:
        if name == "x":
            return self.x
        if name in unknowns:
            return unknowns[name]
        if name == "pi":
            return self._kernel("pi", "", self._null, source="pi")
        if name == "E":
            return self.exponential(self._one)
        if name == "I":
            return self._imaginary_unit()
        raise NotProven(f"no value for {name}")

    def _imaginary_unit(self) -> Polynomial:
        return self._kernel("I", "", self._null, degree=2, relation=-self._one, branching=True)

    def _unary(self, name: str, u: Polynomial) -> Polynomial:
        if name in _FIXED_POWERS:
            return self.integer_power(u, _FIXED_POWERS[name])
        if name == "sqrt":
            return self.power(u, HALF)
        if name == "exp":
            return self.exponential(u)
        if name == "ln":
            return self.logarithm(u)
        if name in ("abs", "sign"):
            sign = self.sign(u)
            return sign if name == "sign" else self.multiply(sign, u)
        if name in _RECIPROCALS:
            return self.inverse(self._unary(_RECIPROCALS[name], u))
        if name in _OF_RECIPROCALS:
            return self._unary(_OF_RECIPROCALS[name], self.inverse(u))
        if name in ("sin", "cos", "tan"):
            sine, cosine = self.sine_and_cosine(u)
            return sine if name == "sin" else cosine if name == "cos" else self.multiply(sine, self.inverse(cosine))
        if name in ("sinh", "cosh", "tanh"):
            return self._hyperbolic(name, u)
        return self.inverse_function(name, u)

    def _hyperbolic(self, name: str, u: Polynomial) -> Polynomial:
        e = self.exponential(u)
        inverse = self.inverse(e)
        if name == "sinh":
            return (e - inverse) / 2
        if name == "cosh":
            return (e + inverse) / 2
        return self.multiply(e - inverse, self.inverse(e + inverse))


_FIXED_POWERS = {"inv": -1, "pow2": 2, "pow3": 3, "pow4": 4, "pow5": 5}
_RECIPROCALS = {"cot": "tan", "sec": "cos", "csc": "sin", "coth": "tanh", "sech": "cosh", "csch": "sinh"}
_OF_RECIPROCALS = {"acot": "atan", "asec": "acos", "acsc": "asin", "acoth": "atanh", "asech": "acosh", "acsch": "asinh"}


def _content(p: Polynomial) -> fmpq:
    """The positive rational number by which p is a primitive polynomial with integer coefficients."""
    coefficients = p.coeffs()
    return fmpq(gcd(*(int(c.numer()) for c in coefficients)), lcm(*(int(c.denom()) for c in coefficients)))


def _sign(p: Polynomial) -> int:
    return -1 if p.leading_coefficient() < 0 else 1


def _common_unit(a: fmpq, b: fmpq) -> fmpq:
    """The largest number of which a and b are multiples."""
    return fmpq(gcd(int(a.numer() * b.denom()), int(b.numer() * a.denom())), int(a.denom() * b.denom()))


def _prime_powers(number: fmpq) -> list[tuple[int, int]]:
    """The prime powers of a positive rational number; a large factor of unknown primes counts as one."""
    powers = []
    for value, sign in ((fmpz(number.numer()), 1), (fmpz(number.denom()), -1)):
        if value > 1:
            factors = value.factor() if value < LARGE_INTEGER else value.factor(trial_limit=TRIAL_LIMIT)
            powers += [(int(prime), sign * exponent) for prime, exponent in factors]
    return powers
