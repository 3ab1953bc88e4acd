"""A table of known primitives: small random F and systematic ones, differentiated, verified, and indexed by the values of F'.

Each process builds it once from a fixed seed, so it is the same for every dataset. Specs of tasks that use it name its digest.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import symengine as se

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import compare
from mathpipe.generate.symbolic.expr.canonical_form import (
    Expr,
    RejectedExpression,
    X,
    build,
    derivative,
    drop_constant_terms,
    to_tokens,
)
from mathpipe.generate.symbolic.expr.random_trees import UNARY_WEIGHTS, sample_trees
from mathpipe.generate.symbolic.integrate.value_lookup import KeyIndex, Keys, PointValues, compute_keys
from mathpipe.generate.symbolic.numeric.points import has_enough_points

SEED = 20_190_912
NUM_RANDOM_TREES = 12_000
MAX_OPERATORS = 4
MAX_TOKENS = 40  # of a primitive in the table
ENTRY_TOLERANCE = 1e-11  # stricter than verification, so that the entries do not depend on a processor's rounding


@dataclass(frozen=True)
class PrimitiveTable:
    """Primitives F, their derivatives f, the keys of the f (n, 4), and the index from a key to its entry."""

    primitives: list[Expr]
    integrands: list[Expr]
    keys: Keys
    index: KeyIndex
    digest: str

    def __len__(self) -> int:
        return len(self.primitives)


def table_of_spec(spec: ExpressionSpec) -> PrimitiveTable:
    """The table; raises UserError if the spec names another one."""
    table = primitive_table()
    if spec.table != table.digest:
        raise UserError(
            "the table of primitives differs from the one that the spec names",
            expected=f"table {spec.table}",
            got=f"table {table.digest}",
            cause="another version of mathpipe, symengine or NumPy made the dataset",
            next_step="use the versions that the manifest names, or generate a new dataset",
        )
    return table


@cache
def primitive_table() -> PrimitiveTable:
    """The table of this process; the first call builds it, which takes seconds."""
    entries: dict[bytes, tuple[bytes, Expr, Expr]] = {}
    token_cache: dict[Expr, bytes] = {}
    for primitive in itertools.chain(_systematic_primitives(), _random_primitives()):
        try:
            tokens = to_tokens(primitive, token_cache)
            if len(tokens) > MAX_TOKENS or tokens in entries:
                continue
            integrand = derivative(primitive)
            entries[tokens] = (to_tokens(integrand, token_cache), primitive, integrand)
        except RejectedExpression:
            continue
    ordered = sorted(entries.items(), key=lambda entry: (_count_functions(entry[0]), len(entry[0]), entry[0]))
    solutions = Sequences.from_list(tokens for tokens, _ in ordered)
    problems = Sequences.from_list(entry[0] for _, entry in ordered)
    keys = compute_keys(problems)
    is_constant = (np.abs(keys) < 1e-6).all(axis=1)
    usable_entries = np.flatnonzero(_verified(problems, solutions) & np.isfinite(keys).all(axis=1) & ~is_constant)
    index, values = KeyIndex(), PointValues()
    selected: list[int] = []
    for i in usable_entries.tolist():  # the primitive with the fewest functions comes first and is kept
        if values.key(ordered[i][1][2]) and index.add(tuple(keys[i].tolist()), len(selected)):
            selected.append(i)
    digest = hashlib.sha256()
    for i in selected:
        digest.update(ordered[i][0] + b"\xff" + ordered[i][1][0] + b"\xff")
    return PrimitiveTable(
        [ordered[i][1][1] for i in selected],
        [ordered[i][1][2] for i in selected],
        keys[selected],
        index,
        digest.hexdigest()[:16],
    )


_FUNCTIONS = bytes(IDS[name] for name in UNARY_WEIGHTS if name != "sqrt" and not name.startswith("pow"))


def _count_functions(tokens: bytes) -> int:
    return len(tokens) - len(tokens.translate(None, _FUNCTIONS))


def _verified(problems: Sequences, solutions: Sequences) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    comparison = compare(problems, solutions)
    usable = comparison.both_finite()
    return np.asarray(
        has_enough_points(usable) & ((comparison.relative_error() <= ENTRY_TOLERANCE) | ~usable).all(axis=1)
    )


def _random_primitives() -> Iterator[Expr]:
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(SEED)))
    spec = ExpressionSpec(min_operators=1, max_operators=MAX_OPERATORS, few_share=0.0)
    for tree in sample_trees(rng, NUM_RANDOM_TREES, spec):
        try:
            yield drop_constant_terms(build(tree))
        except RejectedExpression:
            continue


def _systematic_primitives() -> Iterator[Expr]:
    """Functions, their powers, products and compositions with powers of x and each other."""
    x = X
    direct = [se.exp(x), se.log(x), se.sin(x), se.cos(x), se.tan(x), se.sinh(x), se.cosh(x), se.tanh(x)]
    inverse = [f(x) for f in (se.asin, se.acos, se.atan, se.asinh, se.acosh, se.atanh)]
    yield from (x**n for n in (-3, -2, -1, 1, 2, 3, 4, 5, 6))
    yield from (x ** (se.Integer(n) / 2) for n in (-3, -1, 1, 3, 5, 7))
    for u in (*direct, *inverse):
        yield from (u**n for n in (-3, -2, -1, 1, 2, 3, 4, 5))
        yield from (se.sqrt(u), se.log(u), se.log(1 + u), se.log(1 + u**2), se.atan(u), u + x, x * u - u)
    s, c, t, sh, ch, th = se.sin(x), se.cos(x), se.tan(x), se.sinh(x), se.cosh(x), se.tanh(x)
    yield from (x - s * c, x + s * c, 3 * s - s**3, c**3 - 3 * c, x - t, x + se.log(c), t**2 / 2 + se.log(c))
    yield from (3 * x - 2 * s**3 * c - 3 * s * c, 3 * x + 2 * s * c**3 + 3 * s * c, t**3 / 3 - t + x)
    yield from (t**4 / 4 - t**2 / 2 - se.log(c), s - 2 * s**3 / 3 + s**5 / 5, c - 2 * c**3 / 3 + c**5 / 5)
    yield from (sh * ch - x, sh * ch + x, ch**3 - 3 * ch, sh**3 + 3 * sh, x - th, se.log(ch) - th**2 / 2)
    yield from (-se.log((1 + c) / s), se.log((1 + s) / c), s / (1 + c), c / (1 + s), s / (1 - c))
    yield from (x * u - p for u, p in ((se.log(x), x), (se.exp(x), se.exp(x)), (s, -c), (c, s), (sh, ch), (ch, sh)))
    yield from (x * t + se.log(c), x * th - se.log(ch))
    root, root_plus = se.sqrt(1 - x**2), se.sqrt(1 + x**2)
    yield from (x * se.asin(x) + root, x * se.acos(x) - root, x * se.asinh(x) - root_plus)
    yield from (x * se.acosh(x) - se.sqrt(x - 1) * se.sqrt(x + 1), x * se.atanh(x) + se.log(1 - x**2) / 2)
    yield from (x * se.atan(x) - se.log(1 + x**2) / 2, x * root + se.asin(x), x * root_plus + se.asinh(x))
    for n in range(1, 6):
        yield from (x ** (n + 1) * ((n + 1) * se.log(x) - 1), x * se.log(x) ** n, se.log(1 + x**n), se.exp(x**n))
