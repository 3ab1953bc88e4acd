"""Closed rules: polynomials times exponentials and waves, and polynomials times powers of a quadratic's root.

P e^w (p cos v + q sin v), w and v linear in x, is closed under primitives, and so is P (p cosh v + q sinh v); repeated parts
sum P^(k) times the primitives of higher order. int P / sqrt(Q) = A sqrt(Q) + r int 1 / sqrt(Q), with A by coefficients.
"""

from __future__ import annotations

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.generate.symbolic.expr.canonical_form import Expr, X
from mathpipe.generate.symbolic.expr.rewriting import Coefficients, coefficients, factors, power_argument

_WAVES = (classes.sin, classes.cos)
_HYPERBOLIC = (classes.sinh, classes.cosh)
_ZERO = se.Integer(0)


def wave_primitive(e: Expr) -> Expr | None:
    """The primitive of P(x) e^(ax + c) times at most one of sin, cos, sinh, cosh of (bx + d); None for anything else."""
    a: Expr = _ZERO
    wave: Expr | None = None
    rest, growth = [], []
    for child in factors(e):
        if type(child) is classes.Pow and child.args[0] == se.E:
            growth.append(child)
        elif type(child) in (*_WAVES, *_HYPERBOLIC):
            if wave is not None:
                return None
            wave = child
        else:
            rest.append(child)
    if wave is None and not growth:
        return None
    for child in growth:
        slope = _slope(child.args[1])
        if slope is None:
            return None
        a += slope
    b = _ZERO if wave is None else _slope(wave.args[0])
    shape = coefficients(se.Mul(*rest))
    if b is None or shape is None or (a == 0 and b == 0):
        return None
    if type(wave) in _HYPERBOLIC:
        return None if a != 0 else _hyperbolic(shape, wave, b)
    return se.Mul(*growth) * _repeated(shape, wave, a, b)


def _slope(u: Expr) -> Expr | None:
    """a of u = a x + c."""
    form = power_argument(u)
    return form[0] if form is not None and form[2] == 1 else None


def _repeated(shape: Coefficients, wave: Expr | None, a: Expr, b: Expr) -> Expr:
    """sum_k (-1)^k P^(k) (p_k cos + q_k sin), where e^(ax) (p_k cos + q_k sin) is the primitive of order k + 1."""
    angle = _ZERO if wave is None else wave.args[0]
    p, q = (se.Integer(0), se.Integer(1)) if type(wave) is classes.sin else (se.Integer(1), se.Integer(0))
    if wave is None:
        b = _ZERO
    size = se.expand(a * a + b * b)
    total, sign = _ZERO, 1
    while shape:
        p, q = se.expand(a * p - b * q) / size, se.expand(b * p + a * q) / size
        if wave is None:
            total += sign * p * _polynomial(shape)
        else:
            total += sign * _polynomial(shape) * (p * se.cos(angle) + q * se.sin(angle))
        shape, sign = _differentiated(shape), -sign
    return total


def _hyperbolic(shape: Coefficients, wave: Expr, b: Expr) -> Expr:
    angle, total, sign, kind = wave.args[0], _ZERO, 1, type(wave)
    scale = se.Integer(1)
    while shape:
        kind = classes.cosh if kind is classes.sinh else classes.sinh
        scale = scale / b
        total += sign * scale * _polynomial(shape) * (se.cosh(angle) if kind is classes.cosh else se.sinh(angle))
        shape, sign = _differentiated(shape), -sign
    return total


def _polynomial(shape: Coefficients) -> Expr:
    return se.Add(*[shape[n] * X**n for n in sorted(shape)])


def _differentiated(shape: Coefficients) -> Coefficients:
    return {n - 1: n * c for n, c in shape.items() if n}


def root_primitive(e: Expr) -> Expr | None:
    """The primitive of P(x) R or P(x) / R; None for anything else.

    R = sqrt(Q), Q quadratic with rational coefficients, or R = sqrt(u) sqrt(v) with u v = Q, as the derivative of acosh has it.
    """
    rest, roots = [], []
    for child in factors(e):
        if type(child) is classes.Pow and child.args[1] in (_HALF, -_HALF) and child.args[0] != X:
            roots.append(child)
        else:
            rest.append(child)
    if not 1 <= len(roots) <= 2 or len({root.args[1] for root in roots}) > 1:
        return None
    under = se.expand(se.Mul(*[root.args[0] for root in roots])) if len(roots) == 2 else roots[0].args[0]
    q, p = coefficients(under), coefficients(se.Mul(*rest))
    if q is None or p is None or max(q) != 2 or not all(c.is_Number for c in (*q.values(), *p.values())):
        return None
    root = se.Mul(*[se.sqrt(r.args[0]) for r in roots])
    if roots[0].args[1] == _HALF:
        p = coefficients(_polynomial(p) * under)
        if p is None:
            return None
    c, b, a = (q.get(n, _ZERO) for n in range(3))
    # P = A' Q + A Q'/2 + r, from the highest power down
    over: Coefficients = {}
    left = dict(p)
    for n in range(max(left, default=0), 0, -1):
        top = left.get(n, _ZERO) / (n * a)
        over[n - 1] = top
        left[n - 1] = left.get(n - 1, _ZERO) - top * b * (2 * n - 1) / 2
        if n > 1:
            left[n - 2] = left.get(n - 2, _ZERO) - top * c * (n - 1)
    r = left.get(0, _ZERO)
    total = _polynomial(over) * root if over else _ZERO
    return total if r == 0 else total + r * _inverse_root(a, b, c, root, plain=len(roots) == 1)


_HALF = se.Integer(1) / 2


def _inverse_root(a: Expr, b: Expr, c: Expr, root: Expr, *, plain: bool) -> Expr:
    """The primitive of 1 / sqrt(a x^2 + b x + c)."""
    d = 4 * a * c - b * b
    slope = 2 * a * X + b
    if float(a) > 0:
        if plain and float(d) > 0:
            return se.asinh(slope / se.sqrt(d)) / se.sqrt(a)
        return se.log(slope + 2 * se.sqrt(a) * root) / se.sqrt(a)
    return -se.asin(slope / se.sqrt(-d)) / se.sqrt(-a)
