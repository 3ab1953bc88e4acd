"""The sampler of integration-bwd: random F, differentiated and simplified to f = dF/dx.

Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.generate.chunks.pair_chunks import Generators, Mask, Pairs
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import PREFIX, integrands, is_antiderivative
from mathpipe.generate.symbolic.expr.canonical_form import (
    LEAF_TOKENS,
    Expr,
    RejectedExpression,
    build,
    count_operators,
    derivative,
    drop_constant_terms,
    to_tokens,
)
from mathpipe.generate.symbolic.expr.random_trees import (
    nested_exponentials,
    sample_operator_counts,
    sample_trees,
)
from mathpipe.generate.symbolic.expr.simplification import simplify

TREES_PER_BATCH = 256  # trees sampled at a time: a full batch, with few pairs left over when a chunk is full
MAX_NESTED_EXPONENTIALS = 3  # nesting depth of exp, sinh and cosh


def pairs(spec: ExpressionSpec, generator: Generators, wanted: Callable[[Sequences], Mask]) -> Iterator[Pairs]:
    """Batches of (``sub Y' f``, F), each verified at 8 points or more."""
    k = 0
    while True:
        rng = generator(k)
        k += 1
        rejected: Counter[str] = Counter()
        problems, solutions, operators = [], [], []
        counts = sample_operator_counts(rng, TREES_PER_BATCH, spec)
        trees = sample_trees(rng, TREES_PER_BATCH, spec, counts)
        shorten = rng.random(TREES_PER_BATCH) < spec.simplify
        for tree, num_operators, short in zip(trees, counts, shorten.tolist(), strict=True):
            try:
                problem, solution = differentiate_tree(tree, num_operators, spec, simplify if short else _unchanged)
            except RejectedExpression as reason:
                rejected[str(reason)] += 1
                continue
            problems.append(problem)
            solutions.append(solution)
            operators.append(count_operators(solution))
        yield keep_verified_pairs(
            Sequences.from_list(problems), Sequences.from_list(solutions), np.array(operators), rejected, wanted
        )


def _unchanged(expression: Expr) -> Expr:
    return expression


def differentiate_tree(
    tree: Tree, num_operators: int, spec: ExpressionSpec, shorten: Callable[[Expr], Expr]
) -> tuple[bytes, bytes]:
    """(``sub Y' f``, F) as tokens, from a tree of F with ``num_operators`` operators; raises RejectedExpression if unsuitable.

    ``shorten`` simplifies the derivative before it is encoded.
    """
    primitive = drop_constant_terms(build(tree))
    token_cache = dict(LEAF_TOKENS)
    solution = to_tokens(primitive, token_cache)
    if nested_exponentials(solution) > MAX_NESTED_EXPONENTIALS:
        raise RejectedExpression("exponentials nested too deep")
    if 2 * count_operators(solution) < num_operators:
        raise RejectedExpression("fewer than half of the sampled operators")
    problem = PREFIX + to_tokens(shorten(derivative(primitive)), token_cache)
    if max(len(problem), len(solution)) > spec.max_len:
        raise RejectedExpression("too long")
    return problem, solution


def keep_verified_pairs(
    problems: Sequences,
    solutions: Sequences,
    operators: np.ndarray[tuple[int], np.dtype[np.int64]],
    rejected: Counter[str],
    wanted: Callable[[Sequences], Mask],
) -> Pairs:
    """The wanted pairs that hold at every point; rejections of the others are counted by reason."""
    selected = wanted(problems)
    problems, solutions, operators = problems.take(selected), solutions.take(selected), operators[selected]
    right, reasons = is_antiderivative(integrands(problems), solutions)
    for reason, mask in reasons.items():
        rejected[reason] += int(mask.sum())
    return Pairs(
        problems.take(right), solutions.take(right), {"operators": operators[right].astype(np.int16)}, +rejected
    )
