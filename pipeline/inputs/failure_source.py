"""Where failures are read from: the predictions of an evaluation, or a dump."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.storage import Storage
from mathpipe.evaluate.build_report import FAILURES, PREDICTIONS, all_failures
from mathpipe.evaluate.compare.evaluations import find_evaluations
from mathpipe.evaluate.failures.failure_dump import Failure, read_failures
from mathpipe.evaluate.predictions import predictions_metadata, read_predictions
from mathpipe.evaluate.score.matrix_scoring import OUTCOMES
from mathpipe.generate.tasks.registry import SEQUENCE_TASKS
from mathpipe.pipeline.console import note


@dataclass(frozen=True)
class FailureSource:
    """``path``: what is read; ``predictions``: those it tells of, None where a dump lies without them."""

    path: Path
    predictions: Path | None

    def failures(self) -> Iterator[Failure]:
        if self.path != self.predictions:
            return read_failures(self.path)
        return all_failures(Storage(str(self.path.parent)), predictions_metadata(self.path)["task"], self.path.name)

    def outcomes(self) -> list[str]:
        """Those of the task; of a dump without predictions, which does not say its task, those of all tasks."""
        if self.predictions is not None:
            return list(predictions_metadata(self.predictions)["outcomes"])
        return list(dict.fromkeys([*OUTCOMES, *(name for task in SEQUENCE_TASKS.values() for name in task.outcomes)]))

    def verdict(self, row: int) -> str:
        """What is known of a row that is not among the failures asked for; UserError where it was not evaluated."""
        if self.predictions is None:
            return f"row {row} is not among the failures asked for of {self.path}"
        table = read_predictions(self.predictions, ["row", "rank", "passed", "outcome"])
        best = table.filter(pc.equal(table["rank"], 0))
        found = best.filter(pc.equal(best["row"], row)).to_pylist()
        if not found:
            ends = pc.min_max(best["row"])
            raise UserError(
                f"row {row} was not evaluated",
                expected=f"one of the {len(best):,} rows of {self.predictions}, {ends['min']} to {ends['max']}",
            )
        outcome = found[0]["outcome"]
        if found[0]["passed"]:
            return f"row {row} was answered right ({outcome})"
        return f"row {row} failed ({outcome}), and does not answer to what else is asked"


def find_failures(place: str) -> FailureSource:
    """What this file or directory tells of failures: of a run, the newest evaluation; UserError where there is nothing."""
    path = existing(place)
    if path.is_dir():
        newest, *others = sorted(find_evaluations(path), key=_written, reverse=True)
        if Path(newest) != path:
            note(f"showing {newest}" + (f", the newest; others: {', '.join(others)}" if others else ""))
        path = Path(newest) / PREDICTIONS
    if path.suffix == ".pred":
        raise UserError(
            f"{place} is a published failure file",
            expected="--task with the task it is of",
            next_step=f"`mathpipe failures {place} --task eigenvectors` verifies it anew",
        )
    if path.suffix == ".parquet":
        if "task" not in predictions_metadata(path):
            raise UserError(f"{place} is no predictions file", next_step="`mathpipe eval` writes one for a run")
        return FailureSource(path, path)
    beside = path.with_name(PREDICTIONS)
    return FailureSource(path, beside if beside.is_file() else None)


def find_published(place: str) -> Path:
    """A published failure file; UserError for what is missing or of our own making."""
    path = existing(place)
    if path.is_dir() or path.suffix in (".parquet", ".zst"):
        raise UserError(
            f"--task names the task of a published failure file, and {place} is none",
            expected="a .pred file with --task, or a run or an evaluation without",
            next_step=f"`mathpipe failures {place}`; of co-training one task's with `--where task=NAME`",
        )
    return path


def existing(place: str) -> Path:
    """The path; UserError where nothing lies there."""
    if not Path(place).exists():
        raise UserError(
            f"there is no {place}",
            expected=f"the directory of a run or an evaluation, a {FAILURES}, a {PREDICTIONS} or a published .pred file",
            next_step="`mathpipe eval --run RUN --verbose` evaluates a run",
        )
    return Path(place)


def _written(evaluation: str) -> float:
    return (Path(evaluation) / PREDICTIONS).stat().st_mtime
