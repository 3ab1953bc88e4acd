"""Integrands known by their numbers: f is found again by the ratios of its values at three complex points.

The key of f is (ln|r2|, arg r2, ln|r3|, arg r3) with r_k = f(z_k)/f(z_1), rounded to cells: constant factors do not matter. Keys of
products are sums, so that f g is looked up for one f and thousands of g by additions. A hit tells a candidate, never a proof.
"""

from __future__ import annotations

import cmath
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import symengine as se
from numpy.typing import NDArray
from symengine.lib import symengine_wrapper as classes

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.symbolic.expr.canonical_form import Expr, X
from mathpipe.generate.symbolic.numeric.array_programs import compile_expressions
from mathpipe.generate.symbolic.numeric.taylor import VALUES, evaluate

Keys = NDArray[np.float64]
Triple = tuple[complex, complex, complex]

POINTS: Triple = (0.5371 + 0.2113j, 2.1291 - 0.4177j, -0.8123 + 0.7391j)
"""In three quadrants, so that functions that agree on a part of the plane only have different keys."""
CELL = 1e-7  # of ln|r|, and about of arg r
_TURN = round(2 * math.pi / CELL)  # cells of a full turn, so that arguments close up
_NEAR = 1e-2  # of a cell: so close to its edge, the neighbour is looked at too
_LEAST, _MOST = 1e-150, 1e150
_BITS = 22


def keys_of(sequences: Sequences) -> Keys:
    """(n, 4) keys of written expressions; NaN where a value is not finite or is zero."""
    values = evaluate(compile_expressions(sequences), VALUES, {"x": np.array([POINTS])}, 3)[0]
    with np.errstate(all="ignore"):
        size = np.abs(values)
        good = (np.isfinite(values) & (size > _LEAST) & (size < _MOST)).all(axis=1)
        w = np.log(values[:, 1:] / values[:, :1])
    return np.where(good[:, None], np.stack([w.real, w.imag], axis=2).reshape(len(values), 4), np.nan)


def key_of(values: Triple) -> tuple[float, float, float, float] | None:
    """The key of three values; None where one is zero or not finite."""
    if not all(_LEAST < abs(v) < _MOST for v in values):
        return None
    a, b = cmath.log(values[1] / values[0]), cmath.log(values[2] / values[0])
    return a.real, a.imag, b.real, b.imag


def _cells(key: Keys) -> NDArray[np.int64]:
    """(..., 2) cells of the first ratio."""
    cells = np.empty((*key.shape[:-1], 2), dtype=np.int64)
    cells[..., 0] = np.rint(key[..., 0] / CELL)
    cells[..., 1] = np.rint(key[..., 1] * (_TURN / (2 * math.pi)))
    cells[..., 1] %= _TURN
    return cells


def _places(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places in the bitmap of cells of a first ratio."""
    mixed = cells[..., 0].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= cells[..., 1].astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0x165667B19E3779F9)
    return (mixed >> np.uint64(64 - _BITS)).astype(np.int64)


@dataclass
class Index:
    """Numbers of entries by key; ``seen``: a bitmap that tells thousands of keys at once whether they may be in it."""

    entries: dict[tuple[int, int, int, int], int] = field(default_factory=dict)
    seen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1 << _BITS, dtype=np.bool_))

    def copy(self) -> Index:
        """One that may grow by itself."""
        return Index(dict(self.entries), self.seen.copy())

    def add(self, key: tuple[float, float, float, float], entry: int) -> bool:
        """Put an entry under a key; False, and nothing done, where one stands there."""
        if self.find(key) is not None:
            return False
        self.entries[_nearest_cell(key)] = entry
        self.seen[_places(_cells(np.array([key])))] = True
        return True

    def find(self, key: tuple[float, float, float, float]) -> int | None:
        """The entry whose key this is, up to rounding."""
        found = self.entries.get(_nearest_cell(key))
        if found is not None:
            return found
        options = [_neighbours(k / CELL, 0) for k in key[::2]], [_neighbours(_turned(k), _TURN) for k in key[1::2]]
        for a, b, c, d in itertools.product(options[0][0], options[1][0], options[0][1], options[1][1]):
            found = self.entries.get((a, b, c, d))
            if found is not None:
                return found
        return None

    def maybe(self, firsts: Keys) -> NDArray[np.bool_]:
        """Which keys are worth looking for, by their first ratios (n, 2), finite."""
        return np.asarray(self.seen[_places(_cells(firsts))])


def _turned(angle: float) -> float:
    return angle * (_TURN / (2 * math.pi))


def _nearest_cell(key: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    return round(key[0] / CELL), round(_turned(key[1])) % _TURN, round(key[2] / CELL), round(_turned(key[3])) % _TURN


def _neighbours(place: float, turn: int) -> tuple[int, ...]:
    nearest = round(place)
    off = place - nearest
    cells = (nearest,) if abs(off) < 0.5 - _NEAR else (nearest, nearest + (1 if off > 0 else -1))
    return tuple(cell % turn for cell in cells) if turn else cells


class Undefined(ArithmeticError):
    """An expression without a value to trust at one of the points."""


_SATURATED = 6.0  # beyond it cosh, sinh and e^u / 2 are hard to tell apart
_FAR = 1e4  # beyond it inverse functions are constants and logarithms
_LOST = 1e-6  # terms smaller than this beside others are hard to see in a sum


class Values:
    """Values of expressions at the three points, remembered by subexpression.

    Where a function or a sum is so far out that others look like it (cosh(x + 30) and e^(x + 30) / 2), it has no value here.
    """

    def __init__(self) -> None:
        self._known: dict[Expr, Triple] = {X: POINTS}

    def at(self, e: Expr) -> Triple | None:
        """Three values; None where one is undefined or too large."""
        try:
            return self._value(e)
        except (ArithmeticError, ValueError, KeyError):
            return None

    def key(self, e: Expr) -> tuple[float, float, float, float] | None:
        """The key of an expression."""
        values = self.at(e)
        return None if values is None else key_of(values)

    def _value(self, e: Expr) -> Triple:
        known = self._known.get(e)
        if known is None:
            known = self._known[e] = self._compute(e)
        return known

    def _compute(self, e: Expr) -> Triple:
        if e.is_Number:
            number = complex(e)
            return number, number, number
        kind = type(e)
        if kind is classes.Add or kind is classes.Mul:
            a, b, c = (0j, 0j, 0j) if kind is classes.Add else (1 + 0j, 1 + 0j, 1 + 0j)
            least, most = math.inf, 0.0
            for child in e.args:
                p, q, r = self._value(child)
                if kind is classes.Add:
                    a, b, c = a + p, b + q, c + r
                    size = abs(p)
                    least, most = min(least, size), max(most, size)
                else:
                    a, b, c = a * p, b * q, c * r
            if least < _LOST * most:
                raise Undefined("a term is lost in a sum")
            return a, b, c
        if kind is classes.Pow:
            base, exponent = e.args
            u, v = self._value(base), self._value(exponent)
            return u[0] ** v[0], u[1] ** v[1], u[2] ** v[2]
        constant = _CONSTANTS.get(kind)
        if constant is not None:
            return constant, constant, constant
        function = _FUNCTIONS[kind]
        p, q, r = self._value(e.args[0])
        if _too_far(kind, p) or _too_far(kind, q) or _too_far(kind, r):
            raise Undefined("a function far out")
        return function(p), function(q), function(r)


def _too_far(kind: type, u: complex) -> bool:
    if kind in _HYPERBOLIC:
        return abs(u.real) > _SATURATED
    if kind in _WAVES:
        return abs(u.imag) > _SATURATED
    return kind is not classes.log and not 1 / _FAR < abs(u) < _FAR


_HYPERBOLIC = frozenset((classes.sinh, classes.cosh, classes.tanh))
_WAVES = frozenset((classes.sin, classes.cos, classes.tan))
_CONSTANTS = {type(se.pi): complex(math.pi), type(se.E): complex(math.e)}
_NAMES = {"log": cmath.log, "asin": cmath.asin, "acos": cmath.acos, "atan": cmath.atan}
_NAMES |= {
    name: getattr(cmath, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh")
}
_FUNCTIONS: dict[type, Callable[[complex], complex]] = {
    type(getattr(se, name)(se.Symbol("u"))): function for name, function in _NAMES.items()
}
