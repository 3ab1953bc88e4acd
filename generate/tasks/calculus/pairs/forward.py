"""Integration, forwards: draw f, find a primitive F of it by rules; what the rules do not find is given up.

Problems are those that are solved, hence shorter than what is drawn. Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import PREFIX
from mathpipe.generate.symbolic.check.large_arguments import confirmed
from mathpipe.generate.symbolic.expr.canonical_form import Unwritable, X, build, operators_in, words
from mathpipe.generate.symbolic.expr.random_trees import draw_trees, nested_exponentials
from mathpipe.generate.symbolic.integrate.primitive_table import Table, checked_table
from mathpipe.generate.symbolic.integrate.rule_search import antiderivative
from mathpipe.generate.tasks.calculus.pairs.backward import MOST_NESTED, checked
from mathpipe.generate.tasks.sequence_base import Generators, Mask, Pairs

DRAW = 128  # trees of one draw


def pairs(spec: ExpressionSpec, generator: Generators, wanted: Callable[[Sequences], Mask]) -> Iterator[Pairs]:
    """Batches of (``sub Y' f``, F), each checked at 8 points or more."""
    table = checked_table(spec)
    k = 0
    while True:
        trees = draw_trees(generator(k), DRAW, spec)
        k += 1
        rejected: Counter[str] = Counter()
        problems, solutions, operators = [], [], []
        for tree in trees:
            try:
                problem, solution = integrated(tree, spec, table)
            except Unwritable as reason:
                rejected[str(reason)] += 1
                continue
            problems.append(problem)
            solutions.append(solution)
            operators.append(operators_in(problem) - 1)
        found = checked(
            Sequences.from_list(problems), Sequences.from_list(solutions), np.array(operators, int), rejected, wanted
        )
        right = confirmed(found.problems, found.solutions, np.ones(len(found), dtype=np.bool_), found.rejected)
        columns = {name: values[right] for name, values in found.columns.items()}
        yield Pairs(found.problems.take(right), found.solutions.take(right), columns, found.rejected)


def integrated(tree: Tree, spec: ExpressionSpec, table: Table) -> tuple[bytes, bytes]:
    """(``sub Y' f``, F) as words; Unwritable where f has no x, F is not found, or either is too long."""
    f = build(tree)
    if X not in f.free_symbols:
        raise Unwritable("no variable")
    problem = PREFIX + words(f)
    if nested_exponentials(problem) > MOST_NESTED:
        raise Unwritable("exponentials nested too deep")
    if len(problem) > spec.max_len:
        raise Unwritable("too long")
    solution = words(antiderivative(f, table))
    if len(solution) > spec.max_len:
        raise Unwritable("too long")
    return problem, solution
