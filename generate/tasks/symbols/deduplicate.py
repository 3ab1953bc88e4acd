"""Deduplicate: a list of symbols -> the first occurrence of each, in order."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.integer_layout import list_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.tasks.symbols.symbol_task import SymbolSpec, SymbolTask, dense_lists


class Deduplicate(SymbolTask):
    """The first occurrence of each symbol, in order."""

    name = "deduplicate"
    solution = "the first occurrence of each symbol, in order"

    def solve(self, problems: IntegerSequences, spec: SymbolSpec) -> IntegerSequences:
        symbols, within = dense_lists(problems, fill=-1)
        order = np.argsort(symbols, axis=1, kind="stable")
        in_order = np.take_along_axis(symbols, order, axis=1)
        is_first = np.ones_like(within)
        is_first[:, 1:] = in_order[:, 1:] != in_order[:, :-1]
        keep = np.zeros_like(within)
        np.put_along_axis(keep, order, is_first, axis=1)
        keep &= within
        return list_rows(symbols[keep], keep.sum(axis=1))


TASK = Deduplicate()
