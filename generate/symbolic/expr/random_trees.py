"""Random expressions: unary-binary trees, uniform over all with exactly n operators, then operators and leaves by weight.

D(e, n) counts the ways to fill e empty places with n operators: D(0, n) = 0, D(e, 0) = 1,
D(e, n) = D(e-1, n) + D(e, n-1) + D(e+1, n-1). With e places and n operators left, the next operator skips k places (they become
leaves) with P(k, unary) = D(e-k, n-1) / D(e, n) and P(k, binary) = D(e-k+1, n-1) / D(e, n).
Source: Lample and Charton 2020, appendix C.
"""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np

from mathpipe.datasets.errors import UserError, nearest
from mathpipe.datasets.expressions.prefix import Tree, parse
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.spec import ExpressionSpec, Family

BINARY_WEIGHTS = {"add": 10, "mul": 10, "div": 5, "sub": 3}
UNARY_WEIGHTS = {
    **dict.fromkeys(("sqrt", "pow2", "ln", "exp", "sin", "cos", "tan"), 4),
    "pow3": 2,
    **dict.fromkeys(("pow4", "pow5", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"), 1),
}
_POWERS = ("pow2", "pow3", "pow4", "pow5")
FAMILIES: dict[Family, tuple[str, ...]] = {
    "general": tuple(UNARY_WEIGHTS),
    "polynomial": _POWERS,
    "trigonometric": ("sin", "cos", "tan", "asin", "acos", "atan"),
    "logarithmic": ("ln",),
}
X: Tree = (IDS["x"],)


@cache
def ways(places: int, operators: int) -> int:
    """D(places, operators)."""
    if places == 0:
        return 0
    if operators == 0:
        return 1
    return ways(places - 1, operators) + ways(places, operators - 1) + ways(places + 1, operators - 1)


@dataclass(frozen=True)
class Alphabet:
    """Operators by arity with the running sums of their chances, so that one uniform number chooses one."""

    unary: tuple[int, ...]
    unary_chances: tuple[float, ...]
    binary: tuple[int, ...]
    binary_chances: tuple[float, ...]


@cache
def alphabet(operators: str, family: Family) -> Alphabet:
    """The published weights, restricted to a family, with the named ones changed; UserError for unknown or missing operators."""
    weights = {name: float(w) for name, w in BINARY_WEIGHTS.items()}
    weights |= {name: float(UNARY_WEIGHTS[name]) for name in FAMILIES[family]}
    for part in filter(None, (p.strip() for p in operators.split(","))):
        name, colon, weight = part.partition(":")
        known = (*BINARY_WEIGHTS, *UNARY_WEIGHTS)
        if name not in known:
            near = nearest(name, known)
            raise UserError(
                f"operators: {name!r} is not one that is drawn",
                expected=f"one of {', '.join(known)}",
                got=repr(part),
                next_step=f"did you mean {near}?" if near else None,
            )
        try:
            weights[name] = float(weight) if colon else float({**BINARY_WEIGHTS, **UNARY_WEIGHTS}[name])
        except ValueError:
            weights[name] = -1.0
        if not 0 <= weights[name] <= 1e6:
            raise UserError(f"operators: {part!r} has no weight", expected="name:weight, such as div:0 or sin:4")
    chosen = []
    for names in (UNARY_WEIGHTS, BINARY_WEIGHTS):
        kept = [name for name in names if weights.get(name, 0) > 0]
        if not kept:
            raise UserError(
                "operators: none is left of one arity", expected="at least one unary and one binary operator"
            )
        total = sum(weights[name] for name in kept)
        chances = tuple(itertools.accumulate(weights[name] / total for name in kept))
        chosen.append((tuple(IDS[name] for name in kept), (*chances[:-1], 1.0)))
    return Alphabet(*chosen[0], *chosen[1])


@cache
def _next_place(places: int, operators: int) -> tuple[tuple[float, ...], tuple[tuple[int, int], ...]]:
    """Running sums of the chances of (places skipped, arity) of the next operator."""
    options = [(k, arity, ways(places - k + arity - 1, operators - 1)) for arity in (1, 2) for k in range(places)]
    total = ways(places, operators)
    sums = tuple(s / total for s in itertools.accumulate(w for _, _, w in options))
    return (*sums[:-1], 1.0), tuple((k, arity) for k, arity, _ in options)


def draw_operator_counts(rng: np.random.Generator, n: int, spec: ExpressionSpec) -> list[int]:
    """How many operators each of n trees has."""
    usual = rng.integers(spec.min_operators, spec.max_operators, size=n, endpoint=True)
    few = rng.integers(0, max(spec.min_operators - 1, 0), size=n, endpoint=True)
    rarely = (rng.random(n) < spec.few_share) & (spec.min_operators > 0)
    return [int(k) for k in np.where(rarely, few, usual)]


def draw_trees(rng: np.random.Generator, n: int, spec: ExpressionSpec, counts: list[int] | None = None) -> list[Tree]:
    """n random trees; each takes its own row of the random numbers, so none depends on another.

    ``counts``: operators of each, drawn by the spec where left out.
    """
    counts = draw_operator_counts(rng, n, spec) if counts is None else counts
    letters = alphabet(spec.operators, spec.family)
    width = 4 * max(counts, default=0) + 2
    numbers = rng.random((n, width)).tolist()
    return [_tree(count, row, letters, spec) for count, row in zip(counts, numbers, strict=True)]


def _tree(operators: int, numbers: list[float], letters: Alphabet, spec: ExpressionSpec) -> Tree:
    """The shape as a prefix sequence (None for a leaf), then letters and leaves, put together from the end."""
    take = iter(numbers).__next__
    prefix: list[int | None] = []
    arities: list[int] = []
    # ``places`` empty places in prefix order; an operator fills one after skipping some, and opens ``arity`` new ones
    left, places = operators, 1
    while left:
        sums, options = _next_place(places, left)
        skip, arity = options[bisect.bisect_right(sums, take(), hi=len(sums) - 1)]
        prefix += [None] * skip
        arities += [0] * skip
        if arity == 1:
            prefix.append(letters.unary[bisect.bisect_right(letters.unary_chances, take(), hi=len(letters.unary) - 1)])
        else:
            prefix.append(
                letters.binary[bisect.bisect_right(letters.binary_chances, take(), hi=len(letters.binary) - 1)]
            )
        arities.append(arity)
        places += arity - skip - 1
        left -= 1
    prefix += [None] * places
    arities += [0] * places
    stack: list[Tree] = []
    share, most = spec.variable_share, spec.max_int
    for word, arity in zip(reversed(prefix), reversed(arities), strict=True):
        if word is None:
            u = take()
            stack.append(X if u < share else 1 + int((u - share) / (1 - share) * most))
        elif arity == 1:
            stack[-1] = (word, stack[-1])
        else:
            first = stack.pop()
            stack[-1] = (word, first, stack[-1])
    return stack[0]


_EXPONENTIALS = bytes(IDS[name] for name in ("exp", "sinh", "cosh"))


def nested_exponentials(written: bytes) -> int:
    """The most of exp, sinh and cosh on one way from the root of a written expression to a leaf."""
    if len(written) - len(written.translate(None, _EXPONENTIALS)) <= 1:
        return len(written) - len(written.translate(None, _EXPONENTIALS))
    return _nested(parse(written))


def _nested(tree: Tree) -> int:
    if isinstance(tree, int) or len(tree) == 1:
        return 0
    return (tree[0] in _EXPONENTIALS) + max(_nested(child) for child in tree[1:])


def check_spec(spec: ExpressionSpec) -> None:
    """UserError where no expression can be drawn by this spec."""
    alphabet(spec.operators, spec.family)
