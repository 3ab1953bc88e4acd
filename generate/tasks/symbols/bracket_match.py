"""Bracket matching: a balanced list of opening (0) and closing (1) brackets -> for each position the position of its partner.

Balanced lists of k pairs are uniform.
"""

from __future__ import annotations

import math
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from mathpipe.datasets.containers.array_types import Ints, Mask
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec
from mathpipe.generate.tasks.integer_task import IntegerTask
from mathpipe.generate.tasks.symbols.symbol_task import padded_rows


class BracketSpec(IntegerSpec):
    """``min_pairs``..``max_pairs``: the number of pairs of each problem is uniform in this range."""

    min_pairs: Annotated[int, Field(ge=1, le=2048)] = Field(1, description="smallest number of pairs of brackets")
    max_pairs: Annotated[int, Field(ge=1, le=2048)] = Field(10, description="largest number of pairs of brackets")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_pairs > self.max_pairs:
            raise ValueError(f"min_pairs {self.min_pairs} is above max_pairs {self.max_pairs}: give both")
        return self


class BracketMatch(IntegerTask[BracketSpec]):
    """The partner of each bracket."""

    name = "bracket-match"
    problem = "a balanced list of brackets: 0 opens, 1 closes"
    solution = "for each position the position of its partner, from 0"
    source = "synthetic"
    problem_layout = "[int]"
    solution_layout = "[int]"
    spec_model = BracketSpec
    default_spec = BracketSpec()
    batch_size = (
        9984  # twice is enough for each split: they differ in size, as a tenth of all problems is the same pair
    )

    def ranges(self, spec: BracketSpec) -> dict[str, tuple[int, int]]:
        return {"problem_range": (0, 1), "solution_range": (0, 2 * spec.max_pairs - 1)}

    def distinct_problems(self, spec: BracketSpec) -> float:
        """The Catalan numbers of all numbers of pairs."""
        sizes = range(spec.min_pairs, min(spec.max_pairs, 100) + 1)
        return float(sum(math.comb(2 * k, k) // (k + 1) for k in sizes)) if spec.min_pairs <= 100 else math.inf

    def sample(self, rng: np.random.Generator, n: int, spec: BracketSpec) -> IntegerSequences:
        """With m brackets to come at height h, the next one opens with the probability (h + 2) (m - h) / (2 m (h + 1)).

        That is the share of the balanced lists in which it does (Arnold and Sleep 1980).
        """
        lengths = 2 * rng.integers(spec.min_pairs, spec.max_pairs, n, endpoint=True)
        rows = IntegerSequences(np.empty(n + int(lengths.sum()), dtype=np.int64), lengths + 1)
        rows.values[rows.offsets[:-1]] = lengths
        order, longer = _by_length(lengths)
        ends, height = rows.offsets[1:][order], np.zeros(n, dtype=np.int64)
        for m in range(len(longer), 0, -1):  # aligned at their ends: m is the same for all
            count = longer[m - 1]
            h = np.arange(m + 1)
            opens = ((h + 2) * (m - h) / (2 * m * (h + 1))).take(height[:count], mode="clip")
            closes = rng.random(count) >= opens
            rows.values[ends[:count] - m] = closes
            height[:count] += 1
            height[:count] -= 2 * closes
        return rows

    def is_problem(self, problems: IntegerSequences, spec: BracketSpec) -> Mask:
        brackets, within = padded_rows(problems)
        height = np.cumsum(np.where(within, 1 - 2 * brackets, 0)[:, 1:], axis=1)
        balanced = (height >= 0).all(axis=1) & (height[:, -1] == 0) if height.shape[1] else np.ones(len(problems), bool)
        return np.asarray(super().is_problem(problems, spec) & balanced)

    def solve(self, problems: IntegerSequences, spec: BracketSpec) -> IntegerSequences:
        """Each list has a stack of its open brackets: that at height h of list k is ``stack[h n + k]``."""
        n = len(problems)
        order, longer = _by_length(problems.lengths - 1)
        at, top = problems.offsets[order] + 1, np.arange(n)
        stack = np.empty((len(longer) // 2 + 1) * n, dtype=np.int32)
        rows = IntegerSequences(problems.values.copy(), problems.lengths)
        for position, count in enumerate(longer):
            at, top = at[:count], top[:count]
            falls = problems.values[at]
            closing = np.flatnonzero(falls)
            falls *= n
            top -= falls
            opened, closed = stack[top[closing]], at[closing]
            rows.values[closed], rows.values[closed - position + opened] = opened, position
            stack[top] = position
            falls -= n
            top -= falls
            at += 1
        return rows


def _by_length(lengths: Ints) -> tuple[Ints, list[int]]:
    """(the lists from the longest to the shortest (n,); how many lists are longer than 0, 1, ... elements)."""
    counts = np.bincount(lengths)
    return np.argsort(-lengths.astype(np.int16), kind="stable"), (len(lengths) - np.cumsum(counts))[:-1].tolist()


TASK = BracketMatch()
