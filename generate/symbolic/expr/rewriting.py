"""Rewriting of canonical forms within counted limits: expansion, polynomials in x, common exponentials, products of sines."""

from __future__ import annotations

import math
from fractions import Fraction

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import Expr, X

MAX_TERMS = 120
MAX_DEGREE = 12  # of a polynomial factor
Coefficients = dict[int, Expr]


def has_x(e: Expr) -> bool:
    """Whether x occurs."""
    return X in e.free_symbols


def expanded_term_bound(e: Expr) -> int:
    """An upper bound on the number of terms of the expanded form."""
    kind = type(e)
    if kind is classes.Add:
        return sum(expanded_term_bound(child) for child in e.args)
    if kind is classes.Mul:
        return math.prod(expanded_term_bound(child) for child in e.args)
    if kind is classes.Pow:
        base, exponent = e.args
        if isinstance(exponent, classes.Integer) and 1 < int(exponent) <= 100:
            return math.comb(expanded_term_bound(base) + int(exponent) - 1, int(exponent))
    return 1


def expand_if_small(e: Expr) -> Expr:
    """Multiply out sums if at most ``MAX_TERMS`` terms result; else return e. Operands of functions are left unchanged."""
    if not 1 < expanded_term_bound(e) <= MAX_TERMS:
        return e
    names: dict[Expr, Expr] = {}
    named = _name_kernels(e, names)
    return se.expand(named).xreplace({name: part for part, name in names.items()})


def _name_kernels(e: Expr, names: dict[Expr, Expr]) -> Expr:
    """Replace each function, root and reciprocal of a sum by a symbol."""
    kind = type(e)
    if kind is classes.Add or kind is classes.Mul:
        return e.func(*[_name_kernels(child, names) for child in e.args])
    if kind is classes.Symbol or e.is_Number:
        return e
    if kind is classes.Pow and isinstance(e.args[1], classes.Integer):
        base, n = e.args
        if int(n) > 0 or type(base) is not classes.Add:
            return _name_kernels(base, names) ** n
    return names.setdefault(e, se.Symbol(f"_{len(names)}"))


def factors(e: Expr) -> tuple[Expr, ...]:
    """The factors of a product; (e,) for any other expression."""
    return tuple(e.args) if type(e) is classes.Mul else (e,)


def split_constant(e: Expr) -> tuple[Expr, Expr]:
    """(product of the factors that do not depend on x, product of the rest)."""
    if type(e) is not classes.Mul:
        return (se.Integer(1), e) if has_x(e) else (e, se.Integer(1))
    constant = [child for child in e.args if not has_x(child)]
    return se.Mul(*constant), se.Mul(*[child for child in e.args if has_x(child)])


def factor_out_content(e: Expr) -> Expr:
    """Write every sum as its rational content and lowest power of x times the rest: 2x^2 + 4x = 2 x (x + 2)."""
    kind = type(e)
    if kind is classes.Add:
        children = [factor_out_content(child) for child in e.args]
        numbers, lowest = [], None
        for child in children:
            number, power = _content(child)
            numbers.append(number)
            lowest = power if lowest is None else min(lowest, power)
        content = Fraction(math.gcd(*(n.numerator for n in numbers)), math.lcm(*(n.denominator for n in numbers)))
        common = se.Rational(content.numerator, content.denominator) * X ** (lowest or 0)
        if common == 1:
            return se.Add(*children)
        return common * se.Add(*[child / common for child in children])
    if kind is classes.Mul:
        return se.Mul(*[factor_out_content(child) for child in e.args])
    if kind is classes.Pow and isinstance(e.args[1], classes.Integer):
        return factor_out_content(e.args[0]) ** e.args[1]
    if kind is classes.Pow and type(e.args[0]) is classes.Pow and isinstance(e.args[0].args[1], classes.Half):
        return e.args[0].args[0] ** (e.args[0].args[1] * e.args[1])  # sqrt(u)^r is u^(r/2) on every branch
    return e


def _content(term: Expr) -> tuple[Fraction, int]:
    """(rational coefficient, integer power of x) of a term."""
    number, power = Fraction(1), 0
    for child in factors(term):
        if isinstance(child, classes.Rational):
            number *= Fraction(int(child.p), int(child.q))
        elif child == X:
            power += 1
        elif type(child) is classes.Pow and child.args[0] == X and isinstance(child.args[1], classes.Integer):
            power += int(child.args[1])
    return number, power


def coefficients(e: Expr) -> Coefficients | None:
    """Coefficients of a polynomial by power of x (they may contain other constants); None if e is no polynomial in x."""
    if not _algebraic(e):
        return None
    by_power: Coefficients = {}
    e = expand_if_small(e)
    for term in e.args if type(e) is classes.Add else (e,):
        constant, rest = split_constant(term)
        if rest == 1:
            power = 0
        elif rest == X:
            power = 1
        elif type(rest) is classes.Pow and rest.args[0] == X and isinstance(rest.args[1], classes.Integer):
            power = int(rest.args[1])
        else:
            return None
        if not 0 <= power <= MAX_DEGREE:
            return None
        by_power[power] = by_power.get(power, se.Integer(0)) + constant
    return by_power


def _algebraic(e: Expr) -> bool:
    """Whether x occurs only in sums, products and positive integer powers."""
    kind = type(e)
    if kind is classes.Symbol or e.is_Number:
        return True
    if kind is classes.Add or kind is classes.Mul:
        return all(_algebraic(child) for child in e.args)
    if kind is classes.Pow and isinstance(e.args[1], classes.Integer):
        return (int(e.args[1]) > 0 and _algebraic(e.args[0])) or not has_x(e)
    return not has_x(e)


def as_shifted_monomial(u: Expr) -> tuple[Expr, Expr, int] | None:
    """(a, b, n) of u = a x^n + b with n > 0; None if u has another form."""
    shape = coefficients(u)
    if shape is None:
        return None
    powers = [n for n, c in shape.items() if n and c != 0]
    if len(powers) != 1:
        return None
    return shape[powers[0]], shape.get(0, se.Integer(0)), powers[0]


def substitution_candidates(e: Expr, limit: int) -> list[Expr]:
    """Up to ``limit`` distinct parts that depend on x: functions, bases of powers, and their arguments; outermost first."""
    candidates: dict[Expr, None] = {}
    level = [e]
    while level and len(candidates) < limit:
        below: list[Expr] = []
        for part in level:
            kind = type(part)
            if kind is classes.Symbol or part.is_Number:
                continue
            if kind not in (classes.Mul, classes.Add, classes.Pow) and has_x(part):
                candidates.setdefault(part)
            for child in part.args:
                if kind not in (classes.Mul, classes.Add) and type(child) is not classes.Symbol and has_x(child):
                    candidates.setdefault(child)
                below.append(child)
            if kind is classes.Pow and part.args[0] == se.E:
                candidates.setdefault(part)
        level = below
    return list(candidates)[:limit]


def product_to_sum(e: Expr) -> Expr | None:
    """Rewrite products and powers of sines and cosines as sums of single ones; None if there are none."""
    sines: list[Expr] = []
    others: list[Expr] = []
    for child in factors(e):
        base, times = child, 1
        if type(child) is classes.Pow and isinstance(child.args[1], classes.Integer):
            base, times = child.args[0], int(child.args[1])
        if type(base) in (classes.sin, classes.cos) and 0 < times <= 5:
            sines += [base] * times
        else:
            others.append(child)
    if not 2 <= len(sines) <= 6:
        return None
    total = [(se.Integer(1), sines[0])]
    for wave in sines[1:]:
        total = [_move_constants(c, product) for a, left in total for c, product in _multiply_waves(a, left, wave)]
    rest = se.Mul(*others)
    return se.Add(*[c * wave * rest for c, wave in total])


def _move_constants(c: Expr, wave: Expr) -> tuple[Expr, Expr]:
    """Move constant factors into the coefficient: sin(-u) becomes -sin(u), and sin(0) becomes 0."""
    constant, rest = split_constant(wave)
    return c * constant, rest


def _multiply_waves(c: Expr, left: Expr, right: Expr) -> list[tuple[Expr, Expr]]:
    half = c / 2
    if left == 1:
        return [(c, right)]
    a, b = left.args[0], right.args[0]
    low, high = se.expand(a - b), se.expand(a + b)
    match type(left) is classes.sin, type(right) is classes.sin:
        case True, True:
            return [(half, se.cos(low)), (-half, se.cos(high))]
        case False, False:
            return [(half, se.cos(low)), (half, se.cos(high))]
        case True, False:
            return [(half, se.sin(low)), (half, se.sin(high))]
        case _:
            return [(-half, se.sin(low)), (half, se.sin(high))]


def cancel_logs_and_distribute(e: Expr) -> Expr:
    """Replace e^(n ln u) by u^n, and distribute constant factors over the nested sums of a sum."""
    powers = {p: _exp_log_as_power(p) for p in e.atoms(classes.Pow) if p.args[0] == se.E}
    replacements = {p: power for p, power in powers.items() if power is not None}
    return _distribute(e.xreplace(replacements) if replacements else e)


def _exp_log_as_power(power: Expr) -> Expr | None:
    """u^n for power = e^(n ln u) with an integer n; else None."""
    logarithms = power.args[1].atoms(classes.log)
    if len(logarithms) != 1:
        return None
    logarithm = logarithms.pop()
    times = power.args[1] / logarithm
    return logarithm.args[0] ** times if isinstance(times, classes.Integer) else None


def _distribute(e: Expr) -> Expr:
    constant, core = split_constant(e)
    if type(core) is not classes.Add:
        return e
    return se.Add(*[constant * term for child in core.args for term in _terms(_distribute(child))])


def _terms(e: Expr) -> tuple[Expr, ...]:
    return tuple(e.args) if type(e) is classes.Add else (e,)
