"""What a directory already holds, and whether a dataset may be built there: same spec, no more rows, no other files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.directory import (
    EXTRA,
    EXTRA_PREFIX,
    RECORD_NAME,
    RECORDS,
    SPLIT_FOLDERS,
    record_file,
    record_folder,
    split_folder,
)
from mathpipe.datasets.format.foreign_shards import foreign_shards, other_files
from mathpipe.datasets.format.manifest import (
    MANIFEST,
    Manifest,
    ShardRecord,
    find_manifest,
    parse_record,
)
from mathpipe.datasets.io.foreign_files import is_foreign
from mathpipe.datasets.io.storage import Storage, move_to_backup
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout, Shard
from mathpipe.generate.splits import TEST, TRAIN, VALID

OnMismatch = Literal["error", "restart"]


@dataclass(frozen=True)
class DirectoryContents:
    """The contents of a directory: top-level names, the manifest, every readable record, the size of every file."""

    names: list[str]
    manifest: Manifest | None
    records: dict[str, ShardRecord]
    sizes: dict[str, int]

    @classmethod
    def of(cls, storage: Storage) -> DirectoryContents:
        """List each split once and read the records together: thousands of shards in a remote store take few requests.

        The manifest is asked for by its name, since the listing of a store may be older than its files.
        """
        names = [name for name in storage.list() if not is_foreign(name)]
        splits = [name for name in names if name in (TRAIN, VALID, TEST)]
        splits += [
            f"{EXTRA_PREFIX}{name}" for name in (storage.list(EXTRA) if EXTRA in names else ()) if not is_foreign(name)
        ]
        folders = [split_folder(split) for split in splits]
        sizes = {f"{folder}/{name}": size for folder in folders for name, size in storage.sizes(folder).items()}
        files = [
            f"{folder}/{name}"
            for folder in (record_folder(split) for split in (splits if RECORDS in names else ()))
            for name in storage.list(folder)
            if RECORD_NAME.fullmatch(name)
        ]
        texts = storage.read_texts(files)
        records = {file: record for file, text in texts.items() if (record := parse_record(text)) is not None}
        return cls(names, find_manifest(storage), records, sizes)

    def finished(self, spec: DatasetSpec, shard: Shard) -> ShardRecord | None:
        """The record of a complete shard: it has this spec and these rows, and its file has the recorded size."""
        record = self.records.get(record_file(shard.split, shard.index))
        complete = (
            record is not None
            and record.fingerprint == spec.fingerprint
            and (record.split, record.shard, record.first_row, record.rows)
            == (shard.split, shard.index, shard.first_row, shard.rows)
            and self.sizes.get(record.file) == record.bytes
        )
        return record if complete else None


def clear_mismatch(
    storage: Storage,
    spec: DatasetSpec,
    specs: Mapping[str, DatasetSpec],
    layout: Layout,
    existing: DirectoryContents,
    on_mismatch: OnMismatch,
) -> str | None:
    """Reject (or back up) a directory that holds another spec, more rows than requested, or unrelated files."""
    problem = _mismatch(storage, spec, specs, layout, existing)
    if problem is None:
        return None
    if on_mismatch == "error":
        raise problem
    return move_to_backup(storage.url)


def _mismatch(
    storage: Storage, spec: DatasetSpec, specs: Mapping[str, DatasetSpec], layout: Layout, existing: DirectoryContents
) -> UserError | None:
    if not existing.names and existing.manifest is None:
        return None
    other = _another_spec(storage, spec, specs, existing)
    if other is not None:
        return other
    for split, rows in existing.manifest.splits.items() if existing.manifest is not None else ():
        if rows.rows > layout.splits.get(split, 0):
            return UserError(
                f"{storage.url} holds more rows of {split} than asked for",
                expected=f"at least {rows.rows:,} rows of {split}",
                got=f"{layout.splits.get(split, 0):,}",
                cause="existing rows would be lost",
                next_step=f"{_asking(split, rows.rows)}, choose another --out, or move it to a backup with --on-mismatch restart",
            )
    return None


def _asking(split: str, rows: int) -> str:
    """The option that requests all existing rows of a split."""
    if split in (TRAIN, VALID, TEST):
        return f"request them too (--{'n' if split == TRAIN else split} {rows})"
    return f"request them too (--extra-test {split.removeprefix(EXTRA_PREFIX)}:...,n={rows})"


def _another_spec(
    storage: Storage, spec: DatasetSpec, specs: Mapping[str, DatasetSpec], existing: DirectoryContents
) -> UserError | None:
    next_step = "choose another --out, or pass --on-mismatch restart to move the directory to a backup"
    manifest = existing.manifest
    if manifest is not None and _differs_in_source(spec, manifest.spec):
        return UserError(
            f"{storage.url} was generated with other code of {spec.task}",
            expected=f"source of digest {manifest.spec['source_digest'][:12]}",
            got=str(spec.source_digest)[:12],
            cause="the file of the task was edited since; other code is another dataset",
            next_step=f"restore that version of the file, or {next_step}",
        )
    if manifest is not None and manifest.fingerprint != spec.fingerprint:
        return UserError(
            f"{storage.url} holds another dataset",
            expected=f"a dataset with {_differences(spec.model_dump(mode='json'), manifest.spec, first=True)}",
            got=_differences(spec.model_dump(mode="json"), manifest.spec, first=False),
            next_step=next_step,
        )
    stored_specs = manifest.split_specs if manifest is not None else {}
    for split in stored_specs.keys() & specs.keys():
        requested, stored = specs[split].model_dump(mode="json"), stored_specs[split]
        if requested != stored:
            return UserError(
                f"{storage.url} holds a {split} of another spec",
                expected=f"a split with {_differences(requested, stored, first=True)}",
                got=_differences(requested, stored, first=False),
                next_step="choose another name for the extra test split, or " + next_step,
            )
    for file, record in existing.records.items():
        expected_spec = specs.get(record.split, spec)
        if record.fingerprint != expected_spec.fingerprint and record.split not in stored_specs.keys() - specs.keys():
            return UserError(
                f"{storage.url} holds shards of another dataset",
                expected=f"shards of spec {expected_spec.fingerprint[:12]}",
                got=f"{file} of spec {record.fingerprint[:12]}",
                cause="an unfinished dataset of another task, seed or parameters",
                next_step=next_step,
            )
    return _other_contents(storage, existing)


def _other_contents(storage: Storage, existing: DirectoryContents) -> UserError | None:
    """The error for a directory of other files, and for shards of another program that would be replaced."""
    others = foreign_shards(storage, existing.sizes, {record.file for record in existing.records.values()})
    if existing.manifest is None and not existing.records:
        others += other_files(existing.sizes)
        if not any(name in (MANIFEST, RECORDS, *SPLIT_FOLDERS) for name in existing.names):
            others += existing.names
    if not others:
        return None
    return UserError(
        f"{storage.url} holds other files",
        expected="an empty directory, or a dataset of the same spec",
        got=", ".join(others[:3]),
        next_step="choose another --out",
    )


def _differs_in_source(spec: DatasetSpec, stored: dict[str, object]) -> bool:
    """Whether two specs of a task outside the package differ in its code (and perhaps in what follows from it)."""
    digest = stored.get("source_digest")
    return stored.get("task") == spec.task and digest is not None and digest != spec.source_digest


def _differences(requested: dict[str, object], stored: dict[str, object], *, first: bool) -> str:
    """The keys in which two specs differ, with the values of the first or the second."""
    flat = [{**{k: v for k, v in d.items() if k != "problems"}, **dict(d["problems"])} for d in (requested, stored)]  # type: ignore[call-overload]
    keys = [k for k in {**flat[0], **flat[1]} if flat[0].get(k) != flat[1].get(k)]
    return ", ".join(f"{k} {json.dumps(flat[0 if first else 1].get(k))}" for k in keys)
