"""An analysis: a small table, its caption and its plot. Every proportion comes with Wilson's 95 % interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.evaluate.analyze.evaluation_data import EvaluationData
from mathpipe.evaluate.analyze.statistics import wilson

Row = list[Any]
Analyse = Callable[[EvaluationData], Iterator["Analysis"]]


@dataclass(frozen=True)
class Chart:
    """How to plot a table. ``x``: column of positions; ``y``: columns of proportions; ``low``, ``high``: interval columns.

    ``kind``: line (numbers on the x axis) or bars (names).
    """

    kind: str
    x: str
    y: tuple[str, ...]
    low: str | None = None
    high: str | None = None
    log_x: bool = False
    x_title: str = ""
    y_title: str = "proportion of problems"
    diagonal: bool = False


@dataclass(frozen=True)
class Analysis:
    """One analysis. ``note``: its caption; ``shares``: columns that are proportions, shown in percent."""

    name: str
    title: str
    note: str
    columns: list[str]
    rows: list[Row]
    chart: Chart | None = None
    shares: tuple[str, ...] = ()

    def column(self, name: str) -> list[Any]:
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


def proportion(mask: NDArray[np.bool_]) -> list[Any]:
    """[proportion, low, high, count]; the proportion is None for an empty mask."""
    k, n = int(np.count_nonzero(mask)), len(mask)
    return [k / n if n else None, *wilson(k, n), k]
