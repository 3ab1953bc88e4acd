"""Sources of failures: the predictions of an evaluation, or a failure dump."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.storage import Storage
from mathpipe.evaluate.adapters.adapter_registry import all_outcomes
from mathpipe.evaluate.build_report import iter_failures
from mathpipe.evaluate.compare.evaluations import find_evaluations
from mathpipe.evaluate.evaluation_directory import FAILURES, PREDICTIONS
from mathpipe.evaluate.failures.failure import Failure
from mathpipe.evaluate.failures.failure_dump import read_failures
from mathpipe.evaluate.predictions import expect_predictions, predictions_metadata, read_predictions
from mathpipe.pipeline.console import log


@dataclass(frozen=True)
class FailureSource:
    """``path``: the file to read; ``predictions``: the predictions file, None for a dump without one beside it."""

    path: Path
    predictions: Path | None

    def failures(self) -> Iterator[Failure]:
        if self.path != self.predictions:
            return read_failures(self.path)
        metadata = predictions_metadata(self.path)
        return iter_failures(Storage(str(self.path.parent)), metadata.get("spec", metadata), self.path.name)

    def outcomes(self) -> list[str]:
        """The outcomes of the task; without predictions the task is unknown, and these are the outcomes of all tasks."""
        if self.predictions is not None:
            with expect_predictions(self.predictions):
                return list(predictions_metadata(self.predictions)["outcomes"])
        return all_outcomes()

    def explain_row(self, row: int) -> str:
        """Explain why a row is not among the matching failures; UserError if it was not evaluated."""
        if self.predictions is None:
            return f"row {row} is not among the matching failures of {self.path}"
        with expect_predictions(self.predictions):
            table = read_predictions(self.predictions, ["row", "rank", "passed", "outcome"])
            top_ranked = table.filter(pc.equal(table["rank"], 0))
            matching_rows = top_ranked.filter(pc.equal(top_ranked["row"], row)).to_pylist()
        if not matching_rows:
            limits = pc.min_max(top_ranked["row"])
            raise UserError(
                f"row {row} was not evaluated",
                expected=f"one of the {len(top_ranked):,} rows of {self.predictions}, {limits['min']} to {limits['max']}",
            )
        outcome = matching_rows[0]["outcome"]
        if matching_rows[0]["passed"]:
            return f"row {row} was answered correctly ({outcome})"
        return f"row {row} failed ({outcome}), but does not match the other conditions"


def find_failure_source(location: str) -> FailureSource:
    """The failures of a file or directory (for a run, its latest evaluation); UserError if there are none to read."""
    path = existing_path(location)
    if path.is_dir():
        latest, *others = sorted(find_evaluations(path), key=_modified_at, reverse=True)
        if Path(latest) != path:
            log(f"showing {latest}" + (f", the latest; others: {', '.join(others)}" if others else ""))
        path = Path(latest) / PREDICTIONS
    if path.suffix == ".pred":
        raise UserError(
            f"{location} is a published failure file",
            expected="--task with the name of its task",
            next_step=f"`mathpipe failures {location} --task eigenvectors` verifies its predictions again",
        )
    if path.suffix == ".parquet":
        if "task" not in predictions_metadata(path):
            raise UserError(f"{location} is not a predictions file", next_step="`mathpipe eval` writes one for a run")
        return FailureSource(path, path)
    beside = path.with_name(PREDICTIONS)
    return FailureSource(path, beside if beside.is_file() else None)


def find_published_file(location: str) -> Path:
    """Path of a published failure file; UserError if it is missing or was written by mathpipe."""
    path = existing_path(location)
    if path.is_dir() or path.suffix in (".parquet", ".zst"):
        raise UserError(
            f"--task applies to published failure files only, and {location} is not one",
            expected="a .pred file with --task, or a run or an evaluation without --task",
            next_step=f"`mathpipe failures {location}`; for one task of co-training add `--where task=NAME`",
        )
    return path


def existing_path(location: str) -> Path:
    """The path; UserError if it does not exist."""
    if not Path(location).exists():
        raise UserError(
            f"there is no {location}",
            expected=f"the directory of a run or an evaluation, a {FAILURES}, a {PREDICTIONS} or a published .pred file",
            next_step="`mathpipe eval --run RUN --verbose` evaluates a run",
        )
    return Path(location)


def _modified_at(evaluation: str) -> float:
    return (Path(evaluation) / PREDICTIONS).stat().st_mtime
