"""Cheap proofs of F' = f: symengine's expanded difference, or its expanded numerator, is zero.

This decides most generated pairs at a tenth of the cost of polynomials over kernels (``kernels``), which decide the others.

symengine's own rewrites were compared with values at points on and off the cuts (``tests/generate/symbolic``): they hold on
principal branches, but for (1/u)^r = u^-r, which fails for u < 0. So an expression with a non-integer power of a reciprocal is not
decided here. abs, sign, and inverse functions of reciprocals are not either.

The derivative of acosh is 1/(sqrt(u - 1) sqrt(u + 1)), not symengine's 1/sqrt(u^2 - 1), which has other signs.

A divisor that is zero in disguise could hide in F. F' is asked for where f is defined, so nothing is left to check if f divides by
the same. Otherwise F' and f must have values at one point (``isolated_zeros`` says when that suffices): a divisor that is zero on
an interval must be zero everywhere.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import chain
from math import comb
from typing import Any

import numpy as np
import symengine as se

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import parse
from mathpipe.generate.symbolic.check.exact.expression_table import ExpressionTable
from mathpipe.generate.symbolic.check.exact.isolated_zeros import derivative_has_isolated_singularities
from mathpipe.generate.symbolic.check.exact.reciprocals import Condition
from mathpipe.generate.symbolic.check.exact.symengine_expressions import ONE, UNDECIDED, ZERO, Expression
from mathpipe.generate.symbolic.check.exact.term_counts import MAX_TERMS
from mathpipe.generate.symbolic.numeric.array_programs import Ints, Program, compile_expressions

MAX_ROUNDS = 4  # of multiplications by denominators


def expand_identity(f: bytes, primitive: bytes) -> Condition | None:
    """What is left to check about F' = f if F' - f multiplies out to zero; None if it does not, or if that is not known.

    ``f``, ``primitive``: well-formed prefix sequences.
    """
    sequences = Sequences.from_list([f, primitive])
    return expand_identities(sequences, compile_expressions(sequences), np.zeros(1, dtype=np.int64))[0]


def expand_identities(sequences: Sequences, program: Program, rows: Ints) -> list[Condition | None]:
    """The same for pairs of a program that holds n integrands and then n primitives; ``rows``: of well-formed pairs."""
    n = len(sequences) // 2
    table = ExpressionTable(sequences, program, np.concatenate([rows, rows + n]))
    return [_expand(table, i, n + i, sequences) for i in rows.tolist()]


def _expand(table: ExpressionTable, f: int, primitive: int, sequences: Sequences) -> Condition | None:
    try:
        if table.bounds(f)[0] + table.bounds(primitive)[1] > MAX_TERMS:
            return None
        residual = table.derivative(primitive) - table.value(f)
        if residual != ZERO and not is_zero(se.expand(residual)):
            return None
        if table.factors_of_derivative(primitive) <= table.factors_of_divisors(f):
            return Condition.NONE
    except UNDECIDED:
        return None
    return Condition.ONE_POINT if derivative_has_isolated_singularities(parse(sequences[primitive])) else None


def is_zero(expanded: Expression, limit: int = MAX_TERMS) -> bool:
    """Whether an expanded expression is zero, or is after multiplication by the denominators of its terms.

    ``limit``: the most terms of a product. symengine's ``as_numer_denom`` is not used: it takes sqrt(a/b) for sqrt(a)/sqrt(b).
    """
    for _ in range(MAX_ROUNDS):
        if expanded == ZERO or not expanded.is_Add:
            return bool(expanded == ZERO)
        cleared = _clear(expanded, limit)
        if cleared is None:
            return False
        expanded = cleared
    return bool(expanded == ZERO)


def _clear(expanded: Expression, limit: int) -> Expression | None:
    """A sum multiplied by its denominators, b^(n + r) as the n-th power of b, multiplied out, times b^r with 0 <= r < 1.

    None if every exponent is such an r, or if the result may have more terms than the limit.
    """
    powers_by_factor: dict[Expression, _Power | None] = {}
    groups: dict[frozenset[_Power], list[Expression]] = {}
    for term in expanded.args:
        rest, powers = _split_term(term, powers_by_factor)
        groups.setdefault(powers, []).append(rest)
    lowest: dict[Expression, int] = {}
    highest = 0
    for base, numerator, denominator in chain.from_iterable(groups):
        n = numerator // denominator
        lowest[base], highest = min(lowest.get(base, 0), n), max(highest, n)
    if not highest and not any(lowest.values()):
        return None
    size, products = 0, []
    for powers, rests in groups.items():
        group_size, factors = len(rests), [se.Add(*rests)]
        exponents = {base: (numerator, denominator) for base, numerator, denominator in powers}
        for base, least in lowest.items():
            numerator, denominator = exponents.get(base, (0, 1))
            n, remainder = divmod(numerator, denominator)
            n -= least
            if n:
                group_size *= comb(len(base.args) + n - 1, n) if base.is_Add else 1
                factors.append(base**n)
            if remainder:
                factors.append(base ** se.Rational(remainder, denominator))
        size += group_size
        products.append(factors)
    return None if size > limit else se.Add(*[se.expand(se.Mul(*factors)) for factors in products])


_Power = tuple[Expression, int, int]
"""A base, and the numerator and denominator of its exponent."""


def _split_term(
    term: Expression, powers_by_factor: dict[Expression, _Power | None]
) -> tuple[Expression, frozenset[_Power]]:
    """(other factors, the exponents of sums and of what roots are taken of); ``powers_by_factor``: of those met before."""
    rest: list[Expression] = []
    powers: dict[Expression, _Power] = {}
    for factor in term.args if term.is_Mul else (term,):
        power = powers_by_factor.get(factor, _NEW)
        if power is _NEW:
            power = powers_by_factor[factor] = _power_of_sum_or_root(factor)
        if power is None:
            rest.append(factor)
        else:
            powers[power[0]] = _product(powers[power[0]], power) if power[0] in powers else power
    return se.Mul(*rest), frozenset(powers.values())


_NEW: Any = object()


def _power_of_sum_or_root(factor: Expression) -> _Power | None:
    base, exponent = factor.args if factor.is_Pow else (factor, ONE)
    if exponent.is_Rational and (base.is_Add or not (exponent.is_Integer or base.is_Symbol or base.is_Number)):
        return base, int(exponent.p), int(exponent.q)
    return None


def _product(a: _Power, b: _Power) -> _Power:
    exponent = Fraction(a[1], a[2]) + Fraction(b[1], b[2])
    return a[0], exponent.numerator, exponent.denominator
