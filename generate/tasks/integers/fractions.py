"""The base class of the tasks on fractions a / b and c / d of positive integers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from mathpipe.datasets.containers.array_types import Ints
from mathpipe.datasets.containers.integer_layout import fixed_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec
from mathpipe.generate.sampling.integers import log_uniform
from mathpipe.generate.tasks.integer_task import IntegerTask


class FractionSpec(IntegerSpec):
    """``max_int``: the largest numerator and denominator. ``operands``: uniform in 1..max_int, or with a uniform logarithm."""

    max_int: Annotated[int, Field(ge=2, le=10**9)] = Field(1000, description="largest numerator and denominator")
    operands: Literal["uniform", "log-uniform"] = Field("uniform", description="distribution of the operands")


class FractionTask(IntegerTask[FractionSpec]):
    """``operands``: numbers of a problem, 2 (one fraction) or 4 (two fractions)."""

    source = "arithmetic"
    problem_layout = "(int, int, int, int)"
    spec_model = FractionSpec
    default_spec = FractionSpec()
    num_operands: ClassVar[int] = 4

    def distinct_problems(self, spec: FractionSpec) -> float:
        return float(spec.max_int) ** self.num_operands

    def ranges(self, spec: FractionSpec) -> dict[str, tuple[int, int]]:
        return {"problem_range": (1, spec.max_int)}

    def sample(self, rng: np.random.Generator, n: int, spec: FractionSpec) -> IntegerSequences:
        return fixed_rows(sample_operands(rng, n, self.num_operands, spec))


def sample_operands(rng: np.random.Generator, n: int, columns: int, spec: FractionSpec) -> Ints:
    """(n, columns) integers in 1..max_int."""
    if spec.operands == "log-uniform":
        return log_uniform(rng, np.full((n, columns), spec.max_int))
    return rng.integers(1, spec.max_int, (n, columns), endpoint=True)


def operands_of(problems: IntegerSequences, columns: int) -> Ints:
    """(columns, n): the operands of each problem."""
    return problems.values.reshape(-1, columns).T


def lowest_terms(numerator: Ints, denominator: Ints) -> IntegerSequences:
    """Rows (numerator, denominator) divided by their common divisor; denominators are positive."""
    divisor = np.gcd(numerator, denominator)
    return fixed_rows(np.stack([numerator // divisor, denominator // divisor], axis=1))
