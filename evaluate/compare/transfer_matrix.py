"""Transfer matrix: accuracy by training spec and test spec. Each cell is one evaluation, never an average of several."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mathpipe.evaluate.compare.evaluations import EvaluationSummary, disambiguate

CELL_RULE = (
    "Each cell shows one evaluation: the one with the most problems; among equals greedy decoding first, then the last "
    "checkpoint, then the real domain."
)


@dataclass(frozen=True)
class TransferMatrix:
    """``cells[i][j]``: the evaluation trained on ``rows[i]`` and tested on ``cols[j]``, or None."""

    rows: list[str]
    cols: list[str]
    cells: list[list[EvaluationSummary | None]]

    @property
    def accuracy(self) -> list[list[float | None]]:
        return [
            [None if evaluation is None else evaluation.metrics["accuracy"] for evaluation in line]
            for line in self.cells
        ]

    @property
    def filled(self) -> list[tuple[str, str, EvaluationSummary]]:
        """(trained on, tested on, evaluation) of each non-empty cell."""
        row_cells = zip(self.rows, self.cells, strict=True)
        cells = [
            (row, col, evaluation) for row, line in row_cells for col, evaluation in zip(self.cols, line, strict=True)
        ]
        return [(row, col, evaluation) for row, col, evaluation in cells if evaluation is not None]

    @property
    def same_settings(self) -> bool:
        """Whether all cells share decoding settings, kind of checkpoint and domain."""
        return len({evaluation.settings for _, _, evaluation in self.filled}) == 1


def transfer_matrix(evaluations: list[EvaluationSummary]) -> TransferMatrix | None:
    """One row per run, one column per test spec; None if there is only one column.

    Rows are named by the training spectrum and columns by the test spectrum, with run, split and dataset added where these
    repeat. Without a spectrum, rows are named by run and columns by split.
    """
    runs, columns = (
        list(dict.fromkeys(evaluation.run for evaluation in evaluations)),
        list(dict.fromkeys(map(_column, evaluations))),
    )
    if len(columns) < 2:
        return None
    trained = [next(evaluation for evaluation in evaluations if evaluation.run == run) for run in runs]
    tested = [next(evaluation for evaluation in evaluations if _column(evaluation) == column) for column in columns]
    return TransferMatrix(
        disambiguate(
            [spectrum_of(evaluation.metadata.get("trained_spec")) or evaluation.run for evaluation in trained], runs
        ),
        disambiguate(
            [spectrum_of(evaluation.metadata.get("spec")) or _split(evaluation) for evaluation in tested],
            [_split(evaluation) for evaluation in tested],
            [Path(str(evaluation.metadata.get("data"))).name for evaluation in tested],
            [str(evaluation.metadata.get("dataset_digest"))[:8] for evaluation in tested],
        ),
        [[_best(t for t in evaluations if (t.run, _column(t)) == (run, column)) for column in columns] for run in runs],
    )


def spectrum_of(spec: dict[str, Any] | None) -> str | None:
    """The spectrum or mixture of a spec, or None."""
    spectrum = _problems(spec).get("spectrum")
    return "+".join(spectrum) if spectrum else None


def _column(evaluation: EvaluationSummary) -> Hashable:
    """Key of a column: the sampling of the problems, and the split (all test splits count as one if there is a spectrum)."""
    spec = evaluation.metadata.get("spec")
    sampling = {name: value for name, value in _problems(spec).items() if value}
    split = _split(evaluation)
    if spectrum_of(spec) is not None and split.startswith("test"):
        split = "test"
    return split, json.dumps(sampling, sort_keys=True)


def _problems(spec: dict[str, Any] | None) -> dict[str, Any]:
    return (spec or {}).get("problems") or {}


def _split(evaluation: EvaluationSummary) -> str:
    return str(evaluation.metadata["split"])


def _best(candidates: Iterable[EvaluationSummary]) -> EvaluationSummary | None:
    """The best by ``CELL_RULE``; the first of equals."""

    def rank(evaluation: EvaluationSummary) -> tuple[int, bool, bool, bool]:
        greedy, last = (
            evaluation.metrics["decoding"] == "greedy",
            evaluation.metadata.get("checkpoint", "last") == "last",
        )
        return evaluation.metrics["n"], greedy, last, evaluation.metadata.get("domain") != "complex"

    return max(candidates, key=rank, default=None)
