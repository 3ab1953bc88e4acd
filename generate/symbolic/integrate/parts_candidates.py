"""Partners for integration by parts: a pool of G, and which of them make f G known, for all of them at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from symengine.lib import symengine_wrapper as classes

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.expr.canonical_form import Expr, Unwritable, build, derivative, without_constants, words
from mathpipe.generate.symbolic.expr.random_trees import draw_trees
from mathpipe.generate.symbolic.expr.rewriting import expanded
from mathpipe.generate.symbolic.integrate.primitive_table import Table
from mathpipe.generate.symbolic.integrate.rule_search import proportion
from mathpipe.generate.symbolic.integrate.value_lookup import Keys, Values, keys_of

POOL = 2_500
DRAWS = 6_000  # trees drawn until there are so many different G
MOST_OPERATORS = 4
NOWHERE = 1e7  # in the key of what has no values: no sum with it is a key
MOST_TERMS = 4  # of G, and of f where it is taken term by term


@dataclass(frozen=True)
class Partner:
    """G, g = G', and the terms of G."""

    primitive: Expr
    slope: Expr
    terms: tuple[Expr, ...]


class Known:
    """The table of primitives and what a chunk has learned."""

    def __init__(self, table: Table) -> None:
        self.index = table.index.copy()
        self._primitives = list(table.primitives)
        self._integrands = list(table.integrands)

    def primitive(self, e: Expr) -> Expr:
        """The known primitive of e; Unwritable where there is none."""
        values = Values()
        key = values.key(e)
        entry = None if key is None else self.index.find(key)
        c = None if entry is None else proportion(e, self._integrands[entry], values)
        if entry is None or c is None:
            raise Unwritable("no known product")
        return c * self._primitives[entry]

    def has(self, key: Keys) -> bool:
        """Whether a key (4,) is known."""
        return self.index.find(tuple(key.tolist())) is not None

    def learn(self, found: list[tuple[Expr, Expr]], written: Sequences) -> None:
        """Verified (f, F) join the table."""
        keys, values = keys_of(written), Values()
        for (integrand, primitive), key in zip(found, keys, strict=True):
            if not np.isfinite(key).all() or values.key(integrand) is None:
                continue
            if self.index.add(tuple(key.tolist()), len(self._primitives)):
                self._primitives.append(primitive)
                self._integrands.append(integrand)


@dataclass(frozen=True)
class Pool:
    """``keys`` (n, 4) of the G; ``term_keys`` (m, 4) of their different terms; ``places`` (n, MOST_TERMS) into them, m for none."""

    partners: list[Partner]
    keys: Keys
    term_keys: Keys
    places: NDArray[np.int64]

    def matches(self, known: Known, keys: Keys, start: int, most: int) -> list[tuple[Partner, bool]]:
        """Up to so many partners, from ``start`` on, that make f G known: as a whole (True), or term by term (False).

        ``keys`` (1 + terms, 4): of f, then of its terms.
        """
        none = np.zeros(len(self.partners), dtype=np.bool_)
        whole = known.index.maybe(keys[0, :2] + self._firsts) if np.isfinite(keys[0]).all() else none
        parts = keys[1:] if len(keys) > 1 else keys
        by_terms = self._by_terms(known, parts) if np.isfinite(parts).all() else none
        found = np.flatnonzero(whole | by_terms)
        matches: list[tuple[Partner, bool]] = []
        for i in np.roll(found, -int(np.searchsorted(found, start))).tolist():
            if whole[i] and known.has(keys[0] + self.keys[i]):
                matches.append((self.partners[i], True))
            elif by_terms[i] and all(
                known.has(key + self.term_keys[j]) for key in parts for j in self.places[i] if j < len(self.term_keys)
            ):
                matches.append((self.partners[i], False))
            if len(matches) == most:
                break
        return matches

    def _by_terms(self, known: Known, parts: Keys) -> NDArray[np.bool_]:
        """Which partners are worth looking at, every term of f with every one of theirs."""
        every = np.ones(len(self.term_keys) + 1, dtype=np.bool_)
        for key in parts:
            every[:-1] &= known.index.maybe(key[:2] + self._term_firsts)
        return np.asarray(every[self.places].all(axis=1))

    @cached_property
    def _firsts(self) -> Keys:
        return np.ascontiguousarray(self.keys[:, :2])

    @cached_property
    def _term_firsts(self) -> Keys:
        return np.ascontiguousarray(self.term_keys[:, :2])


def terms_of(e: Expr, memo: dict[Expr, bytes]) -> list[Expr]:
    """The terms of a sum, multiplied out where few come of it; none where there are too many, or one only."""
    spread = expanded(e)
    if type(spread) is not classes.Add or len(spread.args) > MOST_TERMS:
        return []
    return sorted(spread.args, key=lambda term: words(term, memo))


def draw_pool(rng: np.random.Generator, spec: ExpressionSpec) -> Pool:
    """Different G of up to four operators, drawn like F."""
    few = spec.model_copy(update={"min_operators": 0, "max_operators": MOST_OPERATORS, "few_share": 0.0})
    partners: dict[bytes, Partner] = {}
    memo: dict[Expr, bytes] = {}
    for tree in draw_trees(rng, DRAWS, few):
        if len(partners) == POOL:
            break
        try:
            primitive = without_constants(build(tree))
            written = words(primitive, memo)
            if written not in partners:
                slope = derivative(primitive)
                words(slope, memo)
                partners[written] = Partner(primitive, slope, tuple(terms_of(primitive, memo) or [primitive]))
        except Unwritable:
            continue
    terms: dict[bytes, int] = {}
    places = np.full((len(partners), MOST_TERMS), -1, dtype=np.int64)
    for i, partner in enumerate(partners.values()):
        for j, term in enumerate(partner.terms):
            places[i, j] = terms.setdefault(words(term, memo), len(terms))
    places[places < 0] = len(terms)
    keys, term_keys = (np.nan_to_num(keys_of(Sequences.from_list(part)), nan=NOWHERE) for part in (partners, terms))
    return Pool(list(partners.values()), keys, term_keys, places)
