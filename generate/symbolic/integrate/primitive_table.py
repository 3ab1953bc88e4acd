"""A table of known primitives: small random F and systematic ones, differentiated, verified, and found by the numbers of F'.

Built once in a process from a seed of its own, so that it is the same for every dataset; the digest of what it holds is named
by the specs of the tasks that look things up in it.
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
from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import compare
from mathpipe.generate.symbolic.expr.canonical_form import (
    Expr,
    Unwritable,
    X,
    build,
    derivative,
    without_constants,
    words,
)
from mathpipe.generate.symbolic.expr.random_trees import UNARY_WEIGHTS, draw_trees
from mathpipe.generate.symbolic.integrate.value_lookup import Index, Keys, Values, keys_of
from mathpipe.generate.symbolic.numeric.points import enough

SEED = 20_190_912
RANDOM_DRAWS = 12_000
MOST_OPERATORS = 4
MOST_WORDS = 40  # of a primitive in the table
CERTAIN = 1e-11  # entries agree this well: what enters depends on no machine's last bits


@dataclass(frozen=True)
class Table:
    """Primitives F, their derivatives f, keys of the f (n, 4), and the index from a key to its place."""

    primitives: list[Expr]
    integrands: list[Expr]
    keys: Keys
    index: Index
    digest: str

    def __len__(self) -> int:
        return len(self.primitives)


def checked_table(spec: ExpressionSpec) -> Table:
    """The table; UserError where the spec names another."""
    found = table()
    if spec.table != found.digest:
        raise UserError(
            "the table of primitives is not the one that the spec names",
            expected=f"table {spec.table}",
            got=f"table {found.digest}",
            cause="another version of mathpipe, symengine or NumPy made the dataset",
            next_step="generate with the versions that the manifest names, or make a new dataset",
        )
    return found


@cache
def table() -> Table:
    """The table of this process, built at the first call (seconds)."""
    entries: dict[bytes, tuple[bytes, Expr, Expr]] = {}
    memo: dict[Expr, bytes] = {}
    for primitive in itertools.chain(_systematic(), _random()):
        try:
            written = words(primitive, memo)
            if len(written) > MOST_WORDS or written in entries:
                continue
            slope = derivative(primitive)
            entries[written] = (words(slope, memo), primitive, slope)
        except Unwritable:
            continue
    ordered = sorted(entries.items(), key=lambda entry: (_functions(entry[0]), len(entry[0]), entry[0]))
    solutions = Sequences.from_list(written for written, _ in ordered)
    problems = Sequences.from_list(entry[0] for _, entry in ordered)
    keys = keys_of(problems)
    constant = (np.abs(keys) < 1e-6).all(axis=1)
    good = np.flatnonzero(_certain(problems, solutions) & np.isfinite(keys).all(axis=1) & ~constant)
    index, values = Index(), Values()
    kept: list[int] = []
    for i in good.tolist():  # of each integrand, the primitive with the fewest functions comes first
        if values.key(ordered[i][1][2]) and index.add(tuple(keys[i].tolist()), len(kept)):
            kept.append(i)
    digest = hashlib.sha256()
    for i in kept:
        digest.update(ordered[i][0] + b"\xff" + ordered[i][1][0] + b"\xff")
    return Table(
        [ordered[i][1][1] for i in kept], [ordered[i][1][2] for i in kept], keys[kept], index, digest.hexdigest()[:16]
    )


_FUNCTIONS = bytes(IDS[name] for name in UNARY_WEIGHTS if name != "sqrt" and not name.startswith("pow"))


def _functions(written: bytes) -> int:
    return len(written) - len(written.translate(None, _FUNCTIONS))


def _certain(problems: Sequences, solutions: Sequences) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    found = compare(problems, solutions)
    usable = found.both_finite()
    return np.asarray(enough(usable) & ((found.difference() <= CERTAIN) | ~usable).all(axis=1))


def _random() -> Iterator[Expr]:
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(SEED)))
    spec = ExpressionSpec(min_operators=1, max_operators=MOST_OPERATORS, few_share=0.0)
    for tree in draw_trees(rng, RANDOM_DRAWS, spec):
        try:
            yield without_constants(build(tree))
        except Unwritable:
            continue


def _systematic() -> Iterator[Expr]:
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
    root, wide = se.sqrt(1 - x**2), se.sqrt(1 + x**2)
    yield from (x * se.asin(x) + root, x * se.acos(x) - root, x * se.asinh(x) - wide)
    yield from (x * se.acosh(x) - se.sqrt(x - 1) * se.sqrt(x + 1), x * se.atanh(x) + se.log(1 - x**2) / 2)
    yield from (x * se.atan(x) - se.log(1 + x**2) / 2, x * root + se.asin(x), x * wide + se.asinh(x))
    for n in range(1, 6):
        yield from (x ** (n + 1) * ((n + 1) * se.log(x) - 1), x * se.log(x) ** n, se.log(1 + x**n), se.exp(x**n))
