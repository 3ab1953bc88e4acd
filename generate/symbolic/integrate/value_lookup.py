"""Look up integrands by their values: f is identified by the ratios of its values at three complex points.

The key of f is (ln|r2|, arg r2, ln|r3|, arg r3) with r_k = f(z_k)/f(z_1), rounded to cells; it does not depend on constant factors.
The key of a product is the sum of the keys, so that one f and thousands of g are looked up as f g by additions. A match is a
candidate, never a proof.
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
"""In three quadrants, so that functions that agree only on a part of the plane have different keys."""
CELL_WIDTH = 1e-7  # of ln|r|, and about of arg r
_CELLS_PER_TURN = round(2 * math.pi / CELL_WIDTH)  # cells in a full turn, so that arguments wrap around
_EDGE = 1e-2  # fraction of a cell: closer to its edge than this, the neighbouring cell is searched too
_MIN_MAGNITUDE, _MAX_MAGNITUDE = 1e-150, 1e150
_BITS = 22


def compute_keys(sequences: Sequences) -> Keys:
    """Keys (n, 4) of prefix sequences; NaN where a value is zero or not finite."""
    values = evaluate(compile_expressions(sequences), VALUES, {"x": np.array([POINTS])}, 3)[0]
    with np.errstate(all="ignore"):
        size = np.abs(values)
        usable = (np.isfinite(values) & (size > _MIN_MAGNITUDE) & (size < _MAX_MAGNITUDE)).all(axis=1)
        w = np.log(values[:, 1:] / values[:, :1])
    return np.where(usable[:, None], np.stack([w.real, w.imag], axis=2).reshape(len(values), 4), np.nan)


def compute_key(values: Triple) -> tuple[float, float, float, float] | None:
    """The key of three values; None if one is zero or not finite."""
    if not all(_MIN_MAGNITUDE < abs(v) < _MAX_MAGNITUDE for v in values):
        return None
    a, b = cmath.log(values[1] / values[0]), cmath.log(values[2] / values[0])
    return a.real, a.imag, b.real, b.imag


def _cells(key: Keys) -> NDArray[np.int64]:
    """Cells (..., 2) of the first ratio."""
    cells = np.empty((*key.shape[:-1], 2), dtype=np.int64)
    cells[..., 0] = np.rint(key[..., 0] / CELL_WIDTH)
    cells[..., 1] = np.rint(key[..., 1] * (_CELLS_PER_TURN / (2 * math.pi)))
    cells[..., 1] %= _CELLS_PER_TURN
    return cells


def _bitmap_positions(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bitmap positions of the cells of a first ratio."""
    hashed = cells[..., 0].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    hashed ^= cells[..., 1].astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    hashed ^= hashed >> np.uint64(29)
    hashed *= np.uint64(0x165667B19E3779F9)
    return (hashed >> np.uint64(64 - _BITS)).astype(np.int64)


@dataclass
class KeyIndex:
    """Entry numbers by key. ``bitmap`` is a Bloom-style filter that tests thousands of keys at once."""

    entries: dict[tuple[int, int, int, int], int] = field(default_factory=dict)
    bitmap: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1 << _BITS, dtype=np.bool_))

    def copy(self) -> KeyIndex:
        """An independent copy."""
        return KeyIndex(dict(self.entries), self.bitmap.copy())

    def add(self, key: tuple[float, float, float, float], entry: int) -> bool:
        """Add an entry; returns False, and changes nothing, if the key is taken."""
        if self.find(key) is not None:
            return False
        self.entries[_nearest_cell(key)] = entry
        self.bitmap[_bitmap_positions(_cells(np.array([key])))] = True
        return True

    def find(self, key: tuple[float, float, float, float]) -> int | None:
        """The entry with this key, up to rounding; None if there is none."""
        entry = self.entries.get(_nearest_cell(key))
        if entry is not None:
            return entry
        neighbours = (
            [_neighbours(k / CELL_WIDTH, 0) for k in key[::2]],
            [_neighbours(_angle_in_cells(k), _CELLS_PER_TURN) for k in key[1::2]],
        )
        for a, b, c, d in itertools.product(neighbours[0][0], neighbours[1][0], neighbours[0][1], neighbours[1][1]):
            entry = self.entries.get((a, b, c, d))
            if entry is not None:
                return entry
        return None

    def may_contain(self, firsts: Keys) -> NDArray[np.bool_]:
        """Which keys may be in the index, by their first ratios (n, 2), which must be finite."""
        return np.asarray(self.bitmap[_bitmap_positions(_cells(firsts))])


def _angle_in_cells(angle: float) -> float:
    return angle * (_CELLS_PER_TURN / (2 * math.pi))


def _nearest_cell(key: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    return (
        round(key[0] / CELL_WIDTH),
        round(_angle_in_cells(key[1])) % _CELLS_PER_TURN,
        round(key[2] / CELL_WIDTH),
        round(_angle_in_cells(key[3])) % _CELLS_PER_TURN,
    )


def _neighbours(position: float, cells_per_turn: int) -> tuple[int, ...]:
    nearest = round(position)
    offset = position - nearest
    cells = (nearest,) if abs(offset) < 0.5 - _EDGE else (nearest, nearest + (1 if offset > 0 else -1))
    return tuple(cell % cells_per_turn for cell in cells) if cells_per_turn else cells


class UntrustedValue(ArithmeticError):
    """An expression whose value at one of the points is undefined or inaccurate."""


_SATURATION = 6.0  # beyond it cosh, sinh and e^u / 2 are hard to distinguish
_LARGE = 1e4  # beyond it inverse functions behave like constants and logarithms
_NEGLIGIBLE = 1e-6  # relative size below which a term of a sum is hard to detect


class PointValues:
    """Values of expressions at the three points, cached by subexpression.

    A function or sum that is indistinguishable from another at these points has no value: cosh(x + 30) and e^(x + 30) / 2.
    """

    def __init__(self) -> None:
        self._cache: dict[Expr, Triple] = {X: POINTS}

    def at(self, e: Expr) -> Triple | None:
        """The three values; None if one is undefined or too large."""
        try:
            return self._value(e)
        except (ArithmeticError, ValueError, KeyError):
            return None

    def key(self, e: Expr) -> tuple[float, float, float, float] | None:
        """The key of an expression; None if it has no values."""
        values = self.at(e)
        return None if values is None else compute_key(values)

    def _value(self, e: Expr) -> Triple:
        values = self._cache.get(e)
        if values is None:
            values = self._cache[e] = self._compute(e)
        return values

    def _compute(self, e: Expr) -> Triple:
        if e.is_Number:
            number = complex(e)
            return number, number, number
        kind = type(e)
        if kind is classes.Add or kind is classes.Mul:
            a, b, c = (0j, 0j, 0j) if kind is classes.Add else (1 + 0j, 1 + 0j, 1 + 0j)
            smallest, largest = math.inf, 0.0
            for child in e.args:
                p, q, r = self._value(child)
                if kind is classes.Add:
                    a, b, c = a + p, b + q, c + r
                    size = abs(p)
                    smallest, largest = min(smallest, size), max(largest, size)
                else:
                    a, b, c = a * p, b * q, c * r
            if smallest < _NEGLIGIBLE * largest:
                raise UntrustedValue("a term of a sum is negligible")
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
        if _is_indistinguishable(kind, p) or _is_indistinguishable(kind, q) or _is_indistinguishable(kind, r):
            raise UntrustedValue("argument too large")
        return function(p), function(q), function(r)


def _is_indistinguishable(kind: type, u: complex) -> bool:
    if kind in _HYPERBOLIC:
        return abs(u.real) > _SATURATION
    if kind in _WAVES:
        return abs(u.imag) > _SATURATION
    return kind is not classes.log and not 1 / _LARGE < abs(u) < _LARGE


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
