"""Copy: a list of symbols -> the same list."""

from __future__ import annotations

from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.tasks.symbols.symbol_task import SymbolSpec, SymbolTask


class Copy(SymbolTask):
    """The same list."""

    name = "copy"
    solution = "the same list"

    def solve(self, problems: IntegerSequences, spec: SymbolSpec) -> IntegerSequences:
        return problems


TASK = Copy()
