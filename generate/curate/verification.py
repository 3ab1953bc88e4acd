"""Verify an existing dataset: file integrity, the position and split of every row, and every solution, recomputed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_per_matrix
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.example_formats import Examples
from mathpipe.datasets.format.manifest import Manifest, ShardRecord, read_manifest, read_record, record_file
from mathpipe.datasets.format.matrix_columns import SPEC_KEY, MatrixExamples
from mathpipe.datasets.format.sequence_columns import SequenceExamples
from mathpipe.datasets.io.storage import Storage, StoreError
from mathpipe.datasets.tokenizers.decimal_grid import in_dataset_range
from mathpipe.generate.build.shard import example_format
from mathpipe.generate.curate.sequence_verification import sequence_faults
from mathpipe.generate.execution.executors import run
from mathpipe.generate.spec import GENERATOR_VERSION, DatasetSpec
from mathpipe.generate.splits import belongs_to_split
from mathpipe.generate.tasks.base import Mask
from mathpipe.generate.tasks.registry import Task, get_task, matrix_task

MISSING = "is missing"
CPU_TOLERANCE = 1e-9  # relative to the largest entry: how far two CPUs may differ in float64, far below float32


@dataclass(frozen=True)
class Damage:
    """A fault: its file, its description, and the row numbers if it affects single rows."""

    file: str
    what: str
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        if not self.rows:
            return f"{self.file}: {self.what}"
        shown = ", ".join(map(str, self.rows[:10])) + (
            f" and {len(self.rows) - 10:,} more" if len(self.rows) > 10 else ""
        )
        return f"{self.file}: {_row_noun(self.rows)} {shown}: {self.what}"


def _row_noun(rows: tuple[int, ...]) -> str:
    return "row" if len(rows) == 1 else "rows"


@dataclass(frozen=True)
class VerificationReport:
    """The number of rows examined, and all damage. Without damage the dataset is complete and correct."""

    rows: int
    damage: tuple[Damage, ...]


def verify_dataset(
    url: str,
    workers: int | None = 0,
    on_shard: Callable[[ShardRecord], None] = lambda record: None,
    *,
    scheduler: str | None = None,
    log: Callable[[str], None] = lambda text: None,
) -> VerificationReport:
    """Verify every shard that the manifest names; UserError if this is impossible (no manifest, another generator version).

    ``workers``: number of local processes (None: see ``run``); with ``scheduler`` the Dask cluster there does the work.
    """
    manifest = read_manifest(url)
    specs = load_split_specs(manifest)
    storage = Storage(url)
    records = [record for split in manifest.splits.values() for record in split.shards]
    damage = _check_manifest(manifest, specs) + _unlisted_files(storage, manifest)
    for record, shard_damage in run(
        functools.partial(_check, specs, storage.absolute_url), records, workers, scheduler, log
    ):
        if (
            scheduler is not None
            and shard_damage
            and shard_damage[0].what == MISSING
            and storage.size(record.file) is not None
        ):
            raise UserError(
                f"a worker of {scheduler} cannot find {record.file} in {storage.absolute_url}, where this machine has one",
                cause="the workers do not share the disk of the dataset with this machine",
                next_step="use --workers, or copy the dataset to a place that the workers can read",
            )
        damage += shard_damage
        on_shard(record)
    return VerificationReport(sum(r.rows for r in records), tuple(sorted(damage, key=lambda d: (d.file, d.rows))))


def load_split_specs(manifest: Manifest) -> dict[str, DatasetSpec]:
    """The spec of each split; UserError if this version of mathpipe does not support one."""
    spec = load_spec(manifest)
    return {
        split: spec if split not in manifest.split_specs else _parse_spec(manifest, manifest.split_specs[split])
        for split in manifest.splits
    }


def load_spec(manifest: Manifest) -> DatasetSpec:
    """The spec of a dataset; UserError if this version of mathpipe does not support it."""
    spec = _parse_spec(manifest, manifest.spec)
    if spec.fingerprint != manifest.fingerprint:
        raise UserError(
            "the fingerprint of the dataset's spec differs from the one in its manifest",
            expected=manifest.fingerprint[:12],
            got=spec.fingerprint[:12],
            cause="the manifest was changed, or another version of mathpipe wrote it",
        )
    return spec


def _parse_spec(manifest: Manifest, values: dict[str, Any]) -> DatasetSpec:
    try:
        spec = DatasetSpec.model_validate(values)
    except ValidationError as error:
        raise UserError(
            "this version of mathpipe does not support the dataset's spec",
            expected=f"a spec of generator version {GENERATOR_VERSION}",
            got=error.errors()[0]["msg"],
            next_step="use the version of mathpipe that built it: " + manifest.provenance.get("mathpipe", "unknown"),
        ) from error
    get_task(spec.task)
    if spec.version != GENERATOR_VERSION:
        raise UserError(
            "the dataset was built by another version of the generator",
            expected=f"generator version {GENERATOR_VERSION}",
            got=spec.version,
            next_step="use the version of mathpipe that built it: " + manifest.provenance.get("mathpipe", "unknown"),
        )
    return spec


def _check_manifest(manifest: Manifest, specs: dict[str, DatasetSpec]) -> list[Damage]:
    """Shards that are not consecutive, and splits whose number of rows is not the sum over their shards."""
    damage = []
    for name, split in manifest.splits.items():
        first = 0
        for k, record in enumerate(split.shards):
            actual = (record.split, record.shard, record.first_row, record.fingerprint)
            if actual != (name, k, first, specs[name].fingerprint):
                damage.append(Damage(record.file, "its record in the manifest does not continue the previous shard"))
            first += record.rows
        if first != split.rows:
            damage.append(Damage("manifest.json", f"{name} has {split.rows:,} rows, but its shards have {first:,}"))
    return damage


def _unlisted_files(storage: Storage, manifest: Manifest) -> list[Damage]:
    listed = {
        name
        for split in manifest.splits.values()
        for r in split.shards
        for name in (r.file, record_file(r.split, r.shard))
    }
    files = [f"{split}/{name}" for split in manifest.splits for name in storage.list(split) if not name.startswith(".")]
    return [Damage(file, "is not listed in the manifest") for file in files if file not in listed]


def _check(specs: dict[str, DatasetSpec], url: str, record: ShardRecord) -> tuple[ShardRecord, list[Damage]]:
    return record, check_shard(specs[record.split], url, record)


def check_shard(spec: DatasetSpec, url: str, record: ShardRecord) -> list[Damage]:
    """All damage of one shard: compare its file with its record, then each row with the spec."""
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
        # page checksums are ignored: the checksum of the file was compared already, and this names the wrong rows
        with storage.read(record.file) as opened, pq.ParquetFile(opened) as file:
            damage += _check_rows(spec, record, file)
    except StoreError:
        raise  # an unreachable store says nothing about the shard
    except (OSError, pa.ArrowException, ValueError, UserError) as error:
        damage.append(
            Damage(record.file, f"cannot be read ({str(error).splitlines()[0] if str(error) else 'no reason given'})")
        )
    return damage


def _check_rows(spec: DatasetSpec, record: ShardRecord, file: pq.ParquetFile) -> list[Damage]:
    layout = example_format(spec)
    if not layout.accepts(file.schema_arrow):
        return [Damage(record.file, "its columns are not those of a shard")]
    if (file.metadata.metadata or {}).get(SPEC_KEY, b"").decode() != spec.to_json():
        return [Damage(record.file, "its footer names another spec")]
    faults: dict[str, list[int]] = {}
    expected = record.first_row
    for group in range(file.num_row_groups):
        rows = layout.from_arrow(file.read_row_group(group, use_threads=False))
        for what, mask in _find_faults(spec, record.split, rows, expected).items():
            faults.setdefault(what, []).extend(int(row) for row in rows.row[mask])
        expected += len(rows)
    damage = [Damage(record.file, what, tuple(bad_rows)) for what, bad_rows in faults.items() if bad_rows]
    if expected - record.first_row != record.rows:
        actual_rows = expected - record.first_row
        damage.append(Damage(record.file, f"holds {actual_rows:,} rows, its record says {record.rows:,}"))
    return damage


def _find_faults(spec: DatasetSpec, split: str, rows: Examples, first: int) -> dict[str, Mask]:
    """For each kind of fault, the mask of the rows that have it."""
    if isinstance(rows, SequenceExamples):
        return sequence_faults(spec, split, rows, first)
    return _find_matrix_faults(spec, split, rows, first)


def _find_matrix_faults(spec: DatasetSpec, split: str, rows: MatrixExamples, first: int) -> dict[str, Mask]:
    task = matrix_task(spec.task)
    solved = task.solve(rows.solved)
    recomputed = solved.solutions
    rejected = functools.reduce(np.logical_or, solved.rejected.values(), np.zeros(len(rows), dtype=np.bool_))
    same_shape = rows.solutions.same_shape(recomputed)
    correct = np.zeros(len(rows), dtype=np.bool_)
    correct[same_shape] = correct_solutions(
        task, *(m.take(same_shape) for m in (rows.solved, recomputed, rows.solutions))
    )
    in_range = np.asarray(reduce_per_matrix(in_dataset_range(rows.problems.values), rows.problems, np.logical_and))
    return {
        "is in the wrong position": rows.row != np.arange(first, first + len(rows)),
        "its problem has a value outside the range of a dataset": ~in_range,
        f"its problem does not belong to {split}": ~belongs_to_split(
            rows.problems, split, on_grid=rows.clean is not None or spec.matrices.round_problems
        ),
        "its problem has no trusted solution": rejected,
        "its solution is wrong": ~correct & ~rejected,
    }


def correct_solutions(task: Task, problems: Matrices, solved: Matrices, stored: Matrices) -> Mask:
    """Which stored solutions are correct: equal to the recomputed ones, or equally good by ``Task.matches_recomputed``.

    Another CPU may choose the other of two equally good signs, or another basis for nearly equal eigenvalues.
    """
    correct = matches_to_float32(stored.values, solved, CPU_TOLERANCE)
    if task.matches_recomputed is not None and not correct.all():
        unequal = np.flatnonzero(~correct)
        correct[unequal] = task.matches_recomputed(*(m.take(unequal) for m in (problems, solved, stored)))
    return correct


def matches_to_float32(
    stored: np.ndarray[tuple[int], np.dtype[np.float64]], recomputed: Matrices, tolerance: float
) -> Mask:
    """Which matrices are equal entry by entry: |stored - X| <= 1.5 units in the last place of float32 + tolerance * max|X|."""
    largest = reduce_per_matrix(np.abs(recomputed.values), recomputed, np.maximum)
    with np.errstate(over="ignore", invalid="ignore"):
        unit = np.spacing(np.abs(recomputed.values).astype(np.float32)).astype(np.float64)
        allowed = 1.5 * unit + tolerance * np.repeat(largest, recomputed.sizes)
        close = np.abs(stored - recomputed.values) <= allowed
    return np.asarray(reduce_per_matrix(close, recomputed, np.logical_and))
