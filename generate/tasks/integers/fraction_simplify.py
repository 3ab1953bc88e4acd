"""A fraction in lowest terms: k a, k b -> (k a) / g, (k b) / g with g = gcd(k a, k b)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from mathpipe.datasets.containers.integer_layout import fixed_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.tasks.integers.fractions import (
    FractionSpec,
    FractionTask,
    lowest_terms,
    operands_of,
    sample_operands,
)


class SimplifySpec(FractionSpec):
    """``max_factor``: the factor k of numerator and denominator is uniform in 1..max_factor."""

    max_factor: Annotated[int, Field(ge=1, le=10**9)] = Field(
        100, description="largest factor by which a fraction is expanded"
    )


class FractionSimplify(FractionTask):
    """(k a) / (k b) in lowest terms."""

    name = "fraction-simplify"
    problem = "two positive integers k a, k b"
    solution = "k a / k b in lowest terms: numerator, denominator"
    problem_layout = "(int, int)"
    solution_layout = "(int, int)"
    num_operands = 2
    spec_model = SimplifySpec
    default_spec = SimplifySpec()

    def ranges(self, spec: FractionSpec) -> dict[str, tuple[int, int]]:
        return {"problem_range": (1, spec.max_int * _factor(spec)), "solution_range": (1, spec.max_int)}

    def sample(self, rng: np.random.Generator, n: int, spec: FractionSpec) -> IntegerSequences:
        operands = sample_operands(rng, n, 2, spec)
        return fixed_rows(operands * rng.integers(1, _factor(spec), (n, 1), endpoint=True))

    def solve(self, problems: IntegerSequences, spec: FractionSpec) -> IntegerSequences:
        return lowest_terms(*operands_of(problems, 2))


def _factor(spec: FractionSpec) -> int:
    return SimplifySpec.model_validate(spec.model_dump()).max_factor


TASK = FractionSimplify()
