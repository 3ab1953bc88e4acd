"""Integration, backwards: draw F, differentiate it: f = dF/dx is the problem, F its answer.

Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import PREFIX, holds, integrands
from mathpipe.generate.symbolic.expr.canonical_form import (
    LEAF_WORDS,
    Expr,
    Unwritable,
    build,
    derivative,
    operators_in,
    without_constants,
    words,
)
from mathpipe.generate.symbolic.expr.random_trees import (
    draw_operator_counts,
    draw_trees,
    nested_exponentials,
)
from mathpipe.generate.symbolic.expr.simplification import simplified
from mathpipe.generate.tasks.sequence_base import Generators, Mask, Pairs

DRAW = 256  # trees of one draw: enough to work on as a batch, few to be left over when a chunk is full
MOST_NESTED = 3  # exponentials within exponentials


def pairs(spec: ExpressionSpec, generator: Generators, wanted: Callable[[Sequences], Mask]) -> Iterator[Pairs]:
    """Batches of (``sub Y' f``, F), each checked at 8 points or more."""
    k = 0
    while True:
        rng = generator(k)
        k += 1
        rejected: Counter[str] = Counter()
        problems, solutions, operators = [], [], []
        counts = draw_operator_counts(rng, DRAW, spec)
        trees = draw_trees(rng, DRAW, spec, counts)
        shorten = rng.random(DRAW) < spec.simplify
        for tree, drawn, short in zip(trees, counts, shorten.tolist(), strict=True):
            try:
                problem, solution = differentiated(tree, drawn, spec, simplified if short else _as_it_comes)
            except Unwritable as reason:
                rejected[str(reason)] += 1
                continue
            problems.append(problem)
            solutions.append(solution)
            operators.append(operators_in(solution))
        yield checked(
            Sequences.from_list(problems), Sequences.from_list(solutions), np.array(operators), rejected, wanted
        )


def _as_it_comes(expression: Expr) -> Expr:
    return expression


def differentiated(
    tree: Tree, drawn: int, spec: ExpressionSpec, shorten: Callable[[Expr], Expr]
) -> tuple[bytes, bytes]:
    """(``sub Y' f``, F) as words, from a tree of so many operators; Unwritable where no row may hold them.

    ``shorten`` is what becomes of the derivative before it is written.
    """
    primitive = without_constants(build(tree))
    memo = dict(LEAF_WORDS)
    solution = words(primitive, memo)
    if nested_exponentials(solution) > MOST_NESTED:
        raise Unwritable("exponentials nested too deep")
    if 2 * operators_in(solution) < drawn:
        raise Unwritable("fewer than half of the drawn operators")
    problem = PREFIX + words(shorten(derivative(primitive)), memo)
    if max(len(problem), len(solution)) > spec.max_len:
        raise Unwritable("too long")
    return problem, solution


def checked(
    problems: Sequences,
    solutions: Sequences,
    operators: np.ndarray[tuple[int], np.dtype[np.int64]],
    rejected: Counter[str],
    wanted: Callable[[Sequences], Mask],
) -> Pairs:
    """The wanted pairs that hold at every point; what becomes of the others is counted."""
    mine = wanted(problems)
    problems, solutions, operators = problems.take(mine), solutions.take(mine), operators[mine]
    right, reasons = holds(integrands(problems), solutions)
    for reason, mask in reasons.items():
        rejected[reason] += int(mask.sum())
    return Pairs(
        problems.take(right), solutions.take(right), {"operators": operators[right].astype(np.int16)}, +rejected
    )
