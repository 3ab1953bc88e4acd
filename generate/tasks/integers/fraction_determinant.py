"""Determinant of two fractions: a, b, c, d -> a d - b c."""

from __future__ import annotations

from mathpipe.datasets.containers.integer_layout import fixed_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.tasks.integers.fractions import (
    FractionSpec,
    FractionTask,
    operands_of,
)


class FractionDeterminant(FractionTask):
    """a d - b c."""

    name = "fraction-determinant"
    problem = "four positive integers a, b, c, d"
    solution = "a d - b c"
    solution_layout = "int"

    def solve(self, problems: IntegerSequences, spec: FractionSpec) -> IntegerSequences:
        a, b, c, d = operands_of(problems, 4)
        return fixed_rows((a * d - b * c)[:, None])


TASK = FractionDeterminant()
