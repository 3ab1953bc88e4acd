"""Integration, forward: sample f and find a primitive F by rules; unsolved f are rejected.

The problems are the solved ones, hence shorter than the sampled ones. Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.generate.chunks.pair_chunks import Generators, Mask, Pairs
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import PREFIX, check_large_arguments
from mathpipe.generate.symbolic.expr.canonical_form import RejectedExpression, X, build, count_operators, to_tokens
from mathpipe.generate.symbolic.expr.random_trees import nested_exponentials, sample_trees
from mathpipe.generate.symbolic.integrate.primitive_table import PrimitiveTable, table_of_spec
from mathpipe.generate.symbolic.integrate.rule_search import find_antiderivative
from mathpipe.generate.tasks.calculus.pairs.backward import MAX_NESTED_EXPONENTIALS, keep_verified_pairs

TREES_PER_BATCH = 128  # trees sampled at a time


def pairs(spec: ExpressionSpec, generator: Generators, wanted: Callable[[Sequences], Mask]) -> Iterator[Pairs]:
    """Batches of (``sub Y' f``, F), each verified at 8 points or more."""
    table = table_of_spec(spec)
    k = 0
    while True:
        trees = sample_trees(generator(k), TREES_PER_BATCH, spec)
        k += 1
        rejected: Counter[str] = Counter()
        problems, solutions, operators = [], [], []
        for tree in trees:
            try:
                problem, solution = integrate_tree(tree, spec, table)
            except RejectedExpression as reason:
                rejected[str(reason)] += 1
                continue
            problems.append(problem)
            solutions.append(solution)
            operators.append(count_operators(problem) - 1)
        verified = keep_verified_pairs(
            Sequences.from_list(problems), Sequences.from_list(solutions), np.array(operators, int), rejected, wanted
        )
        right = check_large_arguments(
            verified.problems, verified.solutions, np.ones(len(verified), dtype=np.bool_), verified.rejected
        )
        columns = {name: values[right] for name, values in verified.columns.items()}
        yield Pairs(verified.problems.take(right), verified.solutions.take(right), columns, verified.rejected)


def integrate_tree(tree: Tree, spec: ExpressionSpec, table: PrimitiveTable) -> tuple[bytes, bytes]:
    """(``sub Y' f``, F) as tokens; raises RejectedExpression if f has no x, no F is found, or either is too long."""
    f = build(tree)
    if X not in f.free_symbols:
        raise RejectedExpression("no variable")
    problem = PREFIX + to_tokens(f)
    if nested_exponentials(problem) > MAX_NESTED_EXPONENTIALS:
        raise RejectedExpression("exponentials nested too deep")
    if len(problem) > spec.max_len:
        raise RejectedExpression("too long")
    solution = to_tokens(find_antiderivative(f, table))
    if len(solution) > spec.max_len:
        raise RejectedExpression("too long")
    return problem, solution
