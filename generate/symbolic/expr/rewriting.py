"""Rewriting of canonical forms within counted limits: expansion, polynomials in x, common exponentials, products of sines."""

from __future__ import annotations

import math
from fractions import Fraction

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import Expr, X

MOST_TERMS = 120
MOST_DEGREE = 12  # of a polynomial beside another function
Coefficients = dict[int, Expr]


def has_x(e: Expr) -> bool:
    """Whether x occurs."""
    return X in e.free_symbols


def terms_estimate(e: Expr) -> int:
    """An upper bound on the terms of the expanded form."""
    kind = type(e)
    if kind is classes.Add:
        return sum(terms_estimate(child) for child in e.args)
    if kind is classes.Mul:
        return math.prod(terms_estimate(child) for child in e.args)
    if kind is classes.Pow:
        base, exponent = e.args
        if isinstance(exponent, classes.Integer) and 1 < int(exponent) <= 100:
            return math.comb(terms_estimate(base) + int(exponent) - 1, int(exponent))
    return 1


def expanded(e: Expr) -> Expr:
    """Sums multiplied out, where few terms come of it; else as it is. Operands of functions stay as they are."""
    if not 1 < terms_estimate(e) <= MOST_TERMS:
        return e
    names: dict[Expr, Expr] = {}
    hidden = _hidden(e, names)
    return se.expand(hidden).xreplace({name: part for part, name in names.items()})


def _hidden(e: Expr, names: dict[Expr, Expr]) -> Expr:
    """The expression with a name for each function, root and reciprocal of a sum."""
    kind = type(e)
    if kind is classes.Add or kind is classes.Mul:
        return e.func(*[_hidden(child, names) for child in e.args])
    if kind is classes.Symbol or e.is_Number:
        return e
    if kind is classes.Pow and isinstance(e.args[1], classes.Integer):
        base, n = e.args
        if int(n) > 0 or type(base) is not classes.Add:
            return _hidden(base, names) ** n
    return names.setdefault(e, se.Symbol(f"_{len(names)}"))


def factors(e: Expr) -> tuple[Expr, ...]:
    """What an expression is the product of."""
    return tuple(e.args) if type(e) is classes.Mul else (e,)


def split_constant(e: Expr) -> tuple[Expr, Expr]:
    """(factors without x, the rest)."""
    if type(e) is not classes.Mul:
        return (se.Integer(1), e) if has_x(e) else (e, se.Integer(1))
    constant = [child for child in e.args if not has_x(child)]
    return se.Mul(*constant), se.Mul(*[child for child in e.args if has_x(child)])


def content_free(e: Expr) -> Expr:
    """Every sum as its rational content and lowest power of x times the rest: 2x^2 + 4x is 2 x (x + 2)."""
    kind = type(e)
    if kind is classes.Add:
        children = [content_free(child) for child in e.args]
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
        return se.Mul(*[content_free(child) for child in e.args])
    if kind is classes.Pow and isinstance(e.args[1], classes.Integer):
        return content_free(e.args[0]) ** e.args[1]
    if kind is classes.Pow and type(e.args[0]) is classes.Pow and isinstance(e.args[0].args[1], classes.Half):
        return e.args[0].args[0] ** (e.args[0].args[1] * e.args[1])  # sqrt(u)^r is u^(r/2) on every branch
    return e


def _content(term: Expr) -> tuple[Fraction, int]:
    """(the number, the integer power of x) that a term is a multiple of."""
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
    """Coefficients by power of x of a polynomial (they may hold other constants); None where it is none."""
    if not _algebraic(e):
        return None
    found: Coefficients = {}
    e = expanded(e)
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
        if not 0 <= power <= MOST_DEGREE:
            return None
        found[power] = found.get(power, se.Integer(0)) + constant
    return found


def _algebraic(e: Expr) -> bool:
    """Whether x occurs in sums, products and whole powers alone."""
    kind = type(e)
    if kind is classes.Symbol or e.is_Number:
        return True
    if kind is classes.Add or kind is classes.Mul:
        return all(_algebraic(child) for child in e.args)
    if kind is classes.Pow and isinstance(e.args[1], classes.Integer):
        return (int(e.args[1]) > 0 and _algebraic(e.args[0])) or not has_x(e)
    return not has_x(e)


def power_argument(u: Expr) -> tuple[Expr, Expr, int] | None:
    """(a, b, n) of u = a x^n + b with n > 0; None where it is of another form."""
    shape = coefficients(u)
    if shape is None:
        return None
    powers = [n for n, c in shape.items() if n and c != 0]
    if len(powers) != 1:
        return None
    return shape[powers[0]], shape.get(0, se.Integer(0)), powers[0]


def subexpressions(e: Expr, most: int) -> list[Expr]:
    """Up to so many different parts with x, functions and bases of powers and their arguments, outermost first."""
    found: dict[Expr, None] = {}
    level = [e]
    while level and len(found) < most:
        below: list[Expr] = []
        for part in level:
            kind = type(part)
            if kind is classes.Symbol or part.is_Number:
                continue
            if kind not in (classes.Mul, classes.Add, classes.Pow) and has_x(part):
                found.setdefault(part)
            for child in part.args:
                if kind not in (classes.Mul, classes.Add) and type(child) is not classes.Symbol and has_x(child):
                    found.setdefault(child)
                below.append(child)
            if kind is classes.Pow and part.args[0] == se.E:
                found.setdefault(part)
        level = below
    return list(found)[:most]


def product_to_sum(e: Expr) -> Expr | None:
    """Products and powers of sines and cosines as sums of single ones; None where nothing is to be done."""
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
        total = [_plain(c, product) for left_c, left in total for c, product in _times(left_c, left, wave)]
    rest = se.Mul(*others)
    return se.Add(*[c * wave * rest for c, wave in total])


def _plain(c: Expr, wave: Expr) -> tuple[Expr, Expr]:
    """sin(-u) as -sin(u), and constants, sin(0) and the like among them, as coefficients."""
    constant, rest = split_constant(wave)
    return c * constant, rest


def _times(c: Expr, left: Expr, right: Expr) -> list[tuple[Expr, Expr]]:
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


def tidied(e: Expr) -> Expr:
    """e^(n ln u) as u^n, and multiples of sums multiplied out where they are terms of a sum."""
    changes = {p: _without_logarithm(p) for p in e.atoms(classes.Pow) if p.args[0] == se.E}
    changes = {p: plain for p, plain in changes.items() if plain is not None}
    return _spread(e.xreplace(changes) if changes else e)


def _without_logarithm(power: Expr) -> Expr | None:
    logarithms = power.args[1].atoms(classes.log)
    if len(logarithms) != 1:
        return None
    logarithm = logarithms.pop()
    times = power.args[1] / logarithm
    return logarithm.args[0] ** times if isinstance(times, classes.Integer) else None


def _spread(e: Expr) -> Expr:
    constant, core = split_constant(e)
    if type(core) is not classes.Add:
        return e
    return se.Add(*[constant * term for child in core.args for term in _terms(_spread(child))])


def _terms(e: Expr) -> tuple[Expr, ...]:
    return tuple(e.args) if type(e) is classes.Add else (e,)
