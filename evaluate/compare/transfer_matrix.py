"""The matrix of accuracies: trained on one spec, tested on another. One evaluation a cell, never a sum of several."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mathpipe.evaluate.compare.evaluations import Told, told_apart

RULE = (
    "One evaluation a cell: of several the one of the most problems; among those greedy before other decodings, then the last "
    "checkpoint before others."
)


@dataclass(frozen=True)
class TrainTest:
    """``cells[i][j]``: the evaluation of what was trained on ``rows[i]``, tested on ``cols[j]``; None where there is none."""

    rows: list[str]
    cols: list[str]
    cells: list[list[Told | None]]

    @property
    def accuracy(self) -> list[list[float | None]]:
        return [[None if told is None else told.metrics["accuracy"] for told in line] for line in self.cells]

    @property
    def filled(self) -> list[tuple[str, str, Told]]:
        """(trained on, tested on, the evaluation) of each cell that has one."""
        lines = zip(self.rows, self.cells, strict=True)
        places = [(row, col, told) for row, line in lines for col, told in zip(self.cols, line, strict=True)]
        return [(row, col, told) for row, col, told in places if told is not None]

    @property
    def alike(self) -> bool:
        """Whether all cells are decoded alike, of the same kind of checkpoint."""
        return len({told.settings for _, _, told in self.filled}) == 1


def train_test_matrix(all_told: list[Told]) -> TrainTest | None:
    """A row for each run, a column for whatever is tested by a spec of its own; None where there is but one column.

    Rows are named by the spectrum trained on, columns by the spectrum tested on, and where these say too little by run, split
    and dataset besides; where a spec names no spectrum, by the run and by the split alone.
    """
    runs, columns = list(dict.fromkeys(told.run for told in all_told)), list(dict.fromkeys(map(_column, all_told)))
    if len(columns) < 2:
        return None
    trained = [next(told for told in all_told if told.run == run) for run in runs]
    tested = [next(told for told in all_told if _column(told) == column) for column in columns]
    return TrainTest(
        told_apart([spectrum_of(told.metadata.get("trained_spec")) or told.run for told in trained], runs),
        told_apart(
            [spectrum_of(told.metadata.get("spec")) or _split(told) for told in tested],
            [_split(told) for told in tested],
            [Path(str(told.metadata.get("data"))).name for told in tested],
            [str(told.metadata.get("dataset_digest"))[:8] for told in tested],
        ),
        [[_best(t for t in all_told if (t.run, _column(t)) == (run, column)) for column in columns] for run in runs],
    )


def spectrum_of(spec: dict[str, Any] | None) -> str | None:
    """The spectrum or mixture a spec names, None where it names none."""
    spectrum = _problems(spec).get("spectrum")
    return "+".join(spectrum) if spectrum else None


def _column(told: Told) -> Hashable:
    """What is tested: how its problems are drawn, and whether training may have seen them; with no spectrum the split, too."""
    spec = told.metadata.get("spec")
    drawn = {
        name: value for name, value in _problems(spec).items() if value
    }  # older specs lack what newer ones leave empty
    split = _split(told)
    if spectrum_of(spec) is not None and split.startswith("test"):
        split = "test"
    return split, json.dumps(drawn, sort_keys=True)


def _problems(spec: dict[str, Any] | None) -> dict[str, Any]:
    return (spec or {}).get("problems") or {}


def _split(told: Told) -> str:
    return str(told.metadata["split"])


def _best(found: Iterable[Told]) -> Told | None:
    """By the rule; of equals the first."""

    def rank(told: Told) -> tuple[int, bool, bool]:
        greedy, last = told.metrics["decoding"] == "greedy", told.metadata.get("checkpoint", "last") == "last"
        return told.metrics["n"], greedy, last

    return max(found, key=rank, default=None)
