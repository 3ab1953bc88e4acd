"""The metrics log of a run: one JSON line per logged step, and the same points for experiment trackers.

    {"step": 200, "train_loss": 1.31, "lr": 0.001, "valid_loss": 1.29, ...}

This file is authoritative. A resumed run truncates it to the step of its checkpoint, so that no point occurs twice. A tracker
gets the points that it does not have yet, those of earlier sessions included.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from mathpipe.datasets.io.atomic_files import write_atomically
from mathpipe.train.tracking.tracker import Tracker

Point = dict[str, float]


def read_metrics_log(path: Path) -> list[Point]:
    """The points of a log in order, without a last line cut short by a kill."""
    if not path.exists():
        return []
    points: list[Point] = []
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        try:
            points.append(json.loads(line))
        except ValueError:
            break
    return points


class MetricsLog:
    """Appends points to the log and passes them to ``trackers``; a context manager.

    A tracker that fails is left out for the rest of the session, with a warning: it never ends a run.
    """

    def __init__(self, path: Path, step: int, trackers: Sequence[Tracker] = ()) -> None:
        """Open to append after ``step``; removes later points."""
        earlier = [point for point in read_metrics_log(path) if point["step"] <= step]
        write_atomically(path, [(json.dumps(point) + "\n").encode() for point in earlier])
        self._file = path.open("a", encoding="utf-8")
        self._trackers = list(trackers)
        for point in earlier:
            self._track(point)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Log the metrics of one step."""
        point: Point = {"step": step, **values}
        self._file.write(json.dumps(point) + "\n")
        self._file.flush()
        self._track(point)

    def sync(self) -> None:
        """Sync the log to disk, before the checkpoint of the same step."""
        os.fsync(self._file.fileno())

    def _track(self, point: Point) -> None:
        step = int(point["step"])
        values = {name: value for name, value in point.items() if name != "step"}
        for tracker in list(self._trackers):
            if step > tracker.logged_step:
                try:
                    tracker.log(step, values)
                except Exception as error:
                    self._trackers.remove(tracker)
                    _warn(tracker, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        for tracker in self._trackers:
            try:
                with contextlib.redirect_stdout(sys.stderr):  # standard output belongs to results
                    tracker.finish(failed=isinstance(error, Exception))
            except Exception as tracker_error:
                _warn(tracker, tracker_error)


def _warn(tracker: Tracker, error: Exception) -> None:
    name = type(tracker).__name__.lstrip("_")
    warnings.warn(
        f"metrics go to the log of the run only: {name} failed ({type(error).__name__}: {error})", stacklevel=3
    )
