"""The directory of a run: whose it is, whether it may be gone on with, and that only one process writes in it.

A directory that is empty or absent begins a run; one that holds the same run goes on; one that holds another run is an error,
or is moved aside to ``<name>.old-1`` (``-2``, ...); one that holds something else is always an error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.atomic_files import write_json
from mathpipe.datasets.io.storage import Storage, set_aside
from mathpipe.train.config import TrainConfig, first_difference
from mathpipe.train.run.checkpoint import (
    CHECKPOINT,
    CURVES,
    KEPT,
    PICTURE,
    RECORD,
    SUMMARY,
    RunRecord,
    read_checkpoint,
    read_record,
)

OnMismatch = Literal["error", "restart"]
OURS = {
    RECORD,
    CHECKPOINT,
    CURVES,
    SUMMARY,
    KEPT,
    PICTURE,
    "dvclive",
    "tensorboard",
    "evaluation",
}  # what may lie about without a run


@contextmanager
def claimed(run_dir: Path, record: RunRecord, on_mismatch: OnMismatch) -> Iterator[None]:
    """Hold ``run_dir`` for this run alone."""
    _make(run_dir)
    with _locked(run_dir):
        found = difference(run_dir, record)
        if found is None:
            with _unless_it_cannot_begin(run_dir):
                _make_ready(run_dir, record)
                yield
            return
        if on_mismatch == "error":
            raise _mismatch(run_dir, *found)
        set_aside(str(run_dir))
        _make(run_dir)
        with _locked(run_dir), _unless_it_cannot_begin(run_dir):
            _make_ready(run_dir, record)
            yield


@contextmanager
def _unless_it_cannot_begin(run_dir: Path) -> Iterator[None]:
    """A run whose parameters turn out to be wrong before its first checkpoint does not keep the directory from the right ones."""
    try:
        yield
    except UserError:
        if not (run_dir / CHECKPOINT).exists():
            (run_dir / RECORD).unlink(missing_ok=True)
        raise


def difference(run_dir: Path, record: RunRecord) -> tuple[str, Any, Any] | None:
    """(key, the run's value, the value asked for) of the first difference; None when all agree or there is no run."""
    if not (run_dir / RECORD).exists() and not (run_dir / CHECKPOINT).exists():
        names = (p.name for p in run_dir.iterdir())
        strangers = sorted(n for n in names if n not in OURS and not n.startswith(".") and not n.endswith(".tmp"))
        if strangers:
            raise UserError(
                f"{run_dir} is no run of training",
                expected="an empty or absent directory, or one with a run",
                got=f"{len(strangers)} other files, {strangers[0]!r} among them",
                next_step="choose another directory",
            )
        return None
    old = _identity(_raw_record(run_dir))
    return first_difference(old, _identity(record.to_dict()))


def _raw_record(run_dir: Path) -> dict[str, Any]:
    """The record as plain values: from run.json, or from the checkpoint where that is all there is."""
    path = run_dir / RECORD
    if path.exists():
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return values
        except ValueError:
            read_record(run_dir)
    record: dict[str, Any] = read_checkpoint(run_dir / CHECKPOINT)["record"]
    return record


def _identity(record: dict[str, Any]) -> dict[str, Any]:
    return _completed(record.get("config")) | {key: record.get(key) for key in ("task", "dataset_digest")}


def _completed(config: Any) -> dict[str, Any]:
    """The configuration with the defaults of keys that it lacks, since they came after it; as it is where it is none of today's."""
    try:
        return TrainConfig.model_validate(config).model_dump(mode="json")
    except ValidationError:
        return config if isinstance(config, dict) else {}


def last_checkpoint(run_dir: Path) -> dict[str, Any] | None:
    """The run's last checkpoint, on the CPU; None where it starts at step 0."""
    path = run_dir / CHECKPOINT
    return read_checkpoint(path) if path.exists() else None


def _make_ready(run_dir: Path, record: RunRecord) -> None:
    Storage(str(run_dir)).remove_unfinished("")
    (run_dir / KEPT).mkdir(exist_ok=True)
    write_json(run_dir / RECORD, record.to_dict())


def _mismatch(run_dir: Path, key: str, old: Any, new: Any) -> UserError:
    data = key == "dataset_digest"
    return UserError(
        f"{run_dir} holds a run {'on another dataset' if data else 'of another configuration'}: {key} differs",
        expected=f"{key} = {old!r}, as in the run",
        got=f"{key} = {new!r}",
        cause="the data were generated anew" if data else "a parameter was changed after the run began",
        next_step="choose another directory with --run, or --on-mismatch restart to move this run aside and begin anew",
    )


def _make(run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{run_dir} cannot be made", got=error.strerror, next_step="choose another directory with --run"
        ) from None


@contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
    """Let one process at a time train in a directory; the lock ends with the process, however it ends."""
    if sys.platform == "win32":  # no lock on directories there
        yield
        return
    import fcntl

    handle = os.open(run_dir, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{run_dir} is being trained by another process",
                next_step="wait for it to end, or choose another directory with --run",
            ) from None
        yield
    finally:
        os.close(handle)
