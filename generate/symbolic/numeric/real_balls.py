"""Real values and derivatives of many expressions at once, as balls that contain the exact ones: NumPy, double precision.

A ball is a midpoint and a radius with |exact - midpoint| <= radius. A radius grows with those of the operands, by Lipschitz
constants, and by ``ROUNDING`` relative to the result, which is 500 times the error of NumPy's functions. A value that is not real,
not defined, or not bounded has the radius NaN or infinity, which proves nothing: only more digits (``balls``) can tell.
Derivatives follow from the rules of ``balls``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.generate.symbolic.numeric.array_programs import Ints, Program
from mathpipe.generate.symbolic.numeric.ball_functions import RULES, Rule
from mathpipe.generate.symbolic.numeric.balls import Jet, binary_jet, compose_jet, multiply
from mathpipe.generate.symbolic.numeric.taylor import Algebra

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

ROUNDING = 2.0**-42  # relative
UNDERFLOW = 1e-300
MAX_EXACT_INTEGER = 2.0**53
MAX_EXACT_POWER = 1000


@dataclass(frozen=True, slots=True, eq=False)
class RealBalls:
    """Balls (n, K) of real numbers; operators and methods are those of ``flint.arb`` that rules use."""

    mid: Any
    rad: Any

    def __add__(self, other: RealBalls | int) -> RealBalls:
        b = _balls(other)
        return _rounded(self.mid + b.mid, self.rad + b.rad)

    __radd__ = __add__

    def __neg__(self) -> RealBalls:
        return RealBalls(-self.mid, self.rad)

    def __sub__(self, other: RealBalls | int) -> RealBalls:
        return self + -_balls(other)

    def __rsub__(self, other: int) -> RealBalls:
        return -self + other

    def __mul__(self, other: RealBalls | int) -> RealBalls:
        b = _balls(other)
        return _rounded(self.mid * b.mid, np.abs(self.mid) * b.rad + (np.abs(b.mid) + b.rad) * self.rad)

    __rmul__ = __mul__

    def __truediv__(self, other: RealBalls | int) -> RealBalls:
        return self * _balls(other)._reciprocal()

    def __rtruediv__(self, other: int) -> RealBalls:
        return self._reciprocal() * other

    def _reciprocal(self) -> RealBalls:
        size = np.abs(self.mid)
        least = _positive(size - self.rad)
        return _rounded(1 / self.mid, self.rad / (size * least))

    def power(self, n: Any) -> RealBalls:
        """self^n for integers n of a shape that broadcasts; the zeroth power is 1."""
        size = np.abs(self.mid)
        bound = np.where(n > 0, size + self.rad, _positive(size - self.rad))  # of the derivative, n u^(n - 1)
        radius = np.where(n == 0, 0 * size * self.rad, np.abs(n) * bound ** (n - 1) * self.rad)
        return _rounded(self.mid**n, radius)

    def __pow__(self, n: int) -> RealBalls:
        return self.power(float(n))

    def is_zero(self) -> bool:
        """Never known: a point at which a divisor is zero has no finite radius."""
        return False

    def sqrt(self) -> RealBalls:
        least = _positive(self.mid - self.rad)
        return _rounded(np.sqrt(self.mid), self.rad / np.sqrt(least))

    def log(self) -> RealBalls:
        return _rounded(np.log(self.mid), self.rad / _positive(self.mid - self.rad))

    def exp(self) -> RealBalls:
        value = np.exp(self.mid)
        return _rounded(value, value * np.expm1(self.rad))

    def sin(self) -> RealBalls:
        return _rounded(np.sin(self.mid), self.rad)

    def cos(self) -> RealBalls:
        return _rounded(np.cos(self.mid), self.rad)

    def sin_cos(self) -> tuple[RealBalls, RealBalls]:
        return self.sin(), self.cos()

    def tan(self) -> RealBalls:
        return self.sin() / self.cos()

    def sinh_cosh(self) -> tuple[RealBalls, RealBalls]:
        radius = self.rad * np.cosh(np.abs(self.mid) + self.rad)
        return _rounded(np.sinh(self.mid), radius), _rounded(np.cosh(self.mid), radius)

    def tanh(self) -> RealBalls:
        return _rounded(np.tanh(self.mid), self.rad)

    def asin(self) -> RealBalls:
        return _rounded(np.arcsin(self.mid), self.rad / np.sqrt(self._distance_from_units()))

    def acos(self) -> RealBalls:
        return _rounded(np.arccos(self.mid), self.rad / np.sqrt(self._distance_from_units()))

    def atanh(self) -> RealBalls:
        return _rounded(np.arctanh(self.mid), self.rad / self._distance_from_units())

    def _distance_from_units(self) -> Floats:
        """A lower bound of 1 - u^2, NaN where it is not positive."""
        largest = np.abs(self.mid) * (1 + ROUNDING) + self.rad
        return np.asarray(_positive(1 - largest) * (1 + largest))

    def atan(self) -> RealBalls:
        return _rounded(np.arctan(self.mid), self.rad)

    def asinh(self) -> RealBalls:
        return _rounded(np.arcsinh(self.mid), self.rad)

    def acosh(self) -> RealBalls:
        least = self.mid * (1 - ROUNDING) - self.rad
        return _rounded(np.arccosh(self.mid), self.rad / np.sqrt(_positive(least - 1) * (least + 1)))

    def sign(self) -> RealBalls:
        has_sign = np.abs(self.mid) > self.rad
        return RealBalls(np.where(has_sign, np.sign(self.mid), np.nan), np.where(has_sign, 0.0, np.nan))

    def nonzero(self) -> Mask:
        """Where the exact value is certainly not zero."""
        return np.asarray(np.isfinite(self.mid) & (np.abs(self.mid) > self.rad * (1 + ROUNDING)))

    def finite(self) -> Mask:
        """Where there certainly is a value."""
        return np.asarray(np.isfinite(self.mid) & np.isfinite(self.rad))


def _balls(number: RealBalls | int) -> RealBalls:
    return number if isinstance(number, RealBalls) else RealBalls(float(number), 0.0)


def _rounded(mid: Floats, rad: Floats) -> RealBalls:
    return RealBalls(mid, rad * (1 + ROUNDING) + (np.abs(mid) * ROUNDING + UNDERFLOW))


def _positive(bound: Floats) -> Floats:
    """NaN where a bound is not positive; a part in 2^42 less elsewhere, for its rounding error."""
    return np.where(bound > 0, bound * (1 - ROUNDING), np.nan)


def _fixed_power(n: int) -> Rule:
    def rule(u: RealBalls, order: int) -> tuple[RealBalls, ...]:
        return tuple(c * u.power(float(n - k)) for k, c in enumerate((1, n, n * (n - 1) // 2)[: order + 1]))

    return cast(Rule, rule)


def _sqrt(u: RealBalls, order: int) -> tuple[RealBalls, ...]:
    s = u.sqrt()
    return (s,) if order == 0 else (s, 1 / (2 * s), -1 / (8 * s * u))


def _abs(u: RealBalls, order: int) -> tuple[RealBalls, ...]:
    value = RealBalls(np.abs(u.mid), u.rad)
    return (value,) if order == 0 else (value, *_sign(u, order - 1), 0 * u)[: order + 1]


def _sign(u: RealBalls, order: int) -> tuple[RealBalls, ...]:
    return (u.sign(), 0 * u, 0 * u)[: order + 1]


_RULES: dict[str, Rule] = {
    **RULES,
    **{f"pow{n}": _fixed_power(n) for n in (2, 3, 4, 5)},
    "sqrt": _sqrt,
    "abs": _abs,
    "sign": _sign,
}
_CONSTANTS = {"pi": np.pi, "E": np.e}


def evaluate(program: Program, algebra: Algebra, leaves: Mapping[str, list[RealBalls]], points: int) -> list[RealBalls]:
    """The Taylor coefficients of n expressions at K points, a ball (n, K) for each monomial of the algebra.

    ``leaves``: coefficients of variables, constants and unknowns by token, (K,), or (n, K) if they differ between expressions.
    """
    components = len(algebra.monomials)
    mid = np.empty((components, len(program.token), points))
    rad = np.empty_like(mid)
    with np.errstate(all="ignore"):
        for token, nodes in program.leaves:
            mid[:, nodes], rad[:, nodes] = 0, 0
            _fill_leaves(program, TOKENS[token], nodes, leaves, mid, rad)
        for token, nodes in program.steps:
            a = _gather(mid, rad, program.left[nodes])
            name = TOKENS[token]
            if name in _RULES:
                out = compose_jet(algebra, _RULES[name], a)
            else:
                b = _gather(mid, rad, program.right[nodes])
                out = _power(algebra, name, a, b) if name in ("pow", "rac") else binary_jet(name, algebra, a, b)
            for k, ball in enumerate(cast(list[RealBalls], out)):
                mid[k, nodes], rad[k, nodes] = ball.mid, ball.rad
    root = program.root
    missing = (root < 0)[:, None]
    return [
        RealBalls(np.where(missing, np.nan, m[root]), np.where(missing, np.nan, r[root]))
        for m, r in zip(mid, rad, strict=True)
    ]


def _gather(mid: Floats, rad: Floats, nodes: Ints) -> Jet:
    return [RealBalls(m, r) for m, r in zip(mid.take(nodes, axis=1), rad.take(nodes, axis=1), strict=True)]


def _fill_leaves(
    program: Program, name: str, nodes: slice, leaves: Mapping[str, list[RealBalls]], mid: Floats, rad: Floats
) -> None:
    if name in leaves:
        for k, ball in enumerate(leaves[name]):
            mid[k, nodes] = ball.mid if ball.mid.ndim < 2 else ball.mid[program.row[nodes]]
            rad[k, nodes] = ball.rad if ball.rad.ndim < 2 else ball.rad[program.row[nodes]]
    elif name in ("INT+", "INT-"):
        value = program.integer[nodes, None]
        mid[0, nodes] = value
        rad[0, nodes] = np.where(np.abs(value) < MAX_EXACT_INTEGER, 0.0, np.abs(value) * ROUNDING)
    elif name in _CONSTANTS:
        mid[0, nodes], rad[0, nodes] = _CONSTANTS[name], ROUNDING
    else:
        mid[:, nodes], rad[:, nodes] = np.nan, np.nan


def _power(algebra: Algebra, name: str, a: Jet, b: Jet) -> Jet:
    """a^b or the root a^(1/b): the power rule where b is an integer, else exp(b ln a) of a > 0."""
    exponent = b if name == "pow" else compose_jet(algebra, RULES["inv"], b)
    general = compose_jet(algebra, RULES["exp"], multiply(algebra, exponent, compose_jet(algebra, RULES["ln"], a)))
    n = cast(RealBalls, b[0])
    exact = (n.rad == 0) & (n.mid == np.floor(n.mid)) & (np.abs(n.mid) <= MAX_EXACT_POWER)
    if name != "pow" or not exact.any():
        return general
    integer = compose_jet(algebra, _integer_power(np.where(exact, n.mid, 0.0)), a)
    return [
        RealBalls(np.where(exact, u.mid, v.mid), np.where(exact, u.rad, v.rad))
        for u, v in zip(cast(list[RealBalls], integer), cast(list[RealBalls], general), strict=True)
    ]


def _integer_power(n: Floats) -> Callable[[RealBalls, int], tuple[RealBalls, ...]]:
    def rule(u: RealBalls, order: int) -> tuple[RealBalls, ...]:
        factors = (np.ones_like(n), n, n * (n - 1) / 2)
        return tuple(RealBalls(c, 0.0) * u.power(n - k) for k, c in enumerate(factors[: order + 1]))

    return rule
