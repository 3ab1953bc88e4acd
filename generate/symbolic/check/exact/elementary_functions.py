"""Elementary functions of polynomials over kernels, by rewrites that hold on principal branches."""

from __future__ import annotations

from math import lcm

from flint import fmpq

from mathpipe.generate.symbolic.check.exact.kernel_numbers import HALF, common_unit, content, prime_powers, sign_of
from mathpipe.generate.symbolic.check.exact.kernel_ring import MAX_POWER, NotProven, Polynomial, Restart
from mathpipe.generate.symbolic.check.exact.reciprocals import Condition, ReciprocalRing


class ElementaryFunctions(ReciprocalRing):
    """Exponentials, powers, logarithms, trigonometric functions and their inverses; signs."""

    def _multiple(self, key: str, coefficient: fmpq) -> int:
        """The coefficient in the unit of ``key``; starts again with a finer unit where it is no integer."""
        unit = self._units.get(key)
        if unit is None:
            self._units[key] = unit = abs(coefficient)
        ratio = coefficient / unit
        if ratio.denom() != 1:
            self._units[key] = common_unit(unit, coefficient)
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
        factor = content(numerator)
        radicand = numerator / factor
        if not denominator.is_one():
            radicand = self.multiply(radicand, self.inverse(denominator))
        result = self._number_power(factor, exponent)
        if radicand.is_one():
            return result
        inner = self._as_power(radicand)
        if inner is None:
            return self.multiply(result, self._root_power(radicand, exponent, branching=True))
        number, base, inner_exponent = inner
        return self.multiply(
            self.multiply(result, self._number_power(number, exponent)), self.power(base, inner_exponent * exponent)
        )

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

    def _as_power(self, p: Polynomial) -> tuple[fmpq, Polynomial, fmpq] | None:
        """(c, u, r) of p = c u^r with c > 0 and 0 < abs(r) < 1; None for other polynomials.

        The argument of such a power is r times that of u, so ln(c u^r) = ln c + r ln u and (c u^r)^s = c^s u^(r s) hold on
        principal branches, for real r and s. They do not for abs(r) > 1, nor for r = -1 and u < 0.
        """
        if all(self._kernels[i].kind != "root" for i in self._used(p)):
            return None
        numerator, denominator = self.normal(p)
        monomial = numerator.term_content()
        for position in self._used(monomial):
            kernel, exponent = self._kernels[position], int(monomial.degrees()[position])
            if kernel.kind != "root":
                continue
            rest = numerator / self._generators[position] ** exponent
            for power in (0, 1):
                number = rest if power == 0 else self.multiply(rest, kernel.argument)
                number = self.canonical(self.multiply(number, self.inverse(denominator)))
                if number.is_constant() and number.leading_coefficient() > 0:
                    exponent_of_base = fmpq(exponent, kernel.degree) - power
                    return number.leading_coefficient(), kernel.argument, exponent_of_base
        return None

    def _number_power(self, number: fmpq, exponent: fmpq) -> Polynomial:
        """A positive rational number to a rational power, a product over its primes."""
        result = self._one
        for prime, multiplicity in prime_powers(number):
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
        factor = content(numerator)
        total = self._null
        for prime, multiplicity in prime_powers(factor):
            total = (
                total
                + self._kernel("ln", str(prime), self._context.constant(prime), source=f"ln {prime}") * multiplicity
            )
        rest = numerator / factor
        if not denominator.is_one():
            rest = self.multiply(rest, self.inverse(denominator))
        if rest.is_one():
            return total
        power = self._as_power(rest)
        if power is not None:
            number, base, exponent = power
            return total + self.logarithm(self._context.constant(number)) + self.logarithm(base) * exponent
        text = str(rest)
        if f"inverse {text}" not in self._index and f"ln {text}" not in self._index:
            self._require_nonzero(rest)
        return total + self._kernel("ln", text, rest, branching=True, source=f"ln {rest}")

    def sine_and_cosine(self, p: Polynomial) -> tuple[Polynomial, Polynomial]:
        numerator, denominator = self.normal(p)
        if numerator.is_zero():
            return self._null, self._one
        factor = content(numerator) * sign_of(numerator)
        angle = numerator / factor
        if not denominator.is_one():
            angle = self.multiply(angle, self.inverse(denominator))
        special = self._sine_and_cosine_of_inverse(angle) if abs(factor) == 1 else None
        sine, cosine = special or self._sine_and_cosine_of_multiple(angle, abs(factor))
        return (sine if factor > 0 else -sine), cosine

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
        sign = sign_of(self.normal(u)[0]) if odd else 1
        u = u * sign
        branching = kind not in ("atan", "asinh") or self._is_constant(u) or self._has_reciprocals(u)  # jumps at poles
        return self._kernel(kind, str(u), u, branching=branching, source=f"{kind} {u}") * sign

    def sign(self, p: Polynomial) -> Polynomial:
        """The sign of a real function, whose square is 1."""
        numerator, denominator = self.normal(p)
        if numerator.is_zero():
            raise NotProven("the sign of zero")
        factor = content(numerator) * sign_of(numerator)
        u = numerator / factor
        if not denominator.is_one():
            u = self.multiply(u, self.inverse(denominator))
        sign = 1 if factor > 0 else -1
        if u.is_one():
            return self._context.constant(sign)
        text = str(u)
        if f"sign {text}" not in self._index:
            self._require_nonzero(u)
            if any(self._kernels[i].branching and self._kernels[i].kind != "sign" for i in self._used(u)):
                self.condition = Condition.EVERY_INTERVAL  # it may not be real
        return self._kernel("sign", text, u, degree=2, relation=self._one, branching=True) * sign

    def _imaginary_unit(self) -> Polynomial:
        return self._kernel("I", "", self._null, degree=2, relation=-self._one, branching=True)
