"""The directory of an evaluation: locked for one process, results built beside their place and published by rename.

``evaluation.json`` names the files that mathpipe wrote there; no other file is ever replaced or deleted. Results are written to
``.partial/results-<random>/`` and moved to their names when all of them are complete, ``metrics.json`` last, so that a failed or
killed evaluation leaves the results of an earlier one in place.
"""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.file_locks import lock_path
from mathpipe.datasets.io.foreign_files import is_foreign
from mathpipe.datasets.io.storage import Storage, is_temporary
from mathpipe.evaluate.predictions import read_footer

PREDICTIONS = "predictions.parquet"
METRICS = "metrics.json"
TOLERANCE_CURVE = "accuracy_by_tolerance.csv"
FAILURES = "failures.jsonl.zst"
REPORT = "report.html"
ANALYSES, ANALYSES_FILE = "analyses", "analyses/analyses.json"
RECORD = "evaluation.json"
PARTIAL = ".partial"
COMPARISON = ("comparison.html", "comparison.json")

_RESULTS = (PREDICTIONS, METRICS, TOLERANCE_CURVE, FAILURES, REPORT, ANALYSES_FILE)
_STAGING = re.compile(r"results-[0-9a-f]{8}")


@dataclass(frozen=True)
class EvaluationDirectory:
    """A locked directory. ``staging``: where new results are written before ``publish`` moves them to ``storage``."""

    storage: Storage
    staging: Storage

    def publish(self, keep: tuple[str, ...] = ()) -> None:
        """Move all results from staging to their names, and delete those of an earlier evaluation, except ``keep``.

        UserError, before anything changes, if a file that mathpipe did not write has one of these names.
        """
        names = [name for name in self.staging.list() if name not in (ANALYSES, METRICS)]
        names += [f"{ANALYSES}/{name}" for name in sorted(self.staging.sizes(ANALYSES))]
        names += [METRICS]
        previous = _recorded_files(self.storage)
        foreign = [name for name in names if name not in previous and self.storage.size(name) is not None]
        if foreign:
            raise UserError(
                f"{self.storage.path(foreign[0])} would be replaced",
                expected="names that are free, or files of an earlier evaluation",
                got=f"{len(foreign)} files that mathpipe did not write",
                cause="another program wrote them after the evaluation began",
                next_step="move them, or choose another directory with --out; the same command then resumes",
            )
        _write_record(self.storage, {*previous, *names})
        if PREDICTIONS in names:
            self.storage.remove(METRICS)  # readers never combine old metrics with new predictions
        for name in sorted(previous - {*names, *keep}):
            self.storage.remove(name)
        for name in names:
            self.storage.move(f"{self._staging_folder}/{name}", name)
        _write_record(self.storage, {*names, *(name for name in keep if name in previous)})

    @property
    def _staging_folder(self) -> str:
        return f"{PARTIAL}/{self.staging.path().rsplit('/', 1)[-1]}"


@contextlib.contextmanager
def lock_evaluation(storage: Storage) -> Iterator[EvaluationDirectory]:
    """Create and lock a directory for one evaluation or report.

    UserError if another process has locked it, or it holds files and is not an evaluation. An object store has no lock.
    """
    folder = storage.make_directory()
    with contextlib.ExitStack() as stack:
        if folder is not None:
            try:
                stack.enter_context(lock_path(folder))
            except BlockingIOError:
                raise UserError(
                    f"{folder} is in use by another process",
                    expected="one evaluation or report at a time per directory",
                    next_step="wait for it to end, or choose another directory with --out",
                ) from None
        _expect_evaluation(storage)
        if storage.size(RECORD) is None:
            _write_record(storage, _recorded_files(storage))
        if folder is not None:
            storage.remove_unfinished("")
            _remove_staging(storage)
        staging = f"{PARTIAL}/results-{uuid.uuid4().hex[:8]}"
        try:
            yield EvaluationDirectory(storage, Storage(f"{storage.absolute_url.rstrip('/')}/{staging}"))
        except BaseException:
            remove_results(storage, staging)
            if not _recorded_files(storage) and not storage.list(PARTIAL):
                storage.remove(RECORD)  # nothing was written: the directory is as free as before
            raise
        remove_results(storage, staging)


def remove_results(storage: Storage, folder: str) -> None:
    """Delete the files of a staging folder or of the parts of an evaluation, and the folder if it is then empty."""
    for inner in (f"{folder}/{ANALYSES}", folder):
        for name in storage.sizes(inner):
            storage.remove(f"{inner}/{name}")
        storage.remove_empty_folder(inner)
    storage.remove_empty_folder(PARTIAL)


def _remove_staging(storage: Storage) -> None:
    """Delete what killed processes left."""
    for name in storage.list(PARTIAL):
        if _STAGING.fullmatch(name):
            remove_results(storage, f"{PARTIAL}/{name}")


def _expect_evaluation(storage: Storage) -> None:
    """UserError unless the directory is empty, is an evaluation, or holds only evaluations and comparisons of them."""
    if storage.size(RECORD) is not None or _is_predictions(storage, PREDICTIONS):
        return
    names = storage.list()
    others = [name for name in names if not _may_stand(storage, name)]
    if others:
        raise UserError(
            f"{storage.path()} is not an evaluation",
            expected=f"an empty or absent directory, or one that holds {RECORD} or {PREDICTIONS} of mathpipe",
            got=f"other files: {', '.join(others[:3])}",
            cause="files of yours, which an evaluation would replace",
            next_step="choose another directory with --out",
        )


def _may_stand(storage: Storage, name: str) -> bool:
    """Whether a name in the directory is no file of the user: a mark of the system, or an evaluation of another split."""
    if is_foreign(name) or is_temporary(name) or name == PARTIAL or name in COMPARISON:
        return True
    return storage.size(f"{name}/{RECORD}") is not None or _is_predictions(storage, f"{name}/{PREDICTIONS}")


def _is_predictions(storage: Storage, name: str) -> bool:
    """Whether a file is a predictions file of mathpipe."""
    if storage.size(name) is None:
        return False
    try:
        return "task" in read_footer(storage.path(name), storage.fs)
    except (OSError, pa.ArrowInvalid, ValueError):
        return False


def _recorded_files(storage: Storage) -> set[str]:
    """The files that the record names; without a record, the results beside a predictions file of mathpipe."""
    text = storage.read_text(RECORD)
    if text is not None:
        return set(_names_in_record(storage, text))
    if not _is_predictions(storage, PREDICTIONS):
        return set()
    names = [name for name in _RESULTS if storage.size(name) is not None]
    try:
        content = json.loads(storage.read_text(ANALYSES_FILE) or "{}")
        analyses = [str(analysis["name"]) for analysis in content["analyses"]]
    except (ValueError, TypeError, KeyError):
        analyses = []
    files = [f"{ANALYSES}/{name}.{suffix}" for name in analyses for suffix in ("csv", "svg")]
    return {*names, *(name for name in files if storage.size(name) is not None)}


def _names_in_record(storage: Storage, text: str) -> list[str]:
    try:
        names = json.loads(text)["files"]
    except (ValueError, TypeError, KeyError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) and _is_result(name) for name in names):
        raise UserError(
            f"{storage.path(RECORD)} is not the record of an evaluation",
            expected='a JSON object that names the files of the evaluation: {"files": [...]}',
            got=text[:60],
            cause="the file was changed, or another program wrote it",
            next_step="choose another directory with --out",
        )
    return names


def _is_result(name: str) -> bool:
    """Whether a name can be that of a result: a damaged record must not name files elsewhere."""
    folder, _, file = name.rpartition("/")
    return folder in ("", ANALYSES) and bool(file) and file not in (".", "..", RECORD) and "\\" not in file


def _write_record(storage: Storage, names: set[str]) -> None:
    storage.write_text(RECORD, json.dumps({"files": sorted(names)}, indent=1) + "\n")
