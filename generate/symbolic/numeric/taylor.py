"""Truncated Taylor arithmetic: polynomials in small increments, and the Taylor rule of every operator for them.

A value is an array of Taylor coefficients, one for each monomial of its algebra. Products are truncated, and a function is
f(u + n) = f(u) + f'(u) n + f''(u) n^2 / 2, exact where n^3 = 0. Derivatives of a stored expression thus come from numerical rules,
independent of the symbolic rules that produced it. Everything is complex, on principal branches. On the cuts of real arguments,
values follow d asin = 1 / sqrt(1 - u^2) and d acosh = 1 / (sqrt(u - 1) sqrt(u + 1)).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.generate.symbolic.numeric.array_programs import Program
from mathpipe.generate.symbolic.numeric.chain_rule import compose

Complex = NDArray[Any]  # complex128; NumPy's type stubs lose the dtype in arithmetic
Monomial = tuple[int, int, int]  # powers of x, first constant, second constant


@dataclass(frozen=True)
class Algebra:
    """The monomials of (dx, dc1, dc2) that are kept; the first is 1. ``order``: the highest degree."""

    monomials: tuple[Monomial, ...]

    @cached_property
    def order(self) -> int:
        return max(sum(m) for m in self.monomials)

    @cached_property
    def products(self) -> tuple[tuple[int, int, int], ...]:
        """(i, j, k): monomial i times monomial j is monomial k; neither i nor j is 1."""
        index = {m: k for k, m in enumerate(self.monomials)}
        return tuple(
            (i, j, index[total])
            for i, a in enumerate(self.monomials)
            for j, b in enumerate(self.monomials)
            if i and j and (total := (a[0] + b[0], a[1] + b[1], a[2] + b[2])) in index
        )


VALUES = Algebra(((0, 0, 0),))
FIRST_DERIVATIVES = Algebra(((0, 0, 0), (1, 0, 0)))
"""Values and d/dx."""
SECOND_DERIVATIVES = Algebra(((0, 0, 0), (1, 0, 0), (2, 0, 0)))
"""Values, d/dx and half of d2/dx2."""
ONE_CONSTANT = Algebra(((0, 0, 0), (1, 0, 0), (0, 1, 0)))
"""y(x, c1): y' and dy/dc1."""
TWO_CONSTANTS = Algebra(((0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1)))
"""y(x, c1, c2): y', y''/2, and the derivatives of (y, y') with respect to both constants."""


def evaluate(program: Program, algebra: Algebra, leaves: Mapping[str, Complex], points: int) -> Complex:
    """Taylor coefficients of n expressions at K points, (components, n, K); NaN where malformed or where a token has no value.

    ``leaves``: coefficients of the variables, constants and unknowns by token: (components, K), or (components, n, K) if they
    differ between expressions. Tokens that are missing are NaN.
    """
    values = evaluate_nodes(program, algebra, leaves, points)
    result = np.full((len(values), len(program.root), points), np.nan, dtype=np.complex128)
    has_root = program.root >= 0
    result[:, has_root] = values[:, program.root[has_root]]
    return result


def evaluate_nodes(program: Program, algebra: Algebra, leaves: Mapping[str, Complex], points: int) -> Complex:
    """Like ``evaluate``, but for every node of the program: (components, N, K)."""
    m = len(algebra.monomials)
    values = np.empty((m, len(program.token), points), dtype=np.complex128)
    constants = {"pi": np.pi, "E": np.e, "I": 1j}
    for token, nodes in program.leaves:
        name = TOKENS[token]
        values[:, nodes] = 0
        if name in ("INT+", "INT-"):
            values[0, nodes] = program.integer[nodes, None]
        elif name in constants:
            values[0, nodes] = constants[name]
        elif name in leaves:
            leaf = leaves[name]
            values[:, nodes] = leaf[:, None, :] if leaf.ndim == 2 else leaf[:, program.row[nodes]]
        else:
            values[0, nodes] = np.nan
    with np.errstate(all="ignore"):
        for token, nodes in program.steps:
            a = values.take(program.left[nodes], axis=1)
            if token in _BINARY:
                out = _BINARY[token](algebra, a, values.take(program.right[nodes], axis=1))
            else:
                out = _unary(algebra, _UNARY[token], a)
            # adding 0 removes negative zeros, so that the cuts of real arguments are approached from one side
            np.add(out, 0.0, out=values[:, nodes])
    return values


def multiply(algebra: Algebra, a: Complex, b: Complex) -> Complex:
    """The truncated product of two values."""
    out = np.empty_like(a)
    np.multiply(a[0], b[0], out=out[0])
    for k in range(1, len(a)):
        out[k] = a[0] * b[k] + a[k] * b[0]
    for i, j, k in algebra.products:
        out[k] += a[i] * b[j]
    return out


Rule = Callable[[Complex, int], tuple[Complex, ...]]


def _unary(algebra: Algebra, rule: Rule, u: Complex) -> Complex:
    """f(u) from f, f' and f''/2 at the constant part of u."""
    taylor = rule(u[0], algebra.order)
    out = np.empty_like(u)
    out[0] = taylor[0]
    if algebra.order:
        np.multiply(u[1:], taylor[1], out=out[1:])
    if algebra.order > 1:
        for i, j, k in algebra.products:
            out[k] += taylor[2] * (u[i] * u[j])
    return out


def _reciprocal(u: Complex, order: int) -> tuple[Complex, ...]:
    r = 1 / u
    return (r,) if order == 0 else (r, -r * r, r * r * r)


def _power(algebra: Algebra, a: Complex, b: Complex) -> Complex:
    """a^b: the power rule where b is constant, else exp(b ln a)."""
    p = b[0]
    if algebra.order == 0:
        return np.asarray(np.power(a[0], p)[None])
    constant = ~np.any(b[1:] != 0, axis=(0, 2))
    out = np.empty_like(a)
    if constant.all():
        return _constant_power(algebra, a, p)
    out[:, constant] = _constant_power(algebra, a[:, constant], p[constant])
    rest = ~constant
    exponent = multiply(algebra, b[:, rest], _unary(algebra, _ln, a[:, rest]))
    out[:, rest] = _unary(algebra, _exp, exponent)
    return out


def _constant_power(algebra: Algebra, a: Complex, p: Complex) -> Complex:
    def rule(u: Complex, order: int) -> tuple[Complex, ...]:
        lower = np.power(u, p - 1)
        first_order = (np.power(u, p), p * lower)
        return first_order if order < 2 else (*first_order, p * (p - 1) / 2 * np.power(u, p - 2))

    return _unary(algebra, rule, a)


def _root(algebra: Algebra, a: Complex, b: Complex) -> Complex:
    return _power(algebra, a, _unary(algebra, _reciprocal, b))


def _divide(algebra: Algebra, a: Complex, b: Complex) -> Complex:
    if algebra.order == 0:
        return a / b
    return multiply(algebra, a, _unary(algebra, _reciprocal, b))


def _exp(u: Complex, order: int) -> tuple[Complex, ...]:
    e = np.exp(u)
    return (e, e, e / 2)


def _ln(u: Complex, order: int) -> tuple[Complex, ...]:
    value = np.log(u)
    if order == 0:
        return (value,)
    r = 1 / u
    return (value, r, -r * r / 2)


def _sqrt(u: Complex, order: int) -> tuple[Complex, ...]:
    s = np.sqrt(u)
    return (s,) if order == 0 else (s, 0.5 / s, -0.125 / (s * u))


def _sin(u: Complex, order: int) -> tuple[Complex, ...]:
    s = np.sin(u)
    return (s,) if order == 0 else (s, np.cos(u), -s / 2)


def _cos(u: Complex, order: int) -> tuple[Complex, ...]:
    c = np.cos(u)
    return (c,) if order == 0 else (c, -np.sin(u), -c / 2)


def _tan(u: Complex, order: int) -> tuple[Complex, ...]:
    t = np.tan(u)
    d = 1 + t * t
    return (t, d, t * d)


def _sinh(u: Complex, order: int) -> tuple[Complex, ...]:
    s = np.sinh(u)
    return (s,) if order == 0 else (s, np.cosh(u), s / 2)


def _cosh(u: Complex, order: int) -> tuple[Complex, ...]:
    c = np.cosh(u)
    return (c,) if order == 0 else (c, np.sinh(u), c / 2)


def _tanh(u: Complex, order: int) -> tuple[Complex, ...]:
    t = np.tanh(u)
    d = 1 - t * t
    return (t, d, -t * d)


def _lower_side_of_cut(u: Complex) -> Complex:
    """Move real numbers above 1 to the lower side of the cut, as d asin, d acos and SymPy do."""
    cut = (u.imag == 0) & (u.real > 1)
    return np.where(cut, np.conj(u), u) if cut.any() else u


def _asin(u: Complex, order: int) -> tuple[Complex, ...]:
    value = np.arcsin(_lower_side_of_cut(u))
    if order == 0:
        return (value,)
    r = 1 / np.sqrt(1 - u * u + 0.0)
    return (value, r, u * r * r * r / 2)


def _acos(u: Complex, order: int) -> tuple[Complex, ...]:
    return (np.arccos(_lower_side_of_cut(u)), *(-d for d in _asin(u, order)[1:]))


def _atan(u: Complex, order: int) -> tuple[Complex, ...]:
    value = np.arctan(u)
    if order == 0:
        return (value,)
    r = 1 / (1 + u * u)
    return (value, r, -u * r * r)


def _asinh(u: Complex, order: int) -> tuple[Complex, ...]:
    value = np.arcsinh(u)
    if order == 0:
        return (value,)
    r = 1 / np.sqrt(1 + u * u + 0.0)
    return (value, r, -u * r * r * r / 2)


def _acosh(u: Complex, order: int) -> tuple[Complex, ...]:
    value = np.arccosh(u)
    if order == 0:
        return (value,)
    r = 1 / (np.sqrt(u - 1 + 0.0) * np.sqrt(u + 1 + 0.0))
    return (value, r, -u * r / (u * u - 1) / 2)


def _atanh(u: Complex, order: int) -> tuple[Complex, ...]:
    value = np.arctanh(_lower_side_of_cut(u))
    if order == 0:
        return (value,)
    r = 1 / (1 - u * u)
    return (value, r, u * r * r)


def _of_reciprocal(rule: Rule) -> Rule:
    """f(1/u): for acot, asec, acsc and their hyperbolic counterparts."""

    def composed(u: Complex, order: int) -> tuple[Complex, ...]:
        inner = _reciprocal(u, order)
        outer = rule(inner[0] + 0.0, order)
        return compose(outer, inner, order)

    return composed


def _reciprocal_of(rule: Rule) -> Rule:
    """1/f(u): for cot, sec, csc and their hyperbolic counterparts."""

    def composed(u: Complex, order: int) -> tuple[Complex, ...]:
        inner = rule(u, order)
        outer = _reciprocal(inner[0], order)
        return compose(outer, inner, order)

    return composed


def _fixed_power(n: int) -> Rule:
    def rule(u: Complex, order: int) -> tuple[Complex, ...]:
        low = u ** (n - 2)
        return (low * u * u, n * low * u, n * (n - 1) / 2 * low)

    return rule


def _real_only(value: Callable[[NDArray[np.float64]], NDArray[np.float64]], sign_as_derivative: bool) -> Rule:
    """abs and sign: defined for real arguments only, NaN elsewhere."""

    def rule(u: Complex, order: int) -> tuple[Complex, ...]:
        real = np.where(np.abs(u.imag) <= 1e-14 * np.abs(u.real), u.real, np.nan)
        first = np.sign(real) if sign_as_derivative else 0 * real
        return (value(real).astype(np.complex128), first.astype(np.complex128), (0 * real).astype(np.complex128))

    return rule


_RULES: dict[str, Rule] = {
    "inv": _reciprocal,
    "sqrt": _sqrt,
    "exp": _exp,
    "ln": _ln,
    **{f"pow{n}": _fixed_power(n) for n in (2, 3, 4, 5)},
    "abs": _real_only(np.abs, sign_as_derivative=True),
    "sign": _real_only(np.sign, sign_as_derivative=False),
    "sin": _sin,
    "cos": _cos,
    "tan": _tan,
    "sinh": _sinh,
    "cosh": _cosh,
    "tanh": _tanh,
    "asin": _asin,
    "acos": _acos,
    "atan": _atan,
    "asinh": _asinh,
    "acosh": _acosh,
    "atanh": _atanh,
    "cot": _reciprocal_of(_tan),
    "sec": _reciprocal_of(_cos),
    "csc": _reciprocal_of(_sin),
    "coth": _reciprocal_of(_tanh),
    "sech": _reciprocal_of(_cosh),
    "csch": _reciprocal_of(_sinh),
    "acot": _of_reciprocal(_atan),
    "asec": _of_reciprocal(_acos),
    "acsc": _of_reciprocal(_asin),
    "acoth": _of_reciprocal(_atanh),
    "asech": _of_reciprocal(_acosh),
    "acsch": _of_reciprocal(_asinh),
}
_UNARY: dict[int, Rule] = {IDS[name]: rule for name, rule in _RULES.items()}
_BINARY: dict[int, Callable[[Algebra, Complex, Complex], Complex]] = {
    IDS["add"]: lambda _, a, b: a + b,
    IDS["sub"]: lambda _, a, b: a - b,
    IDS["mul"]: multiply,
    IDS["div"]: _divide,
    IDS["pow"]: _power,
    IDS["rac"]: _root,
}
