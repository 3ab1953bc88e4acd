"""The base class of modular arithmetic: a, b -> f(a, b) mod m, with m fixed by the spec.

A space of up to 2^16 pairs is sampled in passes, each a permutation of all pairs, so that no pair repeats within the first pass:
of modulus 97, the first 4,704 training examples are half of all 9,409 pairs, as in Power et al. 2022 (arXiv 2201.02177).
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from typing import Annotated

import numpy as np
from pydantic import Field

from mathpipe.datasets.containers.array_types import Ints
from mathpipe.datasets.containers.integer_layout import fixed_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec
from mathpipe.generate.splits import TEST, TRAIN, VALID, in_split, sequence_hash, share
from mathpipe.generate.tasks.integer_task import CLASS, Columns, IntegerTask

LARGEST_SPACE = 1 << 16  # pairs of the largest space that is enumerated


class ModularSpec(IntegerSpec):
    """``modulus``: m; operands are uniform in 0..m - 1."""

    modulus: Annotated[int, Field(ge=2, le=2**31)] = Field(97, description="the modulus m")


class ModularTask(IntegerTask[ModularSpec]):
    """a, b -> f(a, b) mod m; the class of an example is its answer."""

    problem = "two integers a, b in 0..m - 1, with m fixed by --modulus"
    source = "Power et al. 2022, arXiv 2201.02177"
    problem_layout = "(int, int)"
    solution_layout = "int"
    columns = {CLASS: "int64"}
    spec_model = ModularSpec
    default_spec = ModularSpec()

    @abstractmethod
    def combine(self, a: Ints, b: Ints, modulus: int) -> Ints:
        """f(a, b) mod m, (n,)."""

    def ranges(self, spec: ModularSpec) -> dict[str, tuple[int, int]]:
        return {"problem_range": (0, spec.modulus - 1), "solution_range": (0, spec.modulus - 1)}

    def distinct_problems(self, spec: ModularSpec) -> float:
        return float(spec.modulus) ** 2

    def distinct_of_split(self, spec: ModularSpec, split: str) -> float:
        return _count_pairs(spec.modulus, split)

    def chunk_rows(self, spec: ModularSpec) -> int:
        """10,000, or what it takes for one chunk to contain all held-out pairs of a small space."""
        if spec.modulus**2 > LARGEST_SPACE:
            return super().chunk_rows(spec)
        held_out = max(_count_pairs(spec.modulus, VALID), _count_pairs(spec.modulus, TEST), 1)
        return math.ceil(held_out * share(TRAIN) / share(TEST))

    def sample(self, rng: np.random.Generator, n: int, spec: ModularSpec) -> IntegerSequences:
        if spec.modulus**2 <= LARGEST_SPACE:
            return fixed_rows(_all_pairs(spec.modulus).take(rng.permutation(spec.modulus**2), axis=0))
        return fixed_rows(rng.integers(0, spec.modulus, (n, 2)))

    def solve(self, problems: IntegerSequences, spec: ModularSpec) -> IntegerSequences:
        a, b = problems.values.reshape(-1, 2).T
        return fixed_rows(self.combine(a, b, spec.modulus)[:, None])

    def classes(self, problems: IntegerSequences, solutions: IntegerSequences) -> Columns:
        return {CLASS: solutions.values}


@functools.lru_cache(maxsize=8)
def _all_pairs(modulus: int) -> Ints:
    """(modulus^2, 2), read-only."""
    pairs = np.stack(np.divmod(np.arange(modulus**2), modulus), axis=1)
    pairs.setflags(write=False)
    return pairs


@functools.lru_cache(maxsize=64)
def _count_pairs(modulus: int, split: str) -> float:
    """The number of pairs of a split: counted in a small space, else its share."""
    if modulus**2 > LARGEST_SPACE:
        return share(split) * modulus**2
    return float(in_split(sequence_hash(fixed_rows(_all_pairs(modulus))), split).sum())
