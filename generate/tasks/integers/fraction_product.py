"""Product of two fractions: a, b, c, d -> (a/b) (c/d) in lowest terms."""

from __future__ import annotations

from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.tasks.integers.fractions import (
    FractionSpec,
    FractionTask,
    lowest_terms,
    operands_of,
)


class FractionProduct(FractionTask):
    """(a/b) (c/d)."""

    name = "fraction-product"
    problem = "four positive integers a, b, c, d"
    solution = "(a/b) (c/d) in lowest terms: numerator, denominator"
    solution_layout = "(int, int)"

    def solve(self, problems: IntegerSequences, spec: FractionSpec) -> IntegerSequences:
        a, b, c, d = operands_of(problems, 4)
        return lowest_terms(a * c, b * d)


TASK = FractionProduct()
