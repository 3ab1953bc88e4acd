"""Verifying a dataset that is there: every file whole, every row in its place and split, every answer computed again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_rows
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.example_formats import AnyRows
from mathpipe.datasets.format.manifest import Manifest, Record, read_manifest, read_record, record_file
from mathpipe.datasets.format.matrix_columns import SPEC_KEY, Rows
from mathpipe.datasets.format.sequence_columns import SequenceRows
from mathpipe.datasets.io.storage import Storage, StoreError
from mathpipe.datasets.tokenizers.decimal_grid import in_dataset_range
from mathpipe.generate.build.shard import format_of
from mathpipe.generate.curate.sequence_verification import wrong_sequences
from mathpipe.generate.execution.executors import run
from mathpipe.generate.spec import GENERATOR_VERSION, DatasetSpec
from mathpipe.generate.splits import belongs
from mathpipe.generate.tasks.base import Mask
from mathpipe.generate.tasks.registry import Task, get_task, matrix_task

MISSING = "is missing"
AGREEMENT = 1e-9  # of the largest entry: what two CPUs may differ by in float64, far below float32


@dataclass(frozen=True)
class Damage:
    """Something wrong: in which file, what, and in which rows (row numbers) where single rows are wrong."""

    file: str
    what: str
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        if not self.rows:
            return f"{self.file}: {self.what}"
        shown = ", ".join(map(str, self.rows[:10])) + (
            f" and {len(self.rows) - 10:,} more" if len(self.rows) > 10 else ""
        )
        return f"{self.file}: {what_of(self.rows)} {shown}: {self.what}"


def what_of(rows: tuple[int, ...]) -> str:
    return "row" if len(rows) == 1 else "rows"


@dataclass(frozen=True)
class Verdict:
    """What was found: rows examined, and all damage. No damage: the dataset is whole and right."""

    rows: int
    damage: tuple[Damage, ...]


def verify_dataset(
    url: str,
    workers: int | None = 0,
    on_shard: Callable[[Record], None] = lambda record: None,
    *,
    scheduler: str | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Verdict:
    """Examine every shard that the manifest names; UserError where that cannot be told (no manifest, another generator).

    ``workers`` local processes do it (None: see ``run``), or those of the Dask cluster at ``scheduler``.
    """
    manifest = read_manifest(url)
    specs = specs_of(manifest)
    storage = Storage(url)
    records = [record for split in manifest.splits.values() for record in split.shards]
    damage = _cuts(manifest, specs) + _surplus(storage, manifest)
    for record, found in run(functools.partial(_check, specs, storage.absolute_url), records, workers, scheduler, tell):
        if scheduler is not None and found and found[0].what == MISSING and storage.size(record.file) is not None:
            raise UserError(
                f"a worker of {scheduler} finds no {record.file} in {storage.absolute_url}, where this machine has one",
                cause="the dataset is on a disk that the workers do not share with this machine",
                next_step="verify it with --workers, or where the workers can read it",
            )
        damage += found
        on_shard(record)
    return Verdict(sum(r.rows for r in records), tuple(sorted(damage, key=lambda d: (d.file, d.rows))))


def specs_of(manifest: Manifest) -> dict[str, DatasetSpec]:
    """The spec of each split; UserError where this version of mathpipe does not know one."""
    spec = spec_of(manifest)
    return {
        split: spec if split not in manifest.split_specs else _known_spec(manifest, manifest.split_specs[split])
        for split in manifest.splits
    }


def spec_of(manifest: Manifest) -> DatasetSpec:
    """The spec of a dataset; UserError where this version of mathpipe does not know it."""
    spec = _known_spec(manifest, manifest.spec)
    if spec.fingerprint != manifest.fingerprint:
        raise UserError(
            "the dataset's spec does not have the digest its manifest names",
            expected=manifest.fingerprint[:12],
            got=spec.fingerprint[:12],
            cause="the manifest was changed, or another version of mathpipe wrote it",
        )
    return spec


def _known_spec(manifest: Manifest, values: dict[str, Any]) -> DatasetSpec:
    try:
        spec = DatasetSpec.model_validate(values)
    except ValidationError as error:
        raise UserError(
            "the dataset's spec is not one that this version of mathpipe knows",
            expected=f"a spec of generator version {GENERATOR_VERSION}",
            got=error.errors()[0]["msg"],
            next_step="use the version of mathpipe that made it: " + manifest.provenance.get("mathpipe", "unknown"),
        ) from error
    get_task(spec.task)
    if spec.version != GENERATOR_VERSION:
        raise UserError(
            "the dataset was made by another generator",
            expected=f"generator version {GENERATOR_VERSION}",
            got=spec.version,
            next_step="use the version of mathpipe that made it: " + manifest.provenance.get("mathpipe", "unknown"),
        )
    return spec


def _cuts(manifest: Manifest, specs: dict[str, DatasetSpec]) -> list[Damage]:
    """Shards that do not follow one another, or sums that are not those of the shards."""
    damage = []
    for name, split in manifest.splits.items():
        first = 0
        for k, record in enumerate(split.shards):
            found = (record.split, record.shard, record.first_row, record.fingerprint)
            if found != (name, k, first, specs[name].fingerprint):
                damage.append(Damage(record.file, "the manifest's record is not the one that follows the shard before"))
            first += record.rows
        if first != split.rows:
            damage.append(Damage("manifest.json", f"{name} has {split.rows:,} rows, its shards {first:,}"))
    return damage


def _surplus(storage: Storage, manifest: Manifest) -> list[Damage]:
    known = {
        name
        for split in manifest.splits.values()
        for r in split.shards
        for name in (r.file, record_file(r.split, r.shard))
    }
    found = [f"{split}/{name}" for split in manifest.splits for name in storage.list(split) if not name.startswith(".")]
    return [Damage(file, "is not named in the manifest") for file in found if file not in known]


def _check(specs: dict[str, DatasetSpec], url: str, record: Record) -> tuple[Record, list[Damage]]:
    return record, check_shard(specs[record.split], url, record)


def check_shard(spec: DatasetSpec, url: str, record: Record) -> list[Damage]:
    """All damage of one shard: its file against its record, then each of its rows against the spec."""
    storage = Storage(url)
    size = storage.size(record.file)
    if size is None:
        return [Damage(record.file, MISSING)]
    damage = []
    if size != record.bytes:
        damage.append(
            Damage(record.file, f"holds {size:,} bytes, its record says {record.bytes:,}: damaged after writing")
        )
    elif storage.checksum(record.file) != record.sha256:
        damage.append(Damage(record.file, "its checksum differs from its record's: damaged after writing"))
    if read_record(storage, record.split, record.shard) != record:
        damage.append(Damage(record.file, "its record is missing or differs from the manifest's"))
    try:
        # pages are read whatever their checksums say: that of the file was compared, and this names the rows that are wrong
        with storage.read(record.file) as opened, pq.ParquetFile(opened) as file:
            damage += _check_rows(spec, record, file)
    except StoreError:
        raise  # the store is out of reach: that tells nothing of the shard
    except (OSError, pa.ArrowException, ValueError, UserError) as error:
        damage.append(
            Damage(record.file, f"cannot be read ({str(error).splitlines()[0] if str(error) else 'no reason given'})")
        )
    return damage


def _check_rows(spec: DatasetSpec, record: Record, file: pq.ParquetFile) -> list[Damage]:
    layout = format_of(spec)
    if not layout.accepts(file.schema_arrow):
        return [Damage(record.file, "its columns are not those of a shard")]
    if (file.metadata.metadata or {}).get(SPEC_KEY, b"").decode() != spec.to_json():
        return [Damage(record.file, "its footer names another spec")]
    wrong: dict[str, list[int]] = {}
    expected = record.first_row
    for group in range(file.num_row_groups):
        rows = layout.from_arrow(file.read_row_group(group, use_threads=False))
        for what, mask in _wrong_rows(spec, record.split, rows, expected).items():
            wrong.setdefault(what, []).extend(int(row) for row in rows.row[mask])
        expected += len(rows)
    damage = [Damage(record.file, what, tuple(found)) for what, found in wrong.items() if found]
    if expected - record.first_row != record.rows:
        found_rows = expected - record.first_row
        damage.append(Damage(record.file, f"holds {found_rows:,} rows, its record says {record.rows:,}"))
    return damage


def _wrong_rows(spec: DatasetSpec, split: str, rows: AnyRows, first: int) -> dict[str, Mask]:
    """For each kind of fault the rows that have it."""
    if isinstance(rows, SequenceRows):
        return wrong_sequences(spec, split, rows, first)
    return _wrong_matrices(spec, split, rows, first)


def _wrong_matrices(spec: DatasetSpec, split: str, rows: Rows, first: int) -> dict[str, Mask]:
    task = matrix_task(spec.task)
    solved = task.solve(rows.solved)
    wanted = solved.solutions
    unanswerable = functools.reduce(np.logical_or, solved.rejected.values(), np.zeros(len(rows), dtype=np.bool_))
    right_shape = rows.solutions.same_shape(wanted)
    agree = np.zeros(len(rows), dtype=np.bool_)
    agree[right_shape] = right_answers(task, *(m.take(right_shape) for m in (rows.solved, wanted, rows.solutions)))
    problem_ok = np.asarray(reduce_rows(in_dataset_range(rows.problems.values), rows.problems, np.logical_and))
    return {
        "stands in the wrong place": rows.row != np.arange(first, first + len(rows)),
        "its problem holds a value outside the dataset's range": ~problem_ok,
        f"its problem does not belong to {split}": ~belongs(
            rows.problems, split, on_grid=rows.clean is not None or spec.matrices.round_problems
        ),
        "its problem has no trusted answer": unanswerable,
        "its answer is wrong": ~agree & ~unanswerable,
    }


def right_answers(task: Task, problems: Matrices, solved: Matrices, stored: Matrices) -> Mask:
    """Which stored answers are right: equal to the solved ones, or else as right as these by the task's own measure.

    Another CPU may give the other of two equally good signs, or another basis where two eigenvalues are nearly equal.
    """
    right = agreement(stored.values, solved, AGREEMENT)
    if task.agrees is not None and not right.all():
        doubtful = np.flatnonzero(~right)
        right[doubtful] = task.agrees(*(m.take(doubtful) for m in (problems, solved, stored)))
    return right


def agreement(stored: np.ndarray[tuple[int], np.dtype[np.float64]], wanted: Matrices, tolerance: float) -> Mask:
    """Which matrices agree entry by entry: |stored - X| <= 1.5 units in the last place of float32 + tolerance * max|X|."""
    largest = reduce_rows(np.abs(wanted.values), wanted, np.maximum)
    with np.errstate(over="ignore", invalid="ignore"):
        unit = np.spacing(np.abs(wanted.values).astype(np.float32)).astype(np.float64)
        allowed = 1.5 * unit + tolerance * np.repeat(largest, wanted.sizes)
        close = np.abs(stored - wanted.values) <= allowed
    return np.asarray(reduce_rows(close, wanted, np.logical_and))
