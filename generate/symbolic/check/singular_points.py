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
from mathpipe.generate.symbolic.numeric.array_programs import Ints, Program, compile_expressions
from mathpipe.generate.symbolic.numeric.balls import rational
from mathpipe.generate.symbolic.numeric.common_subexpressions import eliminate_common_subexpressions
from mathpipe.generate.symbolic.numeric.taylor import VALUES, evaluate

Fraction = tuple[Any, Any]  # numerator and denominator, flint.fmpq_poly

MAX_DEGREE = 40
MAX_BITS = 20_000  # of a coefficient
MAX_FUNCTIONS = 40
MAX_ROOTS = 64
FEW_ZEROS = 8
_LISTS = 64  # expressions whose zeros are refined together
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
    return critical_points_of_each([trees], variable)[0]


def critical_points_of_each(lists: list[list[Tree]], variable: Tree = X) -> list[CriticalPoints]:
    """The same for each list of expressions."""
    return [
        points
        for first in range(0, len(lists), _LISTS)
        for points in _critical_points(lists[first : first + _LISTS], variable)
    ]


def _critical_points(lists: list[list[Tree]], variable: Tree) -> list[CriticalPoints]:
    exact: list[set[float]] = [set() for _ in lists]
    omitted = [0] * len(lists)
    others: list[Tree] = []
    owners: list[int] = []
    for k, trees in enumerate(lists):
        functions = list(dict.fromkeys(g for tree in trees for g in _vanishing_functions(tree)))
        omitted[k] = max(len(functions) - MAX_FUNCTIONS, 0)
        for g in functions[:MAX_FUNCTIONS]:
            fraction = as_fraction(g, variable)
            if fraction is None:
                others.append(g)
                owners.append(k)
            else:
                exact[k].update(root for part in fraction for root in _real_roots(part))
    changes: list[list[float]] = [[] for _ in lists]
    for k, zero in _sign_changes(others, owners, TOKENS[variable[0]] if isinstance(variable, tuple) else "x"):
        if np.isfinite(zero):
            changes[k].append(zero)
    return [_nearest(*parts) for parts in zip(exact, changes, omitted, strict=True)]


def _nearest(exact: set[float], changes: list[float], omitted: int) -> CriticalPoints:
    """The critical points next to zero, at most ``MAX_ROOTS``."""
    by_size = sorted({0.0, *exact, *changes}, key=lambda r: (abs(r), r))
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
    if n * max((c.height_bits() for part in a for c in part.coeffs()), default=0) > MAX_BITS:
        return None
    return a[0] ** n, a[1] ** n


def _real_roots(p: Any) -> list[float]:
    if p.degree() < 1:
        return []
    if p.degree() == 1:
        return [float(-fmpq(p[0]) / fmpq(p[1]))] if abs(p[0]) < abs(p[1]) * 10**300 else []
    return [float(root.real) for root, _ in p.numer().complex_roots() if root.imag.is_zero() or root.imag.contains(0)]


def _sign_changes(functions: list[Tree], owners: list[int], variable: str) -> Iterator[tuple[int, float]]:
    """(owner, zero) of real functions between neighbouring points of the grid; ``owners``: ascending, one of each function."""
    if not functions:
        return
    sequences = Sequences.from_list(write(g) for g in functions)
    program = eliminate_common_subexpressions(compile_expressions(sequences), np.zeros(len(functions), dtype=np.int64))
    real = _real_values(program, variable, GRID[None])
    with np.errstate(all="ignore"):
        row, cell = np.nonzero(real[:, :-1] * real[:, 1:] <= 0)
    owner = np.array(owners)[row]
    within = np.arange(len(row)) - np.searchsorted(owner, owner)
    row, cell, owner = (part[within < MAX_ROOTS * 2] for part in (row, cell, owner))
    counts = np.bincount(row, minlength=len(functions))
    for few in (counts[row] <= FEW_ZEROS, counts[row] > FEW_ZEROS):  # functions with few zeros need few columns
        if few.any():
            changing, new_row = np.unique(row[few], return_inverse=True)
            zeros = _zeros(sequences.take(changing), variable, new_row, cell[few])
            yield from zip(owner[few].tolist(), zeros.tolist(), strict=True)


def _zeros(functions: Sequences, variable: str, row: Ints, cell: Ints) -> NDArray[np.float64]:
    """The zeros of functions in cells of the grid, one for each (row, cell), rows ascending; NaN where there is none."""
    counts = np.bincount(row)
    column = np.concatenate([np.arange(n) for n in counts])
    left, right = (np.full((len(functions), int(counts.max())), np.nan) for _ in range(2))
    left[row, column], right[row, column] = GRID[cell], GRID[cell + 1]
    program = eliminate_common_subexpressions(compile_expressions(functions))
    return np.asarray(_refine(program, variable, left, right)[row, column])


def _real_values(program: Program, variable: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values (n, K) of n functions at the points (groups, K) of their groups, NaN where they are not real."""
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
