"""The directory of a run: resumed, restarted or refused, and locked for one process.

An empty or absent directory starts a run; one with the same run resumes it. One with another run is an error, or the old run moves
to ``<name>.old-1`` (``-2``, ...). A directory with any other files is always an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.atomic_files import write_atomically, write_json
from mathpipe.datasets.io.file_locks import lock_path
from mathpipe.datasets.io.foreign_files import is_foreign
from mathpipe.datasets.io.storage import Storage, move_to_backup
from mathpipe.datasets.io.store_errors import local_errors
from mathpipe.datasets.rendering.plurals import counted
from mathpipe.train.config import TrainConfig, first_difference
from mathpipe.train.run.checkpoint import read_checkpoint
from mathpipe.train.run.run_record import (
    CHECKPOINT,
    CHECKPOINTS,
    CURVES,
    PARAMS,
    PLOT,
    RECORD,
    SUMMARY,
    OnMismatch,
    RunRecord,
    read_record,
)
from mathpipe.train.tracking.tracker import TRACKING

_IDENTITY = ("task", "dataset_digest")
FAILED_START = ".failed-start.json"  # the record of a start that failed before its first checkpoint
_README = "README.txt"
_CHECKPOINTS_TEXT = "best.pt (with best_metric) and step-<s>.pt (with keep_every) are written here.\n"
# what a start may have written before it failed
RUN_FILES = {
    *(RECORD, CHECKPOINT, CURVES, SUMMARY, CHECKPOINTS, PLOT, PARAMS, "evaluation"),
    *("dvclive", "tensorboard", "wandb", TRACKING),
}


@contextmanager
def lock_run(run_dir: Path, record: RunRecord, on_mismatch: OnMismatch) -> Iterator[None]:
    """Lock ``run_dir`` for this run and prepare it."""
    _make_directory(run_dir)
    with _locked(run_dir):
        mismatch = find_mismatch(run_dir, record)
        if mismatch is None:
            with _forget_failed_start(run_dir):
                _prepare(run_dir, record)
                yield
            return
        if on_mismatch == "error":
            raise _mismatch_error(run_dir, *mismatch)
        move_to_backup(str(run_dir))
        _make_directory(run_dir)
        with _locked(run_dir), _forget_failed_start(run_dir):
            _prepare(run_dir, record)
            yield


@contextmanager
def _forget_failed_start(run_dir: Path) -> Iterator[None]:
    """Set the record aside after a UserError before the first checkpoint, so that corrected parameters can use the directory."""
    try:
        yield
    except UserError:
        if not (run_dir / CHECKPOINT).exists():
            with suppress(FileNotFoundError):
                (run_dir / RECORD).replace(run_dir / FAILED_START)
        raise


def find_mismatch(run_dir: Path, record: RunRecord) -> tuple[str, Any, Any] | None:
    """(key, its value in the run, the requested value) of the first difference; None if all agree or there is no run."""
    if not (run_dir / RECORD).exists() and not (run_dir / CHECKPOINT).exists():
        others = _others(run_dir)
        if others:
            raise UserError(
                f"{run_dir} is not a training run",
                expected="an empty or absent directory, or one with a run",
                got=f"{counted(len(others), 'other file')}, such as {others[0]!r}, and no {RECORD}",
                next_step="choose another directory",
            )
        return None
    existing = _identity(_raw_record(run_dir))
    return first_difference(existing, _identity(record.to_dict()))


def _others(run_dir: Path) -> list[str]:
    """What lies in a directory without a record, and is no trace of a start that failed or was killed before its record."""
    failed = (run_dir / FAILED_START).exists()
    return sorted(
        path.name
        for path in run_dir.iterdir()
        if not (_is_hidden(path.name) or (path.name in RUN_FILES and (failed or _is_empty(path))))
    )


def _is_hidden(name: str) -> bool:
    return is_foreign(name) or name.startswith(".") or name.endswith(".tmp")


def _is_empty(folder: Path) -> bool:
    """Whether a path is a folder without files, but for hidden ones, such as DVC's, and the explanation of checkpoints."""
    return folder.is_dir() and all(path.name == _README or _is_hidden(path.name) for path in folder.iterdir())


def _raw_record(run_dir: Path) -> dict[str, Any]:
    """The record as plain values, from run.json or else from the checkpoint."""
    path = run_dir / RECORD
    if path.exists():
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
            return values
        except ValueError:
            read_record(run_dir)
    record: dict[str, Any] = read_checkpoint(run_dir / CHECKPOINT)["record"]
    return record


def _identity(record: dict[str, Any]) -> dict[str, Any]:
    imported_from = {"imported_from": record.get("imported_from")}
    return imported_from | _with_defaults(record.get("config")) | {key: record.get(key) for key in _IDENTITY}


def _with_defaults(config: Any) -> dict[str, Any]:
    """The configuration with defaults for missing keys, which are newer than it; unchanged if this version cannot validate it."""
    try:
        return TrainConfig.model_validate(config).model_dump(mode="json")
    except ValidationError:
        return config if isinstance(config, dict) else {}


def last_checkpoint(run_dir: Path) -> dict[str, Any] | None:
    """The last checkpoint of the run, on the CPU; None at step 0."""
    path = run_dir / CHECKPOINT
    return read_checkpoint(path) if path.exists() else None


def _prepare(run_dir: Path, record: RunRecord) -> None:
    Storage(str(run_dir)).remove_unfinished("")
    (run_dir / CHECKPOINTS).mkdir(exist_ok=True)
    readme = run_dir / CHECKPOINTS / _README  # DVC warns of an empty output
    if not readme.exists():  # it may be a link into DVC's cache, which must not change
        write_atomically(readme, [_CHECKPOINTS_TEXT.encode()])
    write_json(run_dir / RECORD, record.to_dict())
    (run_dir / FAILED_START).unlink(missing_ok=True)


def _mismatch_error(run_dir: Path, key: str, old: Any, new: Any) -> UserError:
    if key == "imported_from":
        return UserError(
            f"{run_dir} holds an imported model, which training does not change in place",
            got=old,
            next_step=f"train in another directory: --run DIR --params {run_dir / PARAMS}, which starts from its weights",
        )
    other_data = key == "dataset_digest"
    return UserError(
        f"{run_dir} holds a run {'on another dataset' if other_data else 'of another configuration'}: {key} differs",
        expected=f"{key} = {old!r}, as in the run",
        got=f"{key} = {new!r}",
        cause="the dataset was generated again" if other_data else "a parameter changed after the start of the run",
        next_step="choose another directory with --run, or use --on-mismatch restart to move this run to a backup and start again"
        + ("" if other_data else f"; to train its weights further: --run DIR -S init_from={run_dir}"),
    )


def _make_directory(run_dir: Path) -> None:
    with local_errors(str(run_dir)):
        run_dir.mkdir(parents=True, exist_ok=True)


@contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
    """Lock a directory for one process; the operating system releases the lock when the process ends."""
    with ExitStack() as locks:
        try:
            locks.enter_context(lock_path(run_dir))
        except BlockingIOError:
            raise UserError(
                f"{run_dir} is in use by another process",
                next_step="wait for it to end, or choose another directory with --run",
            ) from None
        yield
