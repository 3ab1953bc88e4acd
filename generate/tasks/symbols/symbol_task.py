"""The base class of tasks on sequences of symbols 0..n-1, with uniform lengths and uniform symbols."""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mathpipe.datasets.containers.array_types import Ints, Mask
from mathpipe.datasets.containers.ragged_positions import inside
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec
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
    lengths = 1 + rng.integers(spec.min_length, spec.max_length, n, endpoint=True)
    rows = IntegerSequences(random_symbols(rng, symbols, int(lengths.sum())), lengths)
    rows.values[rows.offsets[:-1]] = lengths - 1
    return rows


def random_symbols(rng: np.random.Generator, symbols: int, count: int) -> Ints:
    """(count,) uniform in 0..symbols - 1, sampled in the narrowest type that holds them, which takes fewer random bits."""
    return rng.integers(0, symbols, count, dtype=np.min_scalar_type(symbols - 1)).astype(np.int64)


def padded_rows(
    rows: IntegerSequences, fill: int = 0, dtype: type[np.signedinteger[Any]] = np.int64
) -> tuple[NDArray[Any], Mask]:
    """(flat rows of lists (n, 1 + longest), padded with ``fill``; which entries are no padding); column 0: the lengths."""
    within = inside(rows.lengths)
    padded = np.full(within.shape, fill, dtype=dtype)
    padded[within] = rows.values
    return padded, within


def dense_lists(rows: IntegerSequences) -> Ints:
    """The lists (n, longest), padded with zeros, of flat rows."""
    return padded_rows(rows)[0][:, 1:]
