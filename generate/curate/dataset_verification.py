"""Verify an existing dataset: file integrity, the position and split of every row, and every solution, recomputed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.directory import evidence_file, record_file, record_folder, split_folder
from mathpipe.datasets.format.manifest import MANIFEST, Manifest, ShardRecord, read_manifest, read_record
from mathpipe.datasets.format.shard_writer import SPEC_KEY
from mathpipe.datasets.io.foreign_files import is_foreign
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.io.store_errors import StoreError
from mathpipe.generate.curate.import_parts.import_registry import stored_rows
from mathpipe.generate.dataset_spec import GENERATOR_VERSION, DatasetSpec
from mathpipe.generate.execution.executors import run
from mathpipe.generate.outcomes import FaultKind, RowFault
from mathpipe.generate.tasks.task_registry import MissingTaskError, parse_spec

MISSING = "is missing"


@dataclass(frozen=True)
class Damage:
    """A fault: its file, its description, its kind; for single rows their numbers, and the outcome of their solutions."""

    file: str
    what: str
    rows: tuple[int, ...] = ()
    kind: FaultKind = "file"
    outcome: str | None = None

    @classmethod
    def of_rows(cls, file: str, fault: RowFault, rows: Iterable[int]) -> Damage:
        """The fault of these rows."""
        return cls(file, fault.what, tuple(rows), fault.kind, fault.outcome)

    @property
    def concerns_solutions(self) -> bool:
        """Whether the rows can be read, and only their solutions are in doubt."""
        return self.kind in ("solution", "unconfirmed")

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
    """The number of rows examined, and all damage. Without damage the dataset is complete, and no solution is known to be wrong.

    ``unconfirmed``: rows whose solution the verifier could neither confirm nor refute; this is no damage.
    ``missing_task``: why only files and checksums could be verified, for a task outside the package whose code is not there.
    """

    rows: int
    damage: tuple[Damage, ...]
    missing_task: MissingTaskError | None = None
    unconfirmed: tuple[Damage, ...] = ()


def verify_dataset(
    url: str | Path,
    workers: int | None = 0,
    on_shard: Callable[[ShardRecord], None] = lambda record: None,
    *,
    scheduler: str | None = None,
    log: Callable[[str], None] = lambda text: None,
) -> VerificationReport:
    """Verify every shard that the manifest names; UserError if this is impossible (no manifest, another generator version).

    ``workers``: number of local processes (None: see ``run``); with ``scheduler`` the Dask cluster there does the work.
    """
    url = str(url)
    manifest = read_manifest(url)
    storage, missing_task = Storage(url), None
    try:
        specs = load_split_specs(manifest, url)
    except MissingTaskError as error:
        specs, missing_task = {}, error
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
    ordered = sorted(damage, key=lambda d: (d.file, d.rows))
    return VerificationReport(
        sum(r.rows for r in records),
        tuple(d for d in ordered if d.kind != "unconfirmed"),
        missing_task,
        tuple(d for d in ordered if d.kind == "unconfirmed"),
    )


def load_split_specs(manifest: Manifest, url: str) -> dict[str, DatasetSpec]:
    """The spec of each split of the dataset at ``url``; UserError if this version of mathpipe does not support one."""
    spec = load_spec(manifest, url)
    return {
        split: spec if split not in manifest.split_specs else _parse_spec(manifest, manifest.split_specs[split], url)
        for split in manifest.splits
    }


def load_spec(manifest: Manifest, url: str) -> DatasetSpec:
    """The spec of the dataset at ``url``; UserError if this version of mathpipe does not support it."""
    spec = _parse_spec(manifest, manifest.spec, url)
    if spec.fingerprint != manifest.fingerprint:
        raise UserError(
            f"{url}/{MANIFEST}: the fingerprint of the dataset's spec differs from the one in its manifest",
            expected=manifest.fingerprint,
            got=spec.fingerprint,
            cause="the manifest was changed, or another version of mathpipe wrote it",
        )
    return spec


def _parse_spec(manifest: Manifest, values: dict[str, Any], url: str) -> DatasetSpec:
    try:
        spec = parse_spec(values)
    except ValidationError as error:
        raise UserError(
            f"{url}/{MANIFEST}: this version of mathpipe does not support the dataset's spec",
            expected=f"a spec of generator version {GENERATOR_VERSION}",
            got=error.errors()[0]["msg"],
            next_step="use the version of mathpipe that built it: " + manifest.provenance.get("mathpipe", "unknown"),
        ) from error
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
            fingerprint = specs[name].fingerprint if specs else record.fingerprint
            actual = (record.split, record.shard, record.first_row, record.fingerprint)
            if actual != (name, k, first, fingerprint):
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
        for name in (r.file, record_file(r.split, r.shard), evidence_file(r.split, r.shard))
    }
    folders = [folder for split in manifest.splits for folder in (split_folder(split), record_folder(split))]
    names = [(folder, name) for folder in folders for name in storage.list(folder)]
    files = [f"{folder}/{name}" for folder, name in names if not (is_foreign(name) or name.startswith("."))]
    return [Damage(file, "is not listed in the manifest") for file in files if file not in listed]


def _check(specs: dict[str, DatasetSpec], url: str, record: ShardRecord) -> tuple[ShardRecord, list[Damage]]:
    """All damage of one shard; without ``specs``, that of its file alone."""
    return record, check_shard(specs[record.split] if specs else None, url, record)


def check_shard(spec: DatasetSpec | None, url: str, record: ShardRecord) -> list[Damage]:
    """All damage of one shard: compare its file with its record, then each row with the spec, if it is known."""
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
    stored = read_record(storage, record.split, record.shard)
    if stored is None or stored.rows_alone != record.rows_alone:
        damage.append(Damage(record.file, "its record is missing or differs from the manifest's"))
    if spec is None:
        return damage
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
    task = stored_rows(spec)
    layout = task.example_format(spec)
    if not layout.accepts(file.schema_arrow):
        return [Damage(record.file, "its columns are not those of a shard")]
    if (file.metadata.metadata or {}).get(SPEC_KEY, b"").decode() != spec.to_json():
        return [Damage(record.file, "its footer names another spec")]
    faults: dict[RowFault, list[int]] = {}
    expected = record.first_row
    for group in range(file.num_row_groups):
        rows = layout.from_arrow(file.read_row_group(group, use_threads=False))
        for fault, mask in task.find_faults(spec, record.split, rows, expected).items():
            faults.setdefault(fault, []).extend(int(row) for row in rows.row[mask])
        expected += len(rows)
    damage = [Damage.of_rows(record.file, fault, bad_rows) for fault, bad_rows in faults.items() if bad_rows]
    if expected - record.first_row != record.rows:
        actual_rows = expected - record.first_row
        damage.append(Damage(record.file, f"holds {actual_rows:,} rows, its record says {record.rows:,}"))
    return damage
