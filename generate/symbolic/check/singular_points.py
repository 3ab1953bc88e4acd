"""Where real functions may change: roots of radicands, denominators and arguments of abs, sign and ln, and branch points.

Between two neighbouring critical points an expression is one analytic function, so one point decides an interval. Roots of rational
functions are isolated exactly; those of other functions are sign changes on a fixed grid of reals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import fmpq, fmpq_poly
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree, write
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.generate.symbolic.numeric.array_programs import Program, compile_expressions
from mathpipe.generate.symbolic.numeric.balls import rational
from mathpipe.generate.symbolic.numeric.taylor import VALUES, evaluate

Fraction = tuple[Any, Any]  # numerator and denominator, flint.fmpq_poly

MAX_DEGREE = 40
MAX_FUNCTIONS = 40
MAX_ROOTS = 64
REFINEMENTS = 12  # steps towards each zero
CLOSE, UNBOUNDED = 1e-13, 1e5  # a function larger than the second at the first from a point has a pole there
X = (IDS["x"],)
_SIZES = np.concatenate(
    [10.0 ** np.arange(-6, 0), np.arange(0.25, 12, 0.25) + 1 / 1024, np.arange(12, 60, 1.0), 10 ** np.arange(2, 5, 0.5)]
)
GRID = np.concatenate([-_SIZES[::-1], _SIZES])


@dataclass(frozen=True)
class CriticalPoints:
    """``values``: sorted; ``exact``: roots of rational functions; ``omitted``: functions and roots beyond the limits."""

    values: tuple[float, ...]
    exact: tuple[float, ...]
    omitted: int


def critical_points(trees: list[Tree], variable: Tree = X) -> CriticalPoints:
    """The critical points of these expressions in one variable; other leaves must be numbers."""
    functions = list(dict.fromkeys(g for tree in trees for g in _vanishing_functions(tree)))
    omitted = max(len(functions) - MAX_FUNCTIONS, 0)
    exact: set[float] = set()
    others: list[Tree] = []
    for g in functions[:MAX_FUNCTIONS]:
        fraction = as_fraction(g, variable)
        if fraction is None:
            others.append(g)
        else:
            exact.update(root for part in fraction for root in _real_roots(part))
    roots = {0.0, *exact, *_sign_changes(others, TOKENS[variable[0]] if isinstance(variable, tuple) else "x")}
    by_size = sorted(roots, key=lambda r: (abs(r), r))
    return CriticalPoints(
        tuple(sorted(by_size[:MAX_ROOTS])), tuple(sorted(exact)), omitted + max(len(by_size) - MAX_ROOTS, 0)
    )


def real_domain_ends(f: Tree) -> tuple[float, ...]:
    """The critical points at which the real domain of f ends or is interrupted: f is not real, or unbounded, on one side."""
    roots = np.array(critical_points([f]).values)
    step = CLOSE * np.maximum(np.abs(roots), 1)
    x = np.concatenate([roots - step, roots + step]).astype(np.complex128)
    values = evaluate(compile_expressions(Sequences.from_list([write(f)])), VALUES, {"x": x[None]}, len(x))[0, 0]
    with np.errstate(all="ignore"):
        bounded = (np.abs(values.imag) <= 1e-9 * np.abs(values.real)) & (np.abs(values.real) < UNBOUNDED)
    both_sides = bounded.reshape(2, -1).all(axis=0)
    return tuple(roots[~both_sides].tolist())


_ONE_ROOT = {"sqrt", "ln", "abs", "sign", "inv", "cot", "csc", "coth", "csch", "pow2", "pow3", "pow4", "pow5"}
_BOTH_UNITS = {"asin", "acos", "atanh", "acosh"}
_OF_RECIPROCAL = {"acot", "asec", "acsc", "acoth", "asech", "acsch"}
_INNER = {"tan": "cos", "sec": "cos", "cot": "sin", "csc": "sin"}


def _vanishing_functions(tree: Tree) -> Iterator[Tree]:
    """Functions at whose zeros the expression may change."""
    if isinstance(tree, int) or len(tree) == 1:
        return
    name, u = TOKENS[tree[0]], tree[1]
    if name in _INNER:
        yield (IDS[_INNER[name]], u)
    if name in _ONE_ROOT | _OF_RECIPROCAL:
        yield u
    if name in _BOTH_UNITS | _OF_RECIPROCAL:
        yield from ((IDS["sub"], u, 1), (IDS["add"], u, 1))
    if name == "div":
        yield tree[2]
    if name in ("pow", "rac"):
        yield u
    for child in tree[1:]:
        yield from _vanishing_functions(child)


def as_fraction(tree: Tree, variable: Tree = X) -> Fraction | None:
    """(numerator, denominator) of a rational function of the variable with rational coefficients, None for other trees."""
    if isinstance(tree, int):
        return fmpq_poly([tree]), fmpq_poly([1])
    if tree == variable:
        return fmpq_poly([0, 1]), fmpq_poly([1])
    name = TOKENS[tree[0]]
    if len(tree) == 1 or name not in _RATIONAL:
        return None
    a = as_fraction(tree[1], variable)
    if a is None:
        return None
    if name in _POWERS:
        return _fraction_power(a, _POWERS[name])
    if name == "pow":
        exponent = rational(tree[2])
        return None if exponent is None or exponent.denom() != 1 else _fraction_power(a, int(exponent.numer()))
    b = as_fraction(tree[2], variable)
    if b is None:
        return None
    if name == "div":
        b = b[1], b[0]
    if name in ("mul", "div"):
        result = a[0] * b[0], a[1] * b[1]
    elif a[1] == b[1]:
        result = (a[0] + b[0] if name == "add" else a[0] - b[0]), a[1]
    else:
        crossed = b[0] * a[1]
        result = (a[0] * b[1] + crossed if name == "add" else a[0] * b[1] - crossed), a[1] * b[1]
    return result if max(result[0].degree(), result[1].degree()) <= MAX_DEGREE else None


_POWERS = {"inv": -1, "pow2": 2, "pow3": 3, "pow4": 4, "pow5": 5}
_RATIONAL = {"add", "sub", "mul", "div", "pow", *_POWERS}


def _fraction_power(a: Fraction, n: int) -> Fraction | None:
    if n < 0:
        a, n = (a[1], a[0]), -n
    if n * max(a[0].degree(), a[1].degree()) > MAX_DEGREE or n > MAX_DEGREE:
        return None
    return a[0] ** n, a[1] ** n


def _real_roots(p: Any) -> list[float]:
    if p.degree() < 1:
        return []
    if p.degree() == 1:
        return [float(-fmpq(p[0]) / fmpq(p[1]))] if abs(p[0]) < abs(p[1]) * 10**300 else []
    return [float(root.real) for root, _ in p.numer().complex_roots() if root.imag.is_zero() or root.imag.contains(0)]


def _sign_changes(functions: list[Tree], variable: str) -> list[float]:
    """Zeros of real functions between neighbouring points of the grid."""
    if not functions:
        return []
    program = compile_expressions(Sequences.from_list(write(g) for g in functions))
    real = _real_values(program, variable, np.broadcast_to(GRID, (len(functions), len(GRID))))
    with np.errstate(all="ignore"):
        row, cell = np.nonzero(real[:, :-1] * real[:, 1:] <= 0)
    row, cell = row[: MAX_ROOTS * 2], cell[: MAX_ROOTS * 2]
    if not len(row):
        return []
    width = int(np.bincount(row).max())
    column = np.concatenate([np.arange(n) for n in np.bincount(row)])
    left, right = (np.full((len(functions), width), np.nan) for _ in range(2))
    left[row, column], right[row, column] = GRID[cell], GRID[cell + 1]
    zeros = _refine(program, variable, left, right)
    return [float(z) for z in zeros[np.isfinite(zeros)]]


def _real_values(program: Program, variable: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values (n, K) of n functions at points (n, K) of their own, NaN where they are not real."""
    values = evaluate(program, VALUES, {variable: x[None].astype(np.complex128)}, x.shape[1])[0]
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(values) & (np.abs(values.imag) <= 1e-9 * np.abs(values)), values.real, np.nan)


def _refine(
    program: Program, variable: str, left: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The zeros (n, K) between left and right by the Illinois method, NaN where there is none."""
    at_left, at_right = (_real_values(program, variable, x) for x in (left, right))
    middle = left
    with np.errstate(all="ignore"):
        for _ in range(REFINEMENTS):
            middle = np.where(at_left == at_right, left, (left * at_right - right * at_left) / (at_right - at_left))
            at_middle = _real_values(program, variable, middle)
            same = at_middle * at_right > 0
            at_left = np.where(same, at_left / 2, at_right)
            left = np.where(same, left, right)
            right, at_right = middle, at_middle
    return middle
