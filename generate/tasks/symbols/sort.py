"""Sort: a list of symbols -> the list in ascending order."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.integer_layout import list_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.tasks.symbols.symbol_task import SymbolSpec, SymbolTask, dense_lists


class Sort(SymbolTask):
    """The list in ascending order."""

    name = "sort"
    solution = "the list in ascending order"

    def solve(self, problems: IntegerSequences, spec: SymbolSpec) -> IntegerSequences:
        lengths = problems.lengths - 1
        symbols, within = dense_lists(problems, fill=spec.symbols)
        return list_rows(np.sort(symbols, axis=1)[within], lengths)


TASK = Sort()
