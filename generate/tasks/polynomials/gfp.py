"""The base class of arithmetic of polynomials over GF(p): dense coefficients in 0..p-1, the constant one first.

A list ends with its leading coefficient, which is not 0; the empty list is the polynomial 0.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from mathpipe.datasets.containers.array_types import Ints
from mathpipe.datasets.containers.integer_layout import list_rows
from mathpipe.datasets.containers.ragged_positions import inside
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec
from mathpipe.generate.tasks.integer_task import IntegerTask


class FieldSpec(IntegerSpec):
    """``prime``: p; ``max_degree``: the degrees of both polynomials are uniform in 0..max_degree."""

    prime: Annotated[int, Field(ge=2, le=1_000_003)] = Field(7, description="the prime p of the field GF(p)")
    max_degree: Annotated[int, Field(ge=0, le=500)] = Field(5, description="largest degree of a polynomial")

    @model_validator(mode="after")
    def _prime(self) -> Self:
        if any(self.prime % divisor == 0 for divisor in range(2, int(self.prime**0.5) + 1)):
            raise ValueError(f"{self.prime} is not a prime number")
        return self


class FieldTask(IntegerTask[FieldSpec]):
    """Two polynomials over GF(p) -> one."""

    problem = "two polynomials over GF(p): lists of coefficients, the constant first"
    source = "computer algebra"
    problem_layout = "([int], [int])"
    solution_layout = "[int]"
    spec_model = FieldSpec
    default_spec = FieldSpec()

    @abstractmethod
    def combine(self, a: Ints, b: Ints, prime: int) -> Ints:
        """Coefficients (n, r) of the result, padded with zeros, from those of the operands (n, k) each."""

    def ranges(self, spec: FieldSpec) -> dict[str, tuple[int, int]]:
        return {"problem_range": (0, spec.prime - 1), "solution_range": (0, spec.prime - 1)}

    def distinct_problems(self, spec: FieldSpec) -> float:
        return min(float(spec.prime) ** min(spec.max_degree + 1, 50), 1e100) ** 2

    def sample(self, rng: np.random.Generator, n: int, spec: FieldSpec) -> IntegerSequences:
        lengths = 1 + rng.integers(0, spec.max_degree, 2 * n, endpoint=True)
        values = rng.integers(0, spec.prime, int(lengths.sum()))
        values[np.cumsum(lengths) - 1] = rng.integers(1, spec.prime, 2 * n)
        rows = list_rows(values, lengths)
        return IntegerSequences(rows.values, rows.lengths.reshape(n, 2).sum(axis=1))

    def solve(self, problems: IntegerSequences, spec: FieldSpec) -> IntegerSequences:
        result = self.combine(*operands(problems), spec.prime)
        degree_bound = result.shape[1]
        lengths = np.where(
            (result != 0).any(axis=1), degree_bound - (result != 0)[:, ::-1].argmax(axis=1) if degree_bound else 0, 0
        )
        return list_rows(result[np.arange(degree_bound) < lengths[:, None]], lengths)


def operands(problems: IntegerSequences) -> tuple[Ints, Ints]:
    """The coefficients (n, k) of both polynomials, padded with zeros to the longest of the batch."""
    starts = problems.offsets[:-1]
    first = problems.values[starts]
    second = problems.values[starts + 1 + first] if len(starts) else first
    width = int(np.maximum(first, second).max(initial=0))
    dense = []
    for lengths, offsets in ((first, starts + 1), (second, starts + 2 + first)):
        within = inside(np.append(lengths, width))[:-1]
        row, column = np.nonzero(within)
        coefficients = np.zeros(within.shape, dtype=np.int64)
        coefficients[row, column] = problems.values[offsets[row] + column]
        dense.append(coefficients)
    return dense[0], dense[1]
