"""Closed-form rules: polynomials times exponentials and sines, and polynomials times powers of the root of a quadratic.

P e^w (p cos v + q sin v), with w and v linear in x, is closed under integration, and so is P (p cosh v + q sinh v): integrating by
parts repeatedly sums (-1)^k P^(k) times the primitives of order k + 1. For roots, int P / sqrt(Q) = A sqrt(Q) + r int 1 / sqrt(Q),
where comparing coefficients gives A.
"""

from __future__ import annotations

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import Expr, X
from mathpipe.generate.symbolic.expr.rewriting import Coefficients, as_shifted_monomial, coefficients, factors

_WAVES = (classes.sin, classes.cos)
_HYPERBOLIC = (classes.sinh, classes.cosh)
_ZERO = se.Integer(0)


def integrate_exp_trig(e: Expr) -> Expr | None:
    """The primitive of P(x) e^(ax + c) times at most one of sin, cos, sinh, cosh of (bx + d); None for other integrands."""
    a: Expr = _ZERO
    wave: Expr | None = None
    rest, exponentials = [], []
    for child in factors(e):
        if type(child) is classes.Pow and child.args[0] == se.E:
            exponentials.append(child)
        elif type(child) in (*_WAVES, *_HYPERBOLIC):
            if wave is not None:
                return None
            wave = child
        else:
            rest.append(child)
    if wave is None and not exponentials:
        return None
    for child in exponentials:
        slope = _slope(child.args[1])
        if slope is None:
            return None
        a += slope
    b = _ZERO if wave is None else _slope(wave.args[0])
    polynomial = coefficients(se.Mul(*rest))
    if b is None or polynomial is None or (a == 0 and b == 0):
        return None
    if type(wave) in _HYPERBOLIC:
        return None if a != 0 else _hyperbolic_sum(polynomial, wave, b)
    return se.Mul(*exponentials) * _exponential_sum(polynomial, wave, a, b)


def _slope(u: Expr) -> Expr | None:
    """a of u = a x + c; None if u is not linear in x."""
    form = as_shifted_monomial(u)
    return form[0] if form is not None and form[2] == 1 else None


def _exponential_sum(polynomial: Coefficients, wave: Expr | None, a: Expr, b: Expr) -> Expr:
    """sum_k (-1)^k P^(k) (p_k cos + q_k sin), where e^(ax) (p_k cos + q_k sin) is the primitive of order k + 1."""
    angle = _ZERO if wave is None else wave.args[0]
    p, q = (se.Integer(0), se.Integer(1)) if type(wave) is classes.sin else (se.Integer(1), se.Integer(0))
    if wave is None:
        b = _ZERO
    norm = se.expand(a * a + b * b)
    total, sign = _ZERO, 1
    while polynomial:
        p, q = se.expand(a * p - b * q) / norm, se.expand(b * p + a * q) / norm
        if wave is None:
            total += sign * p * _to_expression(polynomial)
        else:
            total += sign * _to_expression(polynomial) * (p * se.cos(angle) + q * se.sin(angle))
        polynomial, sign = _differentiate(polynomial), -sign
    return total


def _hyperbolic_sum(polynomial: Coefficients, wave: Expr, b: Expr) -> Expr:
    angle, total, sign, kind = wave.args[0], _ZERO, 1, type(wave)
    scale = se.Integer(1)
    while polynomial:
        kind = classes.cosh if kind is classes.sinh else classes.sinh
        scale = scale / b
        total += (
            sign * scale * _to_expression(polynomial) * (se.cosh(angle) if kind is classes.cosh else se.sinh(angle))
        )
        polynomial, sign = _differentiate(polynomial), -sign
    return total


def _to_expression(polynomial: Coefficients) -> Expr:
    return se.Add(*[polynomial[n] * X**n for n in sorted(polynomial)])


def _differentiate(polynomial: Coefficients) -> Coefficients:
    return {n - 1: n * c for n, c in polynomial.items() if n}


def integrate_quadratic_root(e: Expr) -> Expr | None:
    """The primitive of P(x) R or P(x) / R; None for other integrands.

    R = sqrt(Q) with a quadratic Q with rational coefficients, or R = sqrt(u) sqrt(v) with u v = Q, as in the derivative of acosh.
    """
    rest, roots = [], []
    for child in factors(e):
        if type(child) is classes.Pow and child.args[1] in (_HALF, -_HALF) and child.args[0] != X:
            roots.append(child)
        else:
            rest.append(child)
    if not 1 <= len(roots) <= 2 or len({root.args[1] for root in roots}) > 1:
        return None
    radicand = se.expand(se.Mul(*[root.args[0] for root in roots])) if len(roots) == 2 else roots[0].args[0]
    q, p = coefficients(radicand), coefficients(se.Mul(*rest))
    if q is None or p is None or max(q) != 2 or not all(c.is_Number for c in (*q.values(), *p.values())):
        return None
    root = se.Mul(*[se.sqrt(r.args[0]) for r in roots])
    if roots[0].args[1] == _HALF:
        p = coefficients(_to_expression(p) * radicand)
        if p is None:
            return None
    c, b, a = (q.get(n, _ZERO) for n in range(3))
    # solve P = A' Q + A Q'/2 + r for A and r, from the highest power down
    quotient: Coefficients = {}
    remainder = dict(p)
    for n in range(max(remainder, default=0), 0, -1):
        leading = remainder.get(n, _ZERO) / (n * a)
        quotient[n - 1] = leading
        remainder[n - 1] = remainder.get(n - 1, _ZERO) - leading * b * (2 * n - 1) / 2
        if n > 1:
            remainder[n - 2] = remainder.get(n - 2, _ZERO) - leading * c * (n - 1)
    r = remainder.get(0, _ZERO)
    total = _to_expression(quotient) * root if quotient else _ZERO
    return total if r == 0 else total + r * _inverse_root(a, b, c, root, single_root=len(roots) == 1)


_HALF = se.Integer(1) / 2


def _inverse_root(a: Expr, b: Expr, c: Expr, root: Expr, *, single_root: bool) -> Expr:
    """The primitive of 1 / sqrt(a x^2 + b x + c)."""
    d = 4 * a * c - b * b
    slope = 2 * a * X + b
    if float(a) > 0:
        if single_root and float(d) > 0:
            return se.asinh(slope / se.sqrt(d)) / se.sqrt(a)
        return se.log(slope + 2 * se.sqrt(a) * root) / se.sqrt(a)
    return -se.asin(slope / se.sqrt(-d)) / se.sqrt(-a)
