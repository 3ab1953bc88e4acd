"""Pairs of differential equations and solutions: sample trees, turn leaves into constants, derive equations, verify them.

A derivation gives candidate equations, the shortest first; the pair is the first one that holds for some constants. The choice
never depends on which pairs are wanted, so a stream has the same pairs whatever splits are being filled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.generate.chunks.pair_chunks import Columns, Generators, Mask, Pairs
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.symbolic.check.accepted_solutions import is_solution
from mathpipe.generate.symbolic.check.solution_points import OdeOrder
from mathpipe.generate.symbolic.expr.canonical_form import (
    LEAF_TOKENS,
    Expr,
    RejectedExpression,
    TokenCache,
    build,
    count_operators,
    to_tokens,
)
from mathpipe.generate.symbolic.expr.random_trees import nested_exponentials, sample_operator_counts, sample_trees
from mathpipe.generate.symbolic.ode.integration_constants import (
    C1,
    C2,
    absorb_into_constants,
    count_leaves,
    place_constants,
)

MAX_NESTED_EXPONENTIALS = 3  # nesting depth of exp, sinh and cosh
Derive = Callable[[Expr, TokenCache, int], list[bytes]]
"""Candidate equations of f with at most max_len tokens, the shortest first; raises RejectedExpression if there is none."""


def pairs_of(
    order: OdeOrder,
    derive: Derive,
    trees_per_batch: int,
    spec: ExpressionSpec,
    generator: Generators,
    wanted: Callable[[Sequences], Mask],
) -> Iterator[Pairs]:
    """Batches of (equation, solution), from ``trees_per_batch`` trees at a time."""
    k = 0
    while True:
        rng = generator(k)
        k += 1
        counts = sample_operator_counts(rng, trees_per_batch, spec)
        trees = sample_trees(rng, trees_per_batch, spec, counts)
        positions = rng.random((trees_per_batch, order.order))
        rejected: Counter[str] = Counter()
        candidates: list[list[bytes]] = []
        solutions: list[bytes] = []
        for tree, num_operators, where in zip(trees, counts, positions.tolist(), strict=True):
            try:
                solution, equations = _candidates(tree, num_operators, where, derive, spec)
            except RejectedExpression as reason:
                rejected[str(reason)] += 1
                continue
            candidates.append(equations)
            solutions.append(solution)
        yield _checked(order, candidates, solutions, rejected, wanted)


def _candidates(
    tree: Tree, num_operators: int, where: list[float], derive: Derive, spec: ExpressionSpec
) -> tuple[bytes, list[bytes]]:
    """(solution, candidate equations) from a tree; ``where``: the positions of the constants, as fractions of the leaves."""
    f = absorb_into_constants(
        build(place_constants(tree, _leaf_positions(count_leaves(tree), where))), (C1, C2)[: len(where)]
    )
    token_cache: TokenCache = dict(LEAF_TOKENS)
    solution = to_tokens(f, token_cache)
    if nested_exponentials(solution) > MAX_NESTED_EXPONENTIALS:
        raise RejectedExpression("exponentials nested too deep")
    if 2 * count_operators(solution) < num_operators:
        raise RejectedExpression("fewer than half of the sampled operators")
    if len(solution) > spec.max_len:
        raise RejectedExpression("too long")
    try:
        return solution, derive(f, token_cache, spec.max_len)
    except (RuntimeError, ZeroDivisionError) as error:  # symengine raises these for infinite and undefined values
        raise RejectedExpression("infinite") from error


def _leaf_positions(leaves: int, where: list[float]) -> dict[int, int]:
    """{leaf: constant}: each constant takes one of the remaining leaves with equal probability."""
    if leaves < len(where):
        raise RejectedExpression("too few leaves")
    remaining = list(range(leaves))
    return {remaining.pop(int(u * len(remaining))): k for k, u in enumerate(where)}


def _checked(
    order: OdeOrder,
    candidates: list[list[bytes]],
    solutions: list[bytes],
    rejected: Counter[str],
    wanted: Callable[[Sequences], Mask],
) -> Pairs:
    """The wanted pairs, each with the first candidate that holds; rejections of the others are counted by reason."""
    flat = Sequences.from_list(equation for equations in candidates for equation in equations)
    source = np.repeat(np.arange(len(candidates)), [len(equations) for equations in candidates])
    is_wanted = np.zeros(len(candidates), dtype=bool)
    is_wanted[source[wanted(flat)]] = True
    chosen: dict[int, tuple[bytes, int]] = {}  # equation, mask of the constants
    reason_of: dict[int, str] = {}
    depth = max(map(len, candidates), default=0)
    for k in range(depth):
        rows = [i for i in np.flatnonzero(is_wanted).tolist() if i not in chosen and k < len(candidates[i])]
        equations = Sequences.from_list(candidates[i][k] for i in rows)
        masks, reasons = is_solution(order, equations, Sequences.from_list(solutions[i] for i in rows))
        for j, i in enumerate(rows):
            if masks[j]:
                chosen[i] = candidates[i][k], int(masks[j])
            else:
                reason_of.setdefault(i, next((name for name, where in reasons.items() if where[j]), "does not hold"))
    rejected.update(reason for i, reason in reason_of.items() if i not in chosen)
    accepted = sorted(chosen)
    problems = Sequences.from_list(chosen[i][0] for i in accepted)
    answers = Sequences.from_list(solutions[i] for i in accepted)
    columns: Columns = {
        "operators": np.array([count_operators(solutions[i]) for i in accepted], dtype=np.int16),
        "constants": np.array([chosen[i][1] for i in accepted], dtype=np.uint8),
    }
    selected = wanted(problems)
    return Pairs(
        problems.take(selected),
        answers.take(selected),
        {name: values[selected] for name, values in columns.items()},
        +rejected,
    )
