"""Integration by parts: int F g = F G - int f G, wherever the primitive of f G is known.

For each F one product of its derivative with every G of a pool is looked up, whole and term by term, in a table of primitives;
what is found and verified joins the table of its chunk. Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import symengine as se

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import PREFIX, holds, integrands
from mathpipe.generate.symbolic.check.large_arguments import confirmed
from mathpipe.generate.symbolic.expr.canonical_form import (
    Expr,
    Unwritable,
    build,
    derivative,
    operators_in,
    without_constants,
    words,
)
from mathpipe.generate.symbolic.expr.random_trees import draw_operator_counts, draw_trees, nested_exponentials
from mathpipe.generate.symbolic.expr.rewriting import tidied
from mathpipe.generate.symbolic.integrate.parts_candidates import Known, Partner, Pool, draw_pool, terms_of
from mathpipe.generate.symbolic.integrate.primitive_table import checked_table
from mathpipe.generate.symbolic.integrate.value_lookup import keys_of
from mathpipe.generate.tasks.calculus.pairs.backward import MOST_NESTED
from mathpipe.generate.tasks.sequence_base import Generators, Mask, Pairs

DRAW = 128  # F of one draw
MOST_PARTNERS = 3  # G of one F
ALGEBRAIC_SHARE = 0.25  # at most this share of the problems of a chunk is without any function
_FUNCTIONS = bytes(
    IDS[name] for base in ("sin", "cos", "tan") for name in ("exp", "ln", base, f"a{base}", f"{base}h", f"a{base}h")
)


class _Draft:
    """Pairs found and not yet verified, in order."""

    def __init__(self) -> None:
        self.problems: list[bytes] = []
        self.solutions: list[bytes] = []
        self.operators: list[int] = []
        self.found: list[tuple[Expr, Expr]] = []


def pairs(spec: ExpressionSpec, generator: Generators, wanted: Callable[[Sequences], Mask]) -> Iterator[Pairs]:
    """Batches of (``sub Y' (F g)``, F G - int f G), each checked at 8 points or more."""
    known = Known(checked_table(spec))
    pool = draw_pool(generator(0), spec)
    written: set[bytes] = set()
    kept = algebraic = 0
    k = 1
    while True:
        rejected: Counter[str] = Counter()
        draft = _drafted(generator(k), spec, pool, known, rejected)
        k += 1
        problems, solutions = Sequences.from_list(draft.problems), Sequences.from_list(draft.solutions)
        right, reasons = holds(integrands(problems), solutions)
        rejected.update({reason: int(mask.sum()) for reason, mask in reasons.items()})
        right = confirmed(problems, solutions, right, rejected)
        known.learn([draft.found[i] for i in np.flatnonzero(right)], integrands(problems).take(right))
        chosen = []
        for i in np.flatnonzero(right).tolist():
            plain = not _has_function(draft.problems[i])
            if draft.problems[i] in written:
                rejected["repeated in its chunk"] += 1
            elif plain and algebraic + 1 > ALGEBRAIC_SHARE * (kept + 1):
                rejected["too many without a function"] += 1
            else:
                written.add(draft.problems[i])
                kept, algebraic = kept + 1, algebraic + plain
                chosen.append(i)
        index = np.array(chosen, dtype=np.int64)
        operators = np.array(draft.operators, dtype=np.int16)[index]
        yield Pairs(problems.take(index), solutions.take(index), {"operators": operators}, +rejected)


def _drafted(
    rng: np.random.Generator, spec: ExpressionSpec, pool: Pool, known: Known, rejected: Counter[str]
) -> _Draft:
    """What one draw of F gives."""
    counts = draw_operator_counts(rng, DRAW, spec)
    trees = draw_trees(rng, DRAW, spec, counts)
    starts = rng.integers(0, len(pool.partners), size=DRAW).tolist()
    drawn: list[tuple[Expr, list[Expr], int]] = []
    memo: dict[Expr, bytes] = {}
    for tree, count, start in zip(trees, counts, starts, strict=True):
        try:
            f, primitive = _differentiated(tree, count, memo)
        except Unwritable as reason:
            rejected[str(reason)] += 1
            continue
        drawn.append((primitive, [f, *terms_of(f, memo)], start))
    keys = keys_of(Sequences.from_list(words(part, memo) for _, parts, _ in drawn for part in parts))
    draft, at = _Draft(), 0
    for primitive, parts, start in drawn:
        mine, at = keys[at : at + len(parts)], at + len(parts)
        matches = pool.matches(known, mine, start, MOST_PARTNERS)
        if not matches:
            rejected["no known product"] += 1
        for partner, whole in matches:
            try:
                _write(draft, primitive, parts, partner, whole, known, spec, memo)
            except Unwritable as reason:
                rejected[str(reason)] += 1
    return draft


def _differentiated(tree: Tree, drawn: int, memo: dict[Expr, bytes]) -> tuple[Expr, Expr]:
    """(f, F) of a drawn tree."""
    primitive = without_constants(build(tree))
    solution = words(primitive, memo)
    if nested_exponentials(solution) > MOST_NESTED:
        raise Unwritable("exponentials nested too deep")
    if 2 * operators_in(solution) < drawn:
        raise Unwritable("fewer than half of the drawn operators")
    f = derivative(primitive)
    words(f, memo)
    return f, primitive


def _write(
    draft: _Draft,
    primitive: Expr,
    parts: list[Expr],
    partner: Partner,
    whole: bool,
    known: Known,
    spec: ExpressionSpec,
    memo: dict[Expr, bytes],
) -> None:
    """Add the pair of F and G; Unwritable where the primitive of f G is not found after all, or is too long."""
    products = (
        [(parts[0], partner.primitive)]
        if whole
        else [(part, term) for part in (parts[1:] or parts) for term in partner.terms]
    )
    other = se.Add(*[known.primitive(a * b) for a, b in products])
    problem = primitive * partner.slope
    solution = without_constants(tidied(primitive * partner.primitive - other))
    written, answer = PREFIX + words(problem, memo), words(solution, memo)
    if max(len(written), len(answer)) > spec.max_len:
        raise Unwritable("too long")
    draft.problems.append(written)
    draft.solutions.append(answer)
    draft.operators.append(operators_in(answer))
    draft.found.append((problem, solution))


def _has_function(problem: bytes) -> bool:
    return len(problem) != len(problem.translate(None, _FUNCTIONS))
