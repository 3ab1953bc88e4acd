"""Parity: a list of bits -> their sum modulo 2; the class of an example is its answer."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.integer_layout import fixed_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.tasks.integer_task import CLASS, Columns, IntegerTask
from mathpipe.generate.tasks.symbols.symbol_task import LengthSpec, dense_lists, number_of_lists, sample_lists


class Parity(IntegerTask[LengthSpec]):
    """The sum of bits modulo 2."""

    name = "parity"
    problem = "a list of bits"
    solution = "their sum modulo 2"
    source = "synthetic"
    problem_layout = "[int]"
    solution_layout = "int"
    columns = {CLASS: "int64"}
    spec_model = LengthSpec
    default_spec = LengthSpec()

    def ranges(self, spec: LengthSpec) -> dict[str, tuple[int, int]]:
        return {"problem_range": (0, 1), "solution_range": (0, 1)}

    def distinct_problems(self, spec: LengthSpec) -> float:
        return number_of_lists(2, spec)

    def sample(self, rng: np.random.Generator, n: int, spec: LengthSpec) -> IntegerSequences:
        return sample_lists(rng, n, 2, spec)

    def solve(self, problems: IntegerSequences, spec: LengthSpec) -> IntegerSequences:
        return fixed_rows((dense_lists(problems).sum(axis=1) % 2)[:, None])

    def classes(self, problems: IntegerSequences, solutions: IntegerSequences) -> Columns:
        return {CLASS: solutions.values}


TASK = Parity()
