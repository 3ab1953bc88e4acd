"""Random expressions: unary-binary trees, uniform over all with exactly n operators; operators and leaves sampled by weight.

D(e, n) counts the ways to fill e empty nodes with n operators: D(0, n) = 0, D(e, 0) = 1,
D(e, n) = D(e-1, n) + D(e, n-1) + D(e+1, n-1). With e empty nodes and n operators left, the next operator skips k nodes (they
become leaves) with P(k, unary) = D(e-k, n-1) / D(e, n) and P(k, binary) = D(e-k+1, n-1) / D(e, n).
Source: Lample and Charton 2020, appendix C.
"""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np

from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.datasets.expressions.prefix import Tree, parse
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec, Family

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
def count_trees(empty_nodes: int, operators: int) -> int:
    """D(empty_nodes, operators)."""
    if empty_nodes == 0:
        return 0
    if operators == 0:
        return 1
    return (
        count_trees(empty_nodes - 1, operators)
        + count_trees(empty_nodes, operators - 1)
        + count_trees(empty_nodes + 1, operators - 1)
    )


@dataclass(frozen=True)
class OperatorDistribution:
    """Operators by arity with their cumulative probabilities, so that one uniform number selects one."""

    unary: tuple[int, ...]
    unary_cumulative: tuple[float, ...]
    binary: tuple[int, ...]
    binary_cumulative: tuple[float, ...]


@cache
def operator_distribution(operators: str, family: Family) -> OperatorDistribution:
    """The published weights, restricted to a family and overridden by ``operators`` (``name:weight,...``).

    Raises UserError for unknown operators and if no operator of one arity is left.
    """
    weights = {name: float(w) for name, w in BINARY_WEIGHTS.items()}
    weights |= {name: float(UNARY_WEIGHTS[name]) for name in FAMILIES[family]}
    for part in filter(None, (p.strip() for p in operators.split(","))):
        name, colon, weight = part.partition(":")
        all_operators = (*BINARY_WEIGHTS, *UNARY_WEIGHTS)
        if name not in all_operators:
            raise UserError(
                f"operators: {name!r} is not an operator that is sampled",
                expected=f"one of {', '.join(all_operators)}",
                got=repr(part),
                next_step=did_you_mean(name, all_operators),
            )
        try:
            weights[name] = float(weight) if colon else float({**BINARY_WEIGHTS, **UNARY_WEIGHTS}[name])
        except ValueError:
            weights[name] = -1.0
        if not 0 <= weights[name] <= 1e6:
            raise UserError(f"operators: {part!r} has no valid weight", expected="name:weight, such as div:0 or sin:4")
    by_arity = []
    for names in (UNARY_WEIGHTS, BINARY_WEIGHTS):
        allowed = [name for name in names if weights.get(name, 0) > 0]
        if not allowed:
            raise UserError(
                "operators: no operator of one arity is left", expected="at least one unary and one binary operator"
            )
        total = sum(weights[name] for name in allowed)
        cumulative = tuple(itertools.accumulate(weights[name] / total for name in allowed))
        by_arity.append((tuple(IDS[name] for name in allowed), (*cumulative[:-1], 1.0)))
    return OperatorDistribution(*by_arity[0], *by_arity[1])


@cache
def _next_operator(empty_nodes: int, operators: int) -> tuple[tuple[float, ...], tuple[tuple[int, int], ...]]:
    """Cumulative probabilities of (nodes skipped, arity) of the next operator."""
    options = [
        (k, arity, count_trees(empty_nodes - k + arity - 1, operators - 1))
        for arity in (1, 2)
        for k in range(empty_nodes)
    ]
    total = count_trees(empty_nodes, operators)
    sums = tuple(s / total for s in itertools.accumulate(w for _, _, w in options))
    return (*sums[:-1], 1.0), tuple((k, arity) for k, arity, _ in options)


def sample_operator_counts(rng: np.random.Generator, n: int, spec: ExpressionSpec) -> list[int]:
    """The number of operators of each of n trees."""
    regular = rng.integers(spec.min_operators, spec.max_operators, size=n, endpoint=True)
    few = rng.integers(0, max(spec.min_operators - 1, 0), size=n, endpoint=True)
    is_few = (rng.random(n) < spec.few_share) & (spec.min_operators > 0)
    return [int(k) for k in np.where(is_few, few, regular)]


def sample_trees(rng: np.random.Generator, n: int, spec: ExpressionSpec, counts: list[int] | None = None) -> list[Tree]:
    """n random trees; each consumes its own row of the random numbers, so no tree depends on another.

    ``counts``: the number of operators of each tree; by default sampled as the spec says.
    """
    counts = sample_operator_counts(rng, n, spec) if counts is None else counts
    distribution = operator_distribution(spec.operators, spec.family)
    width = 4 * max(counts, default=0) + 2
    numbers = rng.random((n, width)).tolist()
    return [_tree(count, row, distribution, spec) for count, row in zip(counts, numbers, strict=True)]


def _tree(operators: int, numbers: list[float], distribution: OperatorDistribution, spec: ExpressionSpec) -> Tree:
    """Sample the shape as a prefix sequence (None for a leaf), then build the tree from its end, sampling leaves."""
    take = iter(numbers).__next__
    prefix: list[int | None] = []
    arities: list[int] = []
    # ``empty_nodes`` in prefix order: an operator fills one of them after skipping some, and adds ``arity`` new ones
    left, empty_nodes = operators, 1
    while left:
        sums, options = _next_operator(empty_nodes, left)
        skip, arity = options[bisect.bisect_right(sums, take(), hi=len(sums) - 1)]
        prefix += [None] * skip
        arities += [0] * skip
        if arity == 1:
            prefix.append(
                distribution.unary[
                    bisect.bisect_right(distribution.unary_cumulative, take(), hi=len(distribution.unary) - 1)
                ]
            )
        else:
            prefix.append(
                distribution.binary[
                    bisect.bisect_right(distribution.binary_cumulative, take(), hi=len(distribution.binary) - 1)
                ]
            )
        arities.append(arity)
        empty_nodes += arity - skip - 1
        left -= 1
    prefix += [None] * empty_nodes
    arities += [0] * empty_nodes
    stack: list[Tree] = []
    variable_share, max_int = spec.variable_share, spec.max_int
    for token, arity in zip(reversed(prefix), reversed(arities), strict=True):
        if token is None:
            u = take()
            stack.append(X if u < variable_share else 1 + int((u - variable_share) / (1 - variable_share) * max_int))
        elif arity == 1:
            stack[-1] = (token, stack[-1])
        else:
            first = stack.pop()
            stack[-1] = (token, first, stack[-1])
    return stack[0]


_EXPONENTIALS = bytes(IDS[name] for name in ("exp", "sinh", "cosh"))


def nested_exponentials(tokens: bytes) -> int:
    """The largest number of exp, sinh and cosh on a path from the root of an expression to a leaf."""
    count = len(tokens) - len(tokens.translate(None, _EXPONENTIALS))
    return count if count <= 1 else _nested(parse(tokens))


def _nested(tree: Tree) -> int:
    if isinstance(tree, int) or len(tree) == 1:
        return 0
    return (tree[0] in _EXPONENTIALS) + max(_nested(child) for child in tree[1:])


def check_spec(spec: ExpressionSpec) -> None:
    """Raises UserError if no expression can be sampled with this spec."""
    operator_distribution(spec.operators, spec.family)
