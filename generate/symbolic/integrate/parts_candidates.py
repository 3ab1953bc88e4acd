"""Candidates for integration by parts: a pool of G, and which of them give an f G with a known primitive, for all at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from symengine.lib import symengine_wrapper as classes

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.symbolic.expr.canonical_form import (
    Expr,
    RejectedExpression,
    build,
    derivative,
    drop_constant_terms,
    to_tokens,
)
from mathpipe.generate.symbolic.expr.random_trees import sample_trees
from mathpipe.generate.symbolic.expr.rewriting import expand_if_small
from mathpipe.generate.symbolic.integrate.primitive_table import PrimitiveTable
from mathpipe.generate.symbolic.integrate.rule_search import constant_ratio
from mathpipe.generate.symbolic.integrate.value_lookup import Keys, PointValues, compute_keys

POOL_SIZE = 2_500  # different G
NUM_TREES = 6_000  # trees sampled to fill the pool
MAX_OPERATORS = 4
MISSING_KEY = 1e7  # in the key of an expression without values: no sum with it matches a key
MAX_TERMS = 4  # of G, and of f if the product is expanded term by term


@dataclass(frozen=True)
class PartsCandidate:
    """G, g = G', and the terms of G."""

    primitive: Expr
    derivative: Expr
    terms: tuple[Expr, ...]


class LearnedTable:
    """The table of primitives, extended by the pairs that were verified in this chunk."""

    def __init__(self, table: PrimitiveTable) -> None:
        self.index = table.index.copy()
        self._primitives = list(table.primitives)
        self._integrands = list(table.integrands)

    def primitive(self, e: Expr) -> Expr:
        """The primitive of e from the table; raises RejectedExpression if there is none."""
        values = PointValues()
        key = values.key(e)
        entry = None if key is None else self.index.find(key)
        c = None if entry is None else constant_ratio(e, self._integrands[entry], values)
        if entry is None or c is None:
            raise RejectedExpression("no product with a known primitive")
        return c * self._primitives[entry]

    def has(self, key: Keys) -> bool:
        """Whether the table has an entry with this key (4,)."""
        return self.index.find(tuple(key.tolist())) is not None

    def add(self, verified: list[tuple[Expr, Expr]], integrands: Sequences) -> None:
        """Add verified pairs (f, F) to the table; ``integrands``: the prefix sequences of the f."""
        keys, values = compute_keys(integrands), PointValues()
        for (integrand, primitive), key in zip(verified, keys, strict=True):
            if not np.isfinite(key).all() or values.key(integrand) is None:
                continue
            if self.index.add(tuple(key.tolist()), len(self._primitives)):
                self._primitives.append(primitive)
                self._integrands.append(integrand)


@dataclass(frozen=True)
class CandidatePool:
    """The candidates G. ``keys`` (n, 4): their keys; ``term_keys`` (m, 4): keys of their distinct terms.

    ``term_indices`` (n, MAX_TERMS): the terms of each G as indices into ``term_keys``, m for none.
    """

    candidates: list[PartsCandidate]
    keys: Keys
    term_keys: Keys
    term_indices: NDArray[np.int64]

    def matches(self, table: LearnedTable, keys: Keys, start: int, limit: int) -> list[tuple[PartsCandidate, bool]]:
        """Up to ``limit`` candidates, from ``start`` on, whose f G is in the table: as a whole (True) or term by term (False).

        ``keys`` (1 + terms, 4): the key of f, then those of its terms.
        """
        none = np.zeros(len(self.candidates), dtype=np.bool_)
        whole = table.index.may_contain(keys[0, :2] + self._first_ratios) if np.isfinite(keys[0]).all() else none
        term_keys = keys[1:] if len(keys) > 1 else keys
        by_terms = self._match_terms(table, term_keys) if np.isfinite(term_keys).all() else none
        possible = np.flatnonzero(whole | by_terms)
        matches: list[tuple[PartsCandidate, bool]] = []
        for i in np.roll(possible, -int(np.searchsorted(possible, start))).tolist():
            if whole[i] and table.has(keys[0] + self.keys[i]):
                matches.append((self.candidates[i], True))
            elif by_terms[i] and all(
                table.has(key + self.term_keys[j])
                for key in term_keys
                for j in self.term_indices[i]
                if j < len(self.term_keys)
            ):
                matches.append((self.candidates[i], False))
            if len(matches) == limit:
                break
        return matches

    def _match_terms(self, table: LearnedTable, term_keys: Keys) -> NDArray[np.bool_]:
        """Which candidates may have every product of a term of f and a term of G in the table."""
        every = np.ones(len(self.term_keys) + 1, dtype=np.bool_)
        for key in term_keys:
            every[:-1] &= table.index.may_contain(key[:2] + self._first_term_ratios)
        return np.asarray(every[self.term_indices].all(axis=1))

    @cached_property
    def _first_ratios(self) -> Keys:
        return np.ascontiguousarray(self.keys[:, :2])

    @cached_property
    def _first_term_ratios(self) -> Keys:
        return np.ascontiguousarray(self.term_keys[:, :2])


def expanded_terms(e: Expr, token_cache: dict[Expr, bytes]) -> list[Expr]:
    """The terms of the expanded sum, sorted by their tokens; empty if there is one term or too many."""
    expanded = expand_if_small(e)
    if type(expanded) is not classes.Add or len(expanded.args) > MAX_TERMS:
        return []
    return sorted(expanded.args, key=lambda term: to_tokens(term, token_cache))


def sample_candidate_pool(rng: np.random.Generator, spec: ExpressionSpec) -> CandidatePool:
    """Sample a pool of distinct G with up to ``MAX_OPERATORS`` operators, from the distribution of F."""
    small_spec = spec.model_copy(update={"min_operators": 0, "max_operators": MAX_OPERATORS, "few_share": 0.0})
    candidates: dict[bytes, PartsCandidate] = {}
    token_cache: dict[Expr, bytes] = {}
    for tree in sample_trees(rng, NUM_TREES, small_spec):
        if len(candidates) == POOL_SIZE:
            break
        try:
            primitive = drop_constant_terms(build(tree))
            tokens = to_tokens(primitive, token_cache)
            if tokens not in candidates:
                derivative_of_g = derivative(primitive)
                to_tokens(derivative_of_g, token_cache)
                candidates[tokens] = PartsCandidate(
                    primitive, derivative_of_g, tuple(expanded_terms(primitive, token_cache) or [primitive])
                )
        except RejectedExpression:
            continue
    terms: dict[bytes, int] = {}
    term_indices = np.full((len(candidates), MAX_TERMS), -1, dtype=np.int64)
    for i, candidate in enumerate(candidates.values()):
        for j, term in enumerate(candidate.terms):
            term_indices[i, j] = terms.setdefault(to_tokens(term, token_cache), len(terms))
    term_indices[term_indices < 0] = len(terms)
    keys, term_keys = (
        np.nan_to_num(compute_keys(Sequences.from_list(part)), nan=MISSING_KEY) for part in (candidates, terms)
    )
    return CandidatePool(list(candidates.values()), keys, term_keys, term_indices)
