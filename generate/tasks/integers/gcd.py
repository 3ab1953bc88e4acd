"""Greatest common divisor: a, b -> gcd(a, b); the class of an example is its answer.

Uniform operands have gcd k with probability proportional to 1/k^2, so almost all answers are small. ``operands`` and ``outcome``
change that. Published (Charton 2024, arXiv 2308.15594): of the gcds 1 to 100 at most 38 are predicted after training on uniform
operands, 73 on log-uniform operands, 91 on log-uniform operands and outcomes.

Verification: an answer is right if it equals the stored one (``IntegerTask.verify``).
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from mathpipe.datasets.containers.array_types import Ints
from mathpipe.datasets.containers.integer_layout import fixed_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec
from mathpipe.generate.sampling.integers import log_uniform
from mathpipe.generate.tasks.integer_task import CLASS, Columns, IntegerTask


class GcdSpec(IntegerSpec):
    """``max_int``: the largest operand. ``operands``: uniform, or with a uniform logarithm.

    ``outcome``: a = g u, b = g v with g sampled as named from 1..``max_outcome``, and coprime u, v sampled as ``operands``, below
    ``max_int`` / g; null: a and b are sampled, and g follows.
    """

    max_int: Annotated[int, Field(ge=2, le=10**9)] = Field(1_000_000, description="largest operand")
    operands: Literal["uniform", "log-uniform"] = Field("uniform", description="distribution of the operands")
    outcome: Literal["natural", "uniform", "log-uniform", "inverse-square"] = Field(
        "natural", description="distribution of the gcd; natural: the one that follows from the operands"
    )
    max_outcome: Annotated[int, Field(ge=1, le=10**6)] = Field(
        100, description="largest gcd of an outcome that is not natural"
    )


class Gcd(IntegerTask[GcdSpec]):
    """a, b -> gcd(a, b)."""

    name = "gcd"
    problem = "two positive integers a, b"
    solution = "their greatest common divisor"
    source = "Charton 2024, arXiv 2308.15594"
    problem_layout = "(int, int)"
    solution_layout = "int"
    columns = {CLASS: "int64"}
    spec_model = GcdSpec
    default_spec = GcdSpec()

    def ranges(self, spec: GcdSpec) -> dict[str, tuple[int, int]]:
        return {"problem_range": (1, spec.max_int), "solution_range": (1, spec.max_int)}

    def distinct_problems(self, spec: GcdSpec) -> float:
        return float(spec.max_int) ** 2

    def sample(self, rng: np.random.Generator, n: int, spec: GcdSpec) -> IntegerSequences:
        """With an outcome, pairs that are not coprime are rejected, 39 % of uniform ones."""
        if spec.outcome == "natural":
            return fixed_rows(_operands(rng, np.full((n, 2), spec.max_int), spec))
        divisor = _outcomes(rng, n, spec)
        cofactors = _operands(rng, np.repeat((spec.max_int // divisor)[:, None], 2, axis=1), spec)
        coprime = np.gcd(cofactors[:, 0], cofactors[:, 1]) == 1
        return fixed_rows((cofactors * divisor[:, None])[coprime])

    def solve(self, problems: IntegerSequences, spec: GcdSpec) -> IntegerSequences:
        a, b = problems.values.reshape(-1, 2).T
        return fixed_rows(np.gcd(a, b)[:, None])

    def classes(self, problems: IntegerSequences, solutions: IntegerSequences) -> Columns:
        return {CLASS: solutions.values}


def _operands(rng: np.random.Generator, largest: Ints, spec: GcdSpec) -> Ints:
    """Integers in 1..largest, of the shape of ``largest``."""
    if spec.operands == "uniform":
        return rng.integers(1, largest, endpoint=True)
    return log_uniform(rng, largest)


def _outcomes(rng: np.random.Generator, n: int, spec: GcdSpec) -> Ints:
    """(n,) gcds in 1..max_outcome."""
    largest = min(spec.max_outcome, spec.max_int)
    if spec.outcome == "log-uniform":
        return log_uniform(rng, np.full(n, largest))
    if spec.outcome == "uniform":
        return rng.integers(1, largest, n, endpoint=True)
    cumulative = np.cumsum(1.0 / np.arange(1, largest + 1) ** 2)
    index = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    return np.asarray(1 + np.minimum(index, largest - 1))


TASK = Gcd()
