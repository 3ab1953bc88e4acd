"""Bracket matching: a balanced list of opening (0) and closing (1) brackets -> for each position the position of its partner.

Balanced lists of k pairs are uniform: of the 2k + 1 rotations of a random order of k opening and k + 1 closing brackets exactly one
is a balanced list followed by a closing bracket (cycle lemma, Dvoretzky and Motzkin 1947).
"""

from __future__ import annotations

import math
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mathpipe.datasets.containers.array_types import Mask
from mathpipe.datasets.containers.integer_layout import list_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec
from mathpipe.generate.sampling.integers import inside
from mathpipe.generate.tasks.integer_task import IntegerTask
from mathpipe.generate.tasks.symbols.symbol_task import dense_lists


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

    def ranges(self, spec: BracketSpec) -> dict[str, tuple[int, int]]:
        return {"problem_range": (0, 1), "solution_range": (0, 2 * spec.max_pairs - 1)}

    def distinct_problems(self, spec: BracketSpec) -> float:
        """The Catalan numbers of all numbers of pairs."""
        sizes = range(spec.min_pairs, min(spec.max_pairs, 100) + 1)
        return float(sum(math.comb(2 * k, k) // (k + 1) for k in sizes)) if spec.min_pairs <= 100 else math.inf

    def sample(self, rng: np.random.Generator, n: int, spec: BracketSpec) -> IntegerSequences:
        pairs = rng.integers(spec.min_pairs, spec.max_pairs, n, endpoint=True)
        within = inside(2 * pairs)
        dense = np.zeros(within.shape, dtype=np.int64)
        for k in np.unique(pairs).tolist():
            index = np.flatnonzero(pairs == k)
            dense[index, : 2 * k] = _balanced(rng, len(index), k)
        return list_rows(dense[within], 2 * pairs)

    def is_problem(self, problems: IntegerSequences, spec: BracketSpec) -> Mask:
        brackets, within = dense_lists(problems)
        height = np.cumsum(np.where(within, 1 - 2 * brackets, 0), axis=1)
        balanced = (height >= 0).all(axis=1) & (height[:, -1] == 0) if height.shape[1] else np.ones(len(problems), bool)
        return np.asarray(super().is_problem(problems, spec) & balanced)

    def solve(self, problems: IntegerSequences, spec: BracketSpec) -> IntegerSequences:
        """A bracket and its partner have the same depth, and are neighbours among the brackets of that depth."""
        brackets, within = dense_lists(problems)
        steps = np.where(within, 1 - 2 * brackets, 0).astype(np.int16)
        depth = np.cumsum(steps, axis=1, dtype=np.int16) + brackets.astype(np.int16)
        depth[~within] = np.iinfo(np.int16).max
        order = np.argsort(depth, axis=1, kind="stable")  # a radix sort, of 16 bits
        matching = np.empty_like(order)
        np.put_along_axis(matching, order[:, 0::2], order[:, 1::2], axis=1)
        np.put_along_axis(matching, order[:, 1::2], order[:, 0::2], axis=1)
        return list_rows(matching[within], problems.lengths - 1)


def _balanced(rng: np.random.Generator, n: int, k: int) -> NDArray[np.int8]:
    """(n, 2k) balanced lists of k pairs."""
    keys = rng.random((n, 2 * k + 1), dtype=np.float32)
    orders = np.ones((n, 2 * k + 1), dtype=np.int8)
    np.put_along_axis(orders, np.argpartition(keys, k, axis=1)[:, :k], 0, axis=1)
    height = np.cumsum(1 - 2 * orders, axis=1, dtype=np.int16)
    start = height.argmin(axis=1) + 1  # after the first lowest point
    rotated = (start[:, None] + np.arange(2 * k)) % (2 * k + 1)
    return np.take_along_axis(orders, rotated, axis=1)


TASK = BracketMatch()
