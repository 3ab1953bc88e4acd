"""Integer part of a fraction: a, b -> floor(a / b); the class of an example is its answer.

For uniform operands half of the answers are 0; log-uniform operands spread them.
"""

from __future__ import annotations

from mathpipe.datasets.containers.integer_layout import fixed_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.tasks.integer_task import CLASS, Columns
from mathpipe.generate.tasks.integers.fractions import (
    FractionSpec,
    FractionTask,
    operands_of,
)


class FractionRound(FractionTask):
    """floor(a / b)."""

    name = "fraction-round"
    problem = "two positive integers a, b"
    solution = "floor(a / b)"
    problem_layout = "(int, int)"
    solution_layout = "int"
    columns = {CLASS: "int64"}
    num_operands = 2

    def ranges(self, spec: FractionSpec) -> dict[str, tuple[int, int]]:
        return super().ranges(spec) | {"solution_range": (0, spec.max_int)}

    def solve(self, problems: IntegerSequences, spec: FractionSpec) -> IntegerSequences:
        a, b = operands_of(problems, 2)
        return fixed_rows((a // b)[:, None])

    def classes(self, problems: IntegerSequences, solutions: IntegerSequences) -> Columns:
        return {CLASS: solutions.values}


TASK = FractionRound()
