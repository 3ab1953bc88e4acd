"""Values and derivatives with 40 digits, one expression at a time: for points where double precision is not enough.

Dual numbers in mpmath. The magnitude of every argument is bounded, since mpmath would compute for minutes on exp(exp(100)).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import mpmath

from mathpipe.datasets.expressions.prefix import Malformed, Tree, parse
from mathpipe.datasets.expressions.vocabulary import TOKENS

DIGITS = 40
_MAX_ARGUMENT = 1e4  # magnitude of the argument of a function
Dual = tuple[Any, Any]


class OutOfRange(ArithmeticError):
    """A value that is not finite or too large."""


def derivative_error(f: bytes, primitive: bytes, x: complex) -> float | None:
    """|F'(x) - f(x)| relative to the larger; None if f is undefined, infinite if only F' is."""
    with mpmath.workdps(DIGITS):
        point = mpmath.mpc(x)
        try:
            expected = _evaluate(_tree(f), {"x": (point, mpmath.mpc(1))})[0]
        except (OutOfRange, ArithmeticError, ValueError, Malformed):
            return None
        try:
            derivative = _evaluate(_tree(primitive), {"x": (point, mpmath.mpc(1))})[1]
        except (OutOfRange, ArithmeticError, ValueError, Malformed):
            return float("inf")
        size = max(abs(expected), abs(derivative))
        return float(abs(derivative - expected) / size) if size else 0.0


def value_at(expression: bytes, leaves: dict[str, Any]) -> Any:
    """The value for these values of variables, constants and unknowns; raises OutOfRange or ArithmeticError if it is undefined."""
    return _evaluate(_tree(expression), {name: (mpmath.mpc(value), mpmath.mpc(0)) for name, value in leaves.items()})[0]


@lru_cache(maxsize=8)
def _tree(tokens: bytes) -> Tree:
    return parse(tokens)


def _evaluate(tree: Tree, leaves: dict[str, Dual]) -> Dual:
    if isinstance(tree, int):
        return mpmath.mpc(tree), mpmath.mpc(0)
    name = TOKENS[tree[0]]
    if len(tree) == 1:
        return leaves[name] if name in leaves else (_CONSTANTS[name](), mpmath.mpc(0))
    operands = [_evaluate(child, leaves) for child in tree[1:]]
    value, derivative = _BINARY[name](*operands) if len(operands) == 2 else _unary(name, *operands[0])
    if not (mpmath.isfinite(value) and mpmath.isfinite(derivative)) or abs(value) > mpmath.mpf(10) ** 300:
        raise OutOfRange(name)
    return value, derivative


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "pi": lambda: mpmath.mpc(mpmath.pi),
    "E": lambda: mpmath.mpc(mpmath.e),
    "I": lambda: mpmath.mpc(0, 1),
}


def _power(a: Dual, b: Dual) -> Dual:
    if not b[1]:
        p = b[0]
        if p == int(p.real) if p.imag == 0 else False:
            n = int(p.real)
            return a[0] ** n, n * a[0] ** (n - 1) * a[1]
        value = mpmath.exp(_bounded(p * mpmath.log(a[0])))
        return value, p * value / a[0] * a[1]
    exponent = b[0] * mpmath.log(a[0])
    value = mpmath.exp(_bounded(exponent))
    return value, value * (b[1] * mpmath.log(a[0]) + b[0] * a[1] / a[0])


_BINARY: dict[str, Callable[[Dual, Dual], Dual]] = {
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b: (a[0] - b[0], a[1] - b[1]),
    "mul": lambda a, b: (a[0] * b[0], a[0] * b[1] + a[1] * b[0]),
    "div": lambda a, b: (a[0] / b[0], (a[1] - a[0] / b[0] * b[1]) / b[0]),
    "pow": _power,
    "rac": lambda a, b: _power(a, (1 / b[0], -b[1] / b[0] ** 2)),
}


def _bounded(u: Any) -> Any:
    if abs(u) > _MAX_ARGUMENT:
        raise OutOfRange("too large")
    return u


def _unary(name: str, u: Any, du: Any) -> Dual:
    if name in ("abs", "sign"):
        if u.imag:
            raise OutOfRange(f"{name} of a complex number")
        sign = mpmath.sign(u.real)
        return (abs(u), sign * du) if name == "abs" else (sign, mpmath.mpc(0))
    value, derivative = _RULES[name](_bounded(u))
    return value, derivative * du


def _reciprocal_of(rule: Callable[[Any], Dual]) -> Callable[[Any], Dual]:
    def composed(u: Any) -> Dual:
        value, derivative = rule(u)
        return 1 / value, -derivative / value**2

    return composed


def _of_reciprocal(rule: Callable[[Any], Dual]) -> Callable[[Any], Dual]:
    def composed(u: Any) -> Dual:
        value, derivative = rule(1 / u)
        return value, -derivative / u**2

    return composed


def _fixed_power(n: int) -> Callable[[Any], Dual]:
    return lambda u: (u**n, n * u ** (n - 1))


_BASE: dict[str, Callable[[Any], Dual]] = {
    "sin": lambda u: (mpmath.sin(u), mpmath.cos(u)),
    "cos": lambda u: (mpmath.cos(u), -mpmath.sin(u)),
    "tan": lambda u: (mpmath.tan(u), 1 + mpmath.tan(u) ** 2),
    "sinh": lambda u: (mpmath.sinh(u), mpmath.cosh(u)),
    "cosh": lambda u: (mpmath.cosh(u), mpmath.sinh(u)),
    "tanh": lambda u: (mpmath.tanh(u), 1 - mpmath.tanh(u) ** 2),
    "asin": lambda u: (mpmath.asin(u), 1 / mpmath.sqrt(1 - u * u)),
    "acos": lambda u: (mpmath.acos(u), -1 / mpmath.sqrt(1 - u * u)),
    "atan": lambda u: (mpmath.atan(u), 1 / (1 + u * u)),
    "asinh": lambda u: (mpmath.asinh(u), 1 / mpmath.sqrt(1 + u * u)),
    "acosh": lambda u: (mpmath.acosh(u), 1 / (mpmath.sqrt(u - 1) * mpmath.sqrt(u + 1))),
    "atanh": lambda u: (mpmath.atanh(u), 1 / (1 - u * u)),
}
_RULES: dict[str, Callable[[Any], Dual]] = {
    **_BASE,
    "inv": _fixed_power(-1),
    **{f"pow{n}": _fixed_power(n) for n in (2, 3, 4, 5)},
    "exp": lambda u: (mpmath.exp(u), mpmath.exp(u)),
    "ln": lambda u: (mpmath.log(u), 1 / u),
    "sqrt": lambda u: (mpmath.sqrt(u), 1 / (2 * mpmath.sqrt(u))),
    **{a: _reciprocal_of(_BASE[b]) for a, b in {"cot": "tan", "sec": "cos", "csc": "sin"}.items()},
    **{a: _reciprocal_of(_BASE[b]) for a, b in {"coth": "tanh", "sech": "cosh", "csch": "sinh"}.items()},
    **{a: _of_reciprocal(_BASE[b]) for a, b in {"acot": "atan", "asec": "acos", "acsc": "asin"}.items()},
    **{a: _of_reciprocal(_BASE[b]) for a, b in {"acoth": "atanh", "asech": "acosh", "acsch": "asinh"}.items()},
}
