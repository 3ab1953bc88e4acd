"""Reverse: a list of symbols -> the list from its end to its start."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.integer_layout import list_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.tasks.symbols.symbol_task import SymbolSpec, SymbolTask


class Reverse(SymbolTask):
    """The list from its end to its start."""

    name = "reverse"
    solution = "the list from its end to its start"

    def solve(self, problems: IntegerSequences, spec: SymbolSpec) -> IntegerSequences:
        lengths = problems.lengths - 1
        row = np.repeat(np.arange(len(problems)), lengths)
        within = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return list_rows(problems.values[problems.offsets[1:][row] - 1 - within], lengths)


TASK = Reverse()
