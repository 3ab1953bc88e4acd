"""Pairs of equations and solutions: trees are drawn, leaves become constants, equations are derived, and what holds is
kept.

A way of deriving gives candidates, the shortest first, and the first that holds anywhere is the pair. Choosing never
depends on which pairs are wanted, so that a stream has the same pairs whatever splits are being filled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.ode_solutions import holds
from mathpipe.generate.symbolic.check.solution_points import Order
from mathpipe.generate.symbolic.expr.canonical_form import LEAF_WORDS, Expr, Unwritable, build, operators_in, words
from mathpipe.generate.symbolic.expr.random_trees import draw_operator_counts, draw_trees, nested_exponentials
from mathpipe.generate.symbolic.ode.integration_constants import C1, C2, absorbed, leaf_count, with_constants
from mathpipe.generate.tasks.sequence_base import Columns, Generators, Mask, Pairs

MOST_NESTED = 3  # exponentials within exponentials
Memo = dict[Expr, bytes]
Derive = Callable[[Expr, Memo, int], list[bytes]]
"""Equations that f may solve, the shortest first, of at most so many words; Unwritable where there is none."""


def pairs_of(
    order: Order,
    derive: Derive,
    draw: int,
    spec: ExpressionSpec,
    generator: Generators,
    wanted: Callable[[Sequences], Mask],
) -> Iterator[Pairs]:
    """Batches of (equation, solution), from ``draw`` trees at a time."""
    k = 0
    while True:
        rng = generator(k)
        k += 1
        counts = draw_operator_counts(rng, draw, spec)
        trees = draw_trees(rng, draw, spec, counts)
        places = rng.random((draw, order.order))
        rejected: Counter[str] = Counter()
        candidates: list[list[bytes]] = []
        solutions: list[bytes] = []
        for tree, drawn, where in zip(trees, counts, places.tolist(), strict=True):
            try:
                solution, equations = _candidates(tree, drawn, where, derive, spec)
            except Unwritable as reason:
                rejected[str(reason)] += 1
                continue
            candidates.append(equations)
            solutions.append(solution)
        yield _checked(order, candidates, solutions, rejected, wanted)


def _candidates(
    tree: Tree, drawn: int, where: list[float], derive: Derive, spec: ExpressionSpec
) -> tuple[bytes, list[bytes]]:
    """(solution, its equations) of a tree of so many operators whose constants are at these places, in parts of its leaves."""
    f = absorbed(build(with_constants(tree, _places(leaf_count(tree), where))), (C1, C2)[: len(where)])
    memo: Memo = dict(LEAF_WORDS)
    solution = words(f, memo)
    if nested_exponentials(solution) > MOST_NESTED:
        raise Unwritable("exponentials nested too deep")
    if 2 * operators_in(solution) < drawn:
        raise Unwritable("fewer than half of the drawn operators")
    if len(solution) > spec.max_len:
        raise Unwritable("too long")
    try:
        return solution, derive(f, memo, spec.max_len)
    except (RuntimeError, ZeroDivisionError) as refused:  # what symengine says of infinite and undefined values
        raise Unwritable("infinite") from refused


def _places(leaves: int, where: list[float]) -> dict[int, int]:
    """Which leaf becomes which constant: each of the leaves that are left with the same chance."""
    if leaves < len(where):
        raise Unwritable("too few leaves")
    left = list(range(leaves))
    return {left.pop(int(u * len(left))): k for k, u in enumerate(where)}


def _checked(
    order: Order,
    candidates: list[list[bytes]],
    solutions: list[bytes],
    rejected: Counter[str],
    wanted: Callable[[Sequences], Mask],
) -> Pairs:
    """The wanted pairs, each with the first of its candidates that holds; what becomes of the others is counted."""
    flat = Sequences.from_list(equation for equations in candidates for equation in equations)
    owner = np.repeat(np.arange(len(candidates)), [len(equations) for equations in candidates])
    needed = np.zeros(len(candidates), dtype=bool)
    needed[owner[wanted(flat)]] = True
    chosen: dict[int, tuple[bytes, int]] = {}  # equation, mask of the constants
    last: dict[int, str] = {}
    depth = max(map(len, candidates), default=0)
    for k in range(depth):
        rows = [i for i in np.flatnonzero(needed).tolist() if i not in chosen and k < len(candidates[i])]
        equations = Sequences.from_list(candidates[i][k] for i in rows)
        masks, reasons = holds(order, equations, Sequences.from_list(solutions[i] for i in rows))
        for j, i in enumerate(rows):
            if masks[j]:
                chosen[i] = candidates[i][k], int(masks[j])
            else:
                last.setdefault(i, next((name for name, where in reasons.items() if where[j]), "does not hold"))
    rejected.update(reason for i, reason in last.items() if i not in chosen)
    kept = sorted(chosen)
    problems = Sequences.from_list(chosen[i][0] for i in kept)
    answers = Sequences.from_list(solutions[i] for i in kept)
    columns: Columns = {
        "operators": np.array([operators_in(solutions[i]) for i in kept], dtype=np.int16),
        "constants": np.array([chosen[i][1] for i in kept], dtype=np.uint8),
    }
    mine = wanted(problems)
    return Pairs(
        problems.take(mine), answers.take(mine), {name: values[mine] for name, values in columns.items()}, +rejected
    )
