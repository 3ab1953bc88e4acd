"""The protocol of experiment trackers, and what a run remembers about its own, so that a resumed run continues the same one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from mathpipe.train.config import TrackerName

TRACKING = "tracking.json"
PROJECT = "mathpipe"  # the default name of the project or experiment in a tracker
Parameter = str | float | bool | None


class Tracker(Protocol):
    """Receives the points of a run."""

    @property
    def logged_step(self) -> int:
        """The points up to this step are there already."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """The metrics of one step; steps increase."""

    def finish(self, failed: bool) -> None:
        """The session ends: finished or interrupted, or ``failed`` with an error."""


class TrackedRun:
    """The identity of a run in one tracker, and the last step logged there, in the file ``tracking.json`` of the run directory.

    A run that resumes from a checkpoint repeats the steps after it, bit for bit, so points up to that step are not logged twice.
    """

    def __init__(self, run_dir: Path, tracker: TrackerName) -> None:
        self._path, self._tracker = run_dir / TRACKING, tracker
        state = self._read().get(tracker, {})
        self.run_id: str | None = state.get("run_id")
        self.logged_step = int(state.get("logged_step", 0))

    def start(self, run_id: str) -> None:
        """Remember the identity; a new one has no points yet."""
        if run_id != self.run_id:
            self.run_id, self.logged_step = run_id, 0
        self.write(self.logged_step)

    def write(self, step: int) -> None:
        """Remember that the points up to ``step`` are logged."""
        self.logged_step = step
        states = self._read() | {self._tracker: {"run_id": self.run_id, "logged_step": step}}
        temporary = self._path.with_name(f".{TRACKING}.tmp")
        temporary.write_text(json.dumps(states, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self._path)

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            states = json.loads(self._path.read_text(encoding="utf-8"))
            return states if isinstance(states, dict) else {}
        return {}


def flat_parameters(config: Mapping[str, Any], prefix: str = "") -> dict[str, Parameter]:
    """Nested settings with dotted names, lists as text: {"model": {"norm": "pre"}} as {"model.norm": "pre"}."""
    flat: dict[str, Parameter] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flat_parameters(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = (
                value if value is None or isinstance(value, str | int | float) else json.dumps(value)
            )
    return flat
