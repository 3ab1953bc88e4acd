"""Reverse: a list of symbols -> the list from its end to its start."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.tasks.symbols.symbol_task import SymbolSpec, SymbolTask


class Reverse(SymbolTask):
    """The list from its end to its start."""

    name = "reverse"
    solution = "the list from its end to its start"

    def solve(self, problems: IntegerSequences, spec: SymbolSpec) -> IntegerSequences:
        """Integer j of a row from a to b - 1 is that at a + b - j; integer 0, the length, stays."""
        starts, ends = problems.offsets[:-1], problems.offsets[1:]
        positions = np.repeat(starts + ends, problems.lengths)
        positions -= np.arange(len(positions))
        positions[starts] = starts
        return IntegerSequences(problems.values[positions], problems.lengths)


TASK = Reverse()
