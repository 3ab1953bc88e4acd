"""Comparison of two fractions: a, b, c, d -> 1 if a/b > c/d, else 0; equal fractions do not occur."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.integer_layout import fixed_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.tasks.integer_task import CLASS, Columns
from mathpipe.generate.tasks.integers.fractions import (
    FractionSpec,
    FractionTask,
    operands_of,
    sample_operands,
)


class FractionCompare(FractionTask):
    """Whether a/b > c/d."""

    name = "fraction-compare"
    problem = "four positive integers a, b, c, d with a/b and c/d different"
    solution = "1 if a/b > c/d, else 0"
    solution_layout = "int"
    columns = {CLASS: "int64"}
    rejection = "equal fractions"

    def ranges(self, spec: FractionSpec) -> dict[str, tuple[int, int]]:
        return super().ranges(spec) | {"solution_range": (0, 1)}

    def sample(self, rng: np.random.Generator, n: int, spec: FractionSpec) -> IntegerSequences:
        operands = sample_operands(rng, n, 4, spec)
        a, b, c, d = operands.T
        return fixed_rows(operands[a * d != b * c])

    def solve(self, problems: IntegerSequences, spec: FractionSpec) -> IntegerSequences:
        a, b, c, d = operands_of(problems, 4)
        return fixed_rows((a * d > b * c)[:, None])

    def classes(self, problems: IntegerSequences, solutions: IntegerSequences) -> Columns:
        return {CLASS: solutions.values}


TASK = FractionCompare()
