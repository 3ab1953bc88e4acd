"""Values and derivatives with 40 digits, one expression at a time: for the few points at which 16 digits do not decide.

Dual numbers in mpmath; magnitudes are bounded before each function is called, since mpmath would work for minutes on
exp(exp(100)).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import mpmath

from mathpipe.datasets.expressions.prefix import Malformed, Tree, parse
from mathpipe.datasets.expressions.vocabulary import WORDS

DIGITS = 40
_LARGEST = 1e4  # of what exp and its like are asked for
Dual = tuple[Any, Any]


class OutOfRange(ArithmeticError):
    """A value that is not finite, or too large to work with."""


def slope_difference(f: bytes, primitive: bytes, x: complex) -> float | None:
    """|F'(x) - f(x)| relative to the larger; None where f is undefined, infinite where only F' is."""
    with mpmath.workdps(DIGITS):
        point = mpmath.mpc(x)
        try:
            wanted = _at(_tree(f), {"x": (point, mpmath.mpc(1))})[0]
        except (OutOfRange, ArithmeticError, ValueError, Malformed):
            return None
        try:
            found = _at(_tree(primitive), {"x": (point, mpmath.mpc(1))})[1]
        except (OutOfRange, ArithmeticError, ValueError, Malformed):
            return float("inf")
        size = max(abs(wanted), abs(found))
        return float(abs(found - wanted) / size) if size else 0.0


def value_at(expression: bytes, leaves: dict[str, Any]) -> Any:
    """The value where variables, constants and unknowns stand for these numbers; OutOfRange and the like where there is none."""
    return _at(_tree(expression), {name: (mpmath.mpc(value), mpmath.mpc(0)) for name, value in leaves.items()})[0]


@lru_cache(maxsize=8)
def _tree(words: bytes) -> Tree:
    return parse(words)


def _at(tree: Tree, known: dict[str, Dual]) -> Dual:
    if isinstance(tree, int):
        return mpmath.mpc(tree), mpmath.mpc(0)
    name = WORDS[tree[0]]
    if len(tree) == 1:
        return known[name] if name in known else (_CONSTANTS[name](), mpmath.mpc(0))
    operands = [_at(child, known) for child in tree[1:]]
    value, slope = _BINARY[name](*operands) if len(operands) == 2 else _unary(name, *operands[0])
    if not (mpmath.isfinite(value) and mpmath.isfinite(slope)) or abs(value) > mpmath.mpf(10) ** 300:
        raise OutOfRange(name)
    return value, slope


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
    if abs(u) > _LARGEST:
        raise OutOfRange("too large")
    return u


def _unary(name: str, u: Any, du: Any) -> Dual:
    if name in ("abs", "sign"):
        if u.imag:
            raise OutOfRange(f"{name} of a complex number")
        sign = mpmath.sign(u.real)
        return (abs(u), sign * du) if name == "abs" else (sign, mpmath.mpc(0))
    value, slope = _RULES[name](_bounded(u))
    return value, slope * du


def _reciprocal_of(rule: Callable[[Any], Dual]) -> Callable[[Any], Dual]:
    def composed(u: Any) -> Dual:
        value, slope = rule(u)
        return 1 / value, -slope / value**2

    return composed


def _of_reciprocal(rule: Callable[[Any], Dual]) -> Callable[[Any], Dual]:
    def composed(u: Any) -> Dual:
        value, slope = rule(1 / u)
        return value, -slope / u**2

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
