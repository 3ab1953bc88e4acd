"""The status of runs, read from their files while a training or an evaluation writes them.

Read are run.json, curves.jsonl and summary.json of a run, metrics.json of its evaluations, and the finished parts of an evaluation
that is in progress. All of them are replaced by a rename or appended to, so that a reader never sees half of one, but for the last
line of a log, which is left out then.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mathpipe.datasets.errors import UserError
from mathpipe.evaluate.evaluation_directory import METRICS, PARTIAL, REPORT
from mathpipe.train.run.metrics_log import Point, read_metrics_log
from mathpipe.train.run.run_record import CURVES, RECORD, SUMMARY

QUIET_SECONDS = 120.0  # without a new line in its log, a training that has not finished counts as stopped
_DEPTH = 4  # folders below the ones that are named, in which runs are looked for
EVALUATION = "evaluation"


@dataclass(frozen=True)
class EvaluationStatus:
    """A finished evaluation. ``name``: of its directory; ``report``: the page, None if it has none."""

    name: str
    figures: dict[str, float]
    report: Path | None


@dataclass(frozen=True)
class EvaluationProgress:
    """An evaluation in progress: ``problems`` decoded in finished parts, and the ``failures`` among them by outcome."""

    name: str
    problems: int
    failures: dict[str, int]


@dataclass(frozen=True)
class RunStatus:
    """A run. ``key``: names it in addresses; ``state``: running, stopped or finished; ``points``: of its metrics log."""

    key: str
    directory: Path
    name: str
    state: str
    record: dict[str, Any]
    points: list[Point]
    seconds_since_update: float
    evaluations: list[EvaluationStatus] = field(default_factory=list)
    in_progress: list[EvaluationProgress] = field(default_factory=list)

    @property
    def task(self) -> str:
        return str(self.record.get("task", "unknown"))

    @property
    def steps(self) -> int:
        return int((self.record.get("config") or {}).get("steps", 0))

    @property
    def step(self) -> int:
        return int(self.points[-1]["step"]) if self.points else 0

    def latest(self, name: str) -> float | None:
        """The last logged value of a metric."""
        return next((point[name] for point in reversed(self.points) if name in point), None)


def find_runs(folders: Sequence[str]) -> dict[str, Path]:
    """The run directories in these folders, or they themselves, by key; backups are left out. UserError for a missing folder."""
    runs: dict[str, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(
                f"there is no directory {folder}",
                expected="the directory of a run, or one that contains runs",
                next_step="`mathpipe train` creates runs under runs/",
            )
        for path in _run_directories(folder, _DEPTH):
            runs.setdefault(run_key(path), path)
    return runs


def run_key(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]


def _run_directories(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / RECORD).is_file():
        yield folder
    elif depth:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.name.startswith(".") and ".old-" not in path.name:
                yield from _run_directories(path, depth - 1)


def read_status(path: Path, key: str) -> RunStatus:
    """The status of a run now; a file that is missing or unreadable counts as empty."""
    points = _points(path / CURVES)
    age = time.time() - max(_modified_at(path / name) for name in (RECORD, CURVES))
    finished = (path / SUMMARY).is_file()
    return RunStatus(
        key=key,
        directory=path,
        name=str(path),
        state="finished" if finished else "running" if age < QUIET_SECONDS else "stopped",
        record=_json(path / RECORD),
        points=points,
        seconds_since_update=age,
        evaluations=list(_evaluations(path)),
        in_progress=list(_in_progress(path)),
    )


def _evaluations(run: Path) -> Iterator[EvaluationStatus]:
    for path in _evaluation_directories(run):
        figures = _json(path / METRICS)
        if figures:
            yield EvaluationStatus(path.name, figures, path / REPORT if (path / REPORT).is_file() else None)


def _evaluation_directories(run: Path) -> list[Path]:
    """As `mathpipe report` looks for them: ``evaluation`` itself, and the directories in it."""
    folder = run / EVALUATION
    return [folder, *sorted(path for path in folder.iterdir() if path.is_dir())] if folder.is_dir() else []


def _in_progress(run: Path) -> Iterator[EvaluationProgress]:
    for path in _evaluation_directories(run):
        parts = sorted((path / PARTIAL).glob("*/[0-9]*.parquet"))
        if parts:
            failures, problems = Counter[str](), 0
            for part in parts:
                count, failed = _count_part(str(part), _modified_at(part))
                problems += count
                failures.update(failed)
            yield EvaluationProgress(path.name, problems, dict(failures))


@lru_cache(maxsize=10_000)
def _count_part(path: str, modified_at: float) -> tuple[int, dict[str, int]]:
    """Problems of a part, and failures by outcome: those of the best hypotheses. A part never changes once it has its name."""
    try:
        table = pq.read_table(path, columns=["rank", "passed", "outcome"])
    except (OSError, pa.ArrowInvalid):
        return 0, {}
    best = table.filter(pa.compute.equal(table["rank"], 0))
    failed = best.filter(pa.compute.invert(best["passed"]))
    return len(best), dict(Counter(failed["outcome"].to_pylist()))


_POINTS: dict[Path, tuple[tuple[float, int], list[Point]]] = {}


def _points(path: Path) -> list[Point]:
    """The metrics log, read again only after it changed."""
    try:
        stat = path.stat()
    except OSError:
        return []
    version = (stat.st_mtime, stat.st_size)
    if path not in _POINTS or _POINTS[path][0] != version:
        _POINTS[path] = version, read_metrics_log(path)
    return _POINTS[path][1]


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _modified_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
