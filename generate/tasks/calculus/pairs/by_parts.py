"""Integration by parts: int F g = F G - int f G, wherever the primitive of f G is known.

For each F, the products of its derivative f with every G of a pool are looked up in a table of primitives, whole and term by
term. Verified pairs are added to the table of their chunk. Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import symengine as se

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.chunks.pair_chunks import Generators, Mask, Pairs
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import (
    PREFIX,
    check_large_arguments,
    integrands,
    is_antiderivative,
)
from mathpipe.generate.symbolic.expr.canonical_form import (
    Expr,
    RejectedExpression,
    build,
    count_operators,
    derivative,
    drop_constant_terms,
    to_tokens,
)
from mathpipe.generate.symbolic.expr.random_trees import nested_exponentials, sample_operator_counts, sample_trees
from mathpipe.generate.symbolic.expr.rewriting import cancel_logs_and_distribute
from mathpipe.generate.symbolic.integrate.parts_candidates import (
    CandidatePool,
    LearnedTable,
    PartsCandidate,
    expanded_terms,
    sample_candidate_pool,
)
from mathpipe.generate.symbolic.integrate.primitive_table import table_of_spec
from mathpipe.generate.symbolic.integrate.value_lookup import compute_keys
from mathpipe.generate.tasks.calculus.pairs.backward import MAX_NESTED_EXPONENTIALS

TREES_PER_BATCH = 128  # F sampled at a time
MAX_CANDIDATES = 3  # G per F
MAX_ALGEBRAIC_SHARE = 0.25  # of the problems of a chunk that contain no function
_FUNCTIONS = bytes(
    IDS[name] for base in ("sin", "cos", "tan") for name in ("exp", "ln", base, f"a{base}", f"{base}h", f"a{base}h")
)


class _CandidatePairs:
    """Unverified pairs, in order: tokens, operator counts and expressions."""

    def __init__(self) -> None:
        self.problems: list[bytes] = []
        self.solutions: list[bytes] = []
        self.operators: list[int] = []
        self.expressions: list[tuple[Expr, Expr]] = []


def pairs(spec: ExpressionSpec, generator: Generators, wanted: Callable[[Sequences], Mask]) -> Iterator[Pairs]:
    """Batches of (``sub Y' (F g)``, F G - int f G), each verified at 8 points or more."""
    table = LearnedTable(table_of_spec(spec))
    pool = sample_candidate_pool(generator(0), spec)
    accepted: set[bytes] = set()
    num_accepted = num_algebraic = 0
    k = 1
    while True:
        rejected: Counter[str] = Counter()
        candidates = _find_candidate_pairs(generator(k), spec, pool, table, rejected)
        k += 1
        problems, solutions = Sequences.from_list(candidates.problems), Sequences.from_list(candidates.solutions)
        right, reasons = is_antiderivative(integrands(problems), solutions)
        rejected.update({reason: int(mask.sum()) for reason, mask in reasons.items()})
        right = check_large_arguments(problems, solutions, right, rejected)
        table.add([candidates.expressions[i] for i in np.flatnonzero(right)], integrands(problems).take(right))
        chosen = []
        for i in np.flatnonzero(right).tolist():
            is_algebraic = not _has_function(candidates.problems[i])
            if candidates.problems[i] in accepted:
                rejected["repeated in its chunk"] += 1
            elif is_algebraic and num_algebraic + 1 > MAX_ALGEBRAIC_SHARE * (num_accepted + 1):
                rejected["too many without functions"] += 1
            else:
                accepted.add(candidates.problems[i])
                num_accepted, num_algebraic = num_accepted + 1, num_algebraic + is_algebraic
                chosen.append(i)
        index = np.array(chosen, dtype=np.int64)
        operators = np.array(candidates.operators, dtype=np.int16)[index]
        yield Pairs(problems.take(index), solutions.take(index), {"operators": operators}, +rejected)


def _find_candidate_pairs(
    rng: np.random.Generator, spec: ExpressionSpec, pool: CandidatePool, table: LearnedTable, rejected: Counter[str]
) -> _CandidatePairs:
    """Sample a batch of F and look up the candidates G of each."""
    counts = sample_operator_counts(rng, TREES_PER_BATCH, spec)
    trees = sample_trees(rng, TREES_PER_BATCH, spec, counts)
    starts = rng.integers(0, len(pool.candidates), size=TREES_PER_BATCH).tolist()
    sampled: list[tuple[Expr, list[Expr], int]] = []
    token_cache: dict[Expr, bytes] = {}
    for tree, count, start in zip(trees, counts, starts, strict=True):
        try:
            f, primitive = _differentiate(tree, count, token_cache)
        except RejectedExpression as reason:
            rejected[str(reason)] += 1
            continue
        sampled.append((primitive, [f, *expanded_terms(f, token_cache)], start))
    keys = compute_keys(Sequences.from_list(to_tokens(part, token_cache) for _, parts, _ in sampled for part in parts))
    candidates, offset = _CandidatePairs(), 0
    for primitive, parts, start in sampled:
        item_keys, offset = keys[offset : offset + len(parts)], offset + len(parts)
        matches = pool.matches(table, item_keys, start, MAX_CANDIDATES)
        if not matches:
            rejected["no product with a known primitive"] += 1
        for g, whole in matches:
            try:
                _append_pair(candidates, primitive, parts, g, whole, table, spec, token_cache)
            except RejectedExpression as reason:
                rejected[str(reason)] += 1
    return candidates


def _differentiate(tree: Tree, num_operators: int, token_cache: dict[Expr, bytes]) -> tuple[Expr, Expr]:
    """(f, F) from a sampled tree of F."""
    primitive = drop_constant_terms(build(tree))
    solution = to_tokens(primitive, token_cache)
    if nested_exponentials(solution) > MAX_NESTED_EXPONENTIALS:
        raise RejectedExpression("exponentials nested too deep")
    if 2 * count_operators(solution) < num_operators:
        raise RejectedExpression("fewer than half of the sampled operators")
    f = derivative(primitive)
    to_tokens(f, token_cache)
    return f, primitive


def _append_pair(
    candidates: _CandidatePairs,
    primitive: Expr,
    parts: list[Expr],
    g: PartsCandidate,
    whole: bool,
    table: LearnedTable,
    spec: ExpressionSpec,
    token_cache: dict[Expr, bytes],
) -> None:
    """Append the pair of F and G; raises RejectedExpression if f G has no entry in the table or the pair is too long."""
    products = (
        [(parts[0], g.primitive)] if whole else [(part, term) for part in (parts[1:] or parts) for term in g.terms]
    )
    integral = se.Add(*[table.primitive(a * b) for a, b in products])
    problem = primitive * g.derivative
    solution = drop_constant_terms(cancel_logs_and_distribute(primitive * g.primitive - integral))
    problem_tokens, solution_tokens = PREFIX + to_tokens(problem, token_cache), to_tokens(solution, token_cache)
    if max(len(problem_tokens), len(solution_tokens)) > spec.max_len:
        raise RejectedExpression("too long")
    candidates.problems.append(problem_tokens)
    candidates.solutions.append(solution_tokens)
    candidates.operators.append(count_operators(solution_tokens))
    candidates.expressions.append((problem, solution))


def _has_function(problem: bytes) -> bool:
    return len(problem) != len(problem.translate(None, _FUNCTIONS))
