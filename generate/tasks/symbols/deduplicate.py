"""Deduplicate: a list of symbols -> the first occurrence of each, in order."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.array_types import Mask
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.tasks.symbols.symbol_task import SymbolSpec, SymbolTask

_LARGEST_TABLE = 1 << 18  # entries of the table of first positions, 2 MiB; lists beyond it take another turn


class Deduplicate(SymbolTask):
    """The first occurrence of each symbol, in order."""

    name = "deduplicate"
    solution = "the first occurrence of each symbol, in order"

    def solve(self, problems: IntegerSequences, spec: SymbolSpec) -> IntegerSequences:
        step = max(_LARGEST_TABLE // (spec.symbols + 1), 1)
        parts = [
            _is_first(problems.take(np.arange(first, min(first + step, len(problems)))), spec.symbols)
            for first in range(0, len(problems), step)
        ]
        is_first = np.concatenate(parts) if parts else np.zeros(0, dtype=np.bool_)
        starts = problems.offsets[:-1]
        lengths = np.add.reduceat(is_first, starts, dtype=np.int64) if len(starts) else starts
        rows = IntegerSequences(problems.values[is_first], lengths)
        rows.values[rows.offsets[:-1]] = lengths - 1
        return rows


def _is_first(problems: IntegerSequences, symbols: int) -> Mask:
    """(m,): the symbols of flat rows that no earlier symbol of the same list equals, and the lengths of the lists.

    A table has the smallest position of each symbol in each list; the length of a list counts as one more symbol.
    """
    code = problems.values + np.repeat(np.arange(len(problems)) * (symbols + 1), problems.lengths)
    code[problems.offsets[:-1]] = np.arange(len(problems)) * (symbols + 1) + symbols
    position = np.arange(len(code))
    first = np.full(len(problems) * (symbols + 1), len(code))
    np.minimum.at(first, code, position)
    return np.asarray(first[code] == position)


TASK = Deduplicate()
