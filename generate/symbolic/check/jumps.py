"""Jumps of an antiderivative at isolated points where f is continuous: 2/sqrt(3) atan(tan(x/2)/sqrt(3)) for 1/(2 + cos x) at pi.

Such an antiderivative is right on every interval between its jumps. They are counted among the critical points of F in [-60, 60]
that double precision sees: across one, F changes by more than the integral of f over it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree, parse
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.generate.symbolic.check.singular_points import critical_points_of_each
from mathpipe.generate.symbolic.numeric.array_programs import compile_expressions
from mathpipe.generate.symbolic.numeric.balls import rational
from mathpipe.generate.symbolic.numeric.taylor import VALUES, evaluate

HALF_WIDTH = 0.02
MIN_JUMP = 0.1
WITHIN = 60.0
_JUMP_AT_POLES = {"atan", "acot"}
_JUMP = {"sign", "acot", "asec", "acsc", "acoth", "asech", "acsch"}  # at zeros of their arguments
_MAY_JUMP = tuple(IDS[name] for name in sorted(_JUMP | _JUMP_AT_POLES))
_WITH_POLES = {"tan", "cot", "sec", "csc", "coth", "csch", "inv", "div"}


def may_jump(tree: Tree, inside: bool = False) -> bool:
    """Whether it holds sign, an inverse function of a reciprocal, or atan of something with poles."""
    if isinstance(tree, int) or len(tree) == 1:
        return False
    name = TOKENS[tree[0]]
    if name in _JUMP or (inside and (name in _WITH_POLES or (name == "pow" and _is_negative(tree[2])))):
        return True
    return any(may_jump(child, inside or name in _JUMP_AT_POLES) for child in tree[1:])


def _is_negative(exponent: Tree) -> bool:
    value = rational(exponent)
    return value is not None and value < 0


def count_jumps(f: list[bytes], primitives: list[bytes]) -> NDArray[np.float64]:
    """The number of jumps (n,) of each F where f is bounded."""
    jumps = np.zeros(len(f))
    trees: dict[int, Tree] = {}
    for i, primitive in enumerate(primitives):
        if any(token in primitive for token in _MAY_JUMP) and may_jump(tree := parse(primitive)):
            trees[i] = tree
    points = critical_points_of_each([[tree] for tree in trees.values()])
    for i, critical in zip(trees, points, strict=True):
        jumps[i] = _count_jumps_at(f[i], primitives[i], np.array([r for r in critical.values if abs(r) <= WITHIN]))
    return jumps


def _count_jumps_at(f: bytes, primitive: bytes, roots: NDArray[np.float64]) -> int:
    if not len(roots):
        return 0
    x = np.concatenate([roots - HALF_WIDTH, roots, roots + HALF_WIDTH]).astype(np.complex128)
    program = compile_expressions(Sequences.from_list([f, primitive]))
    slope, value = evaluate(program, VALUES, {"x": x[None]}, len(x))[0].real.reshape(2, 3, -1)
    with np.errstate(all="ignore"):
        change = value[2] - value[0]
        expected = HALF_WIDTH * (slope[0] + slope[2])
        steady = np.abs(slope[2] - slope[0]) <= 0.5 * (
            1 + np.abs(slope).max(axis=0, initial=0, where=np.isfinite(slope))
        )
        size = 1 + np.abs(expected)
        jumps = steady & (np.abs(change - expected) > MIN_JUMP * size) & (np.abs(expected) < 1)
    return int(jumps.sum())
