"""The base class of tasks on sequences of symbols 0..n-1, with uniform lengths and uniform symbols."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from mathpipe.datasets.containers.array_types import Ints, Mask
from mathpipe.datasets.containers.integer_layout import list_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec
from mathpipe.generate.sampling.integers import inside
from mathpipe.generate.tasks.integer_task import IntegerTask


class LengthSpec(IntegerSpec):
    """``min_length``..``max_length``: the length of each problem is uniform in this range."""

    min_length: Annotated[int, Field(ge=1, le=4096)] = Field(1, description="smallest length of a problem")
    max_length: Annotated[int, Field(ge=1, le=4096)] = Field(20, description="largest length of a problem")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length {self.min_length} is above max_length {self.max_length}: give both")
        return self


class SymbolSpec(LengthSpec):
    """``symbols``: n; symbols are 0..n-1."""

    symbols: Annotated[int, Field(ge=2, le=10_000)] = Field(10, description="number of different symbols")


class SymbolTask(IntegerTask[SymbolSpec]):
    """A list of symbols -> a list of symbols."""

    problem = "a list of symbols 0..n-1"
    source = "synthetic"
    problem_layout = "[int]"
    solution_layout = "[int]"
    spec_model = SymbolSpec
    default_spec = SymbolSpec()

    def ranges(self, spec: SymbolSpec) -> dict[str, tuple[int, int]]:
        return {"problem_range": (0, spec.symbols - 1), "solution_range": (0, spec.symbols - 1)}

    def distinct_problems(self, spec: SymbolSpec) -> float:
        return number_of_lists(spec.symbols, spec)

    def sample(self, rng: np.random.Generator, n: int, spec: SymbolSpec) -> IntegerSequences:
        return sample_lists(rng, n, spec.symbols, spec)


def number_of_lists(symbols: int, spec: LengthSpec) -> float:
    """How many lists of these lengths there are."""
    return sum(min(float(symbols) ** min(k, 60), 1e60) for k in range(spec.min_length, spec.max_length + 1))


def sample_lists(rng: np.random.Generator, n: int, symbols: int, spec: LengthSpec) -> IntegerSequences:
    """n lists of uniform length and uniform symbols, as flat rows."""
    lengths = rng.integers(spec.min_length, spec.max_length, n, endpoint=True)
    return list_rows(rng.integers(0, symbols, int(lengths.sum())), lengths)


def dense_lists(rows: IntegerSequences, fill: int = 0) -> tuple[Ints, Mask]:
    """(symbols (n, longest), padded with ``fill``; which are no padding) of flat rows of lists."""
    within = inside(rows.lengths - 1)
    dense = np.full(within.shape, fill, dtype=np.int64)
    is_symbol = np.ones(len(rows.values), dtype=np.bool_)
    is_symbol[rows.offsets[:-1]] = False
    dense[within] = rows.values[is_symbol]
    return dense, within
