"""Deduplicate a dataset: keep the first of equal problems, ordered by split (train, valid, test, ...), then by row.

Problems count as equal if their 128-bit hashes are equal. Among 10^9 problems, a collision of different ones has probability
1e-20. Each shard of the new dataset is a source shard without its duplicates; the new spec names the source dataset.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.directory import CARD, EXTRA, RECORDS, SPLIT_FOLDERS, shard_file
from mathpipe.datasets.format.examples import concatenate
from mathpipe.datasets.format.foreign_shards import foreign_shards, other_files
from mathpipe.datasets.format.manifest import (
    MANIFEST,
    Manifest,
    ShardRecord,
    Split,
    find_manifest,
    read_manifest,
    read_record,
)
from mathpipe.datasets.io.foreign_files import is_foreign
from mathpipe.datasets.io.storage import HashingFile, Storage, is_temporary
from mathpipe.generate.build.locking import lock_directory
from mathpipe.generate.cards.dataset_card import finish_dataset
from mathpipe.generate.curate.dataset_verification import load_split_specs
from mathpipe.generate.curate.import_parts.import_registry import stored_rows
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.execution.executors import LocalWorkers, LogFunction, run
from mathpipe.generate.execution.shuffle import Keys, find_duplicates
from mathpipe.generate.provenance import collect_provenance
from mathpipe.generate.tasks.task_registry import parse_spec, task_of

_SECOND_HASH_KEYS = 1 << 32  # offset of the keys of the second 64 bits, far from those of the first
_SPLIT_BITS = 48  # a row's position: the index of its split, then 48 bits of row number
_COMPARE_SECONDS = 2e-6  # per row in one process: 1M rows took 2.1 CPU-s more than 21k rows on an AMD EPYC (AVX2)
DUPLICATE = "equal to an earlier problem"


@dataclass(frozen=True)
class DeduplicationResult:
    """The manifest of the new dataset, and the number of rows dropped from each split."""

    manifest: Manifest
    dropped: dict[str, int]


@dataclass(frozen=True)
class _ShardPlan:
    """A source shard, the index and first row of the new shard, and the source rows (from 0) to drop."""

    record: ShardRecord
    index: int
    first_row: int
    dropped: NDArray[np.int64]

    @property
    def rows(self) -> int:
        return self.record.rows - len(self.dropped)


def deduplicate(
    source: str,
    url: str,
    *,
    workers: int | None = 0,
    scheduler: str | None = None,
    on_hashed: Callable[[int], object] = lambda rows: None,
    on_start: Callable[[int, int], object] = lambda rows, num_written: None,
    on_shard: Callable[[ShardRecord], object] = lambda record: None,
    log: LogFunction = lambda text: None,
) -> DeduplicationResult:
    """Write the dataset at ``source`` without duplicate problems to ``url``. Resumable: repeat the call after an interruption.

    ``on_hashed(rows)`` is called while the problems are hashed, once per shard of the source. ``on_start(rows, num_written)`` is
    called once the duplicates are known, with the number of rows of the new dataset and the number that an earlier call wrote.
    ``on_shard`` is called for each shard written now. The bytes do not depend on the workers. UserError if ``url`` holds
    anything else.
    """
    old = read_manifest(source)
    old_specs = load_split_specs(old, source)
    specs = {split: spec.model_copy(update={"deduplicated": old.digest}) for split, spec in old_specs.items()}
    spec = parse_spec(old.spec).model_copy(update={"deduplicated": old.digest})
    source_storage, storage = Storage(source), Storage(url)
    with lock_directory(storage):
        finished = _finished(storage, spec)
        if finished is not None:
            return DeduplicationResult(finished, _dropped_rows(old, finished))
        splits = list(old.splits)
        records = [(splits.index(r.split), r) for split in old.splits.values() for r in split.shards]
        keys = functools.partial(_keys, old_specs, source_storage.absolute_url)
        num_workers = (
            LocalWorkers().estimate(sum(r.rows for _, r in records) * _COMPARE_SECONDS) if workers is None else workers
        )
        plans = _plan_shards(old, find_duplicates(keys, records, num_workers, scheduler, log, on_hashed))
        finished_shards: list[ShardRecord] = []
        missing = []
        for plan in plans:
            record = read_record(storage, plan.record.split, plan.index)
            if record is not None and _matches(record, plan, specs) and storage.size(record.file) == record.bytes:
                finished_shards.append(record)
            else:
                missing.append(plan)
        on_start(sum(plan.rows for plan in plans), sum(record.rows for record in finished_shards))
        write = functools.partial(_write, old_specs, specs, source_storage.absolute_url, storage.absolute_url)
        for record in run(write, missing, workers, scheduler, log):
            finished_shards.append(record)
            on_shard(record)
        for folder in ("", *old.splits):
            storage.remove_unfinished(folder)
        manifest = _manifest(old, spec, specs, finished_shards)
        finish_dataset(storage, manifest)
    return DeduplicationResult(manifest, _dropped_rows(old, manifest))


def _plan_shards(old: Manifest, duplicates: NDArray[np.int64]) -> list[_ShardPlan]:
    """The shards to write, renumbered; a shard of duplicates alone is omitted."""
    plans = []
    for number, split in enumerate(old.splits.values()):
        index = first_row = 0
        for record in split.shards:
            start = (number << _SPLIT_BITS) + record.first_row
            low, high = np.searchsorted(duplicates, [start, start + record.rows])
            plan = _ShardPlan(record, index, first_row, duplicates[low:high] - start)
            if plan.rows:
                plans.append(plan)
                index, first_row = index + 1, first_row + plan.rows
    return plans


def _row_groups(spec: DatasetSpec, url: str, record: ShardRecord) -> Iterator[Any]:
    """The row groups of a shard; UserError if it is missing or damaged."""
    try:
        with (
            Storage(url).read(record.file) as opened,
            pq.ParquetFile(opened, page_checksum_verification=True) as file,
        ):
            if not stored_rows(spec).example_format(spec).accepts(file.schema_arrow):
                raise pa.ArrowInvalid("its columns are not those of a shard")
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        missing = isinstance(error, FileNotFoundError)
        raise UserError(
            f"{url}/{record.file} {'is missing' if missing else 'is damaged'}",
            expected=f"{record.rows:,} rows, {record.bytes:,} bytes",
            got="no such file" if missing else str(error).splitlines()[0],
            cause="removed or damaged after writing",
            next_step=f"`mathpipe verify {url}` lists all damage and says how to repair it",
        ) from error


def _keys(specs: dict[str, DatasetSpec], url: str, numbered: tuple[int, ShardRecord]) -> Keys:
    """For each row of a shard, the two 64-bit halves of its problem's hash, and its position."""
    number, record = numbered
    spec, first, second = specs[record.split], [], []
    task = stored_rows(spec)
    for table in _row_groups(spec, url, record):
        rows = task.example_format(spec).from_arrow(table)
        first.append(task.problem_hash(spec, rows))
        second.append(task.problem_hash(spec, rows, _SECOND_HASH_KEYS))
    start = (number << _SPLIT_BITS) + record.first_row
    return np.concatenate(first), np.concatenate(second), np.arange(start, start + record.rows)


def _write(
    old_specs: dict[str, DatasetSpec], specs: dict[str, DatasetSpec], source: str, url: str, plan: _ShardPlan
) -> ShardRecord:
    """Write one shard without its duplicates."""
    split, storage = plan.record.split, Storage(url)
    spec = specs[split]
    with storage.write(shard_file(split, plan.index)) as file:
        hashing = HashingFile(file)
        rows = _remaining_rows(old_specs[split], source, plan)
        count = stored_rows(spec).example_format(spec).write(hashing, rows, spec.to_json(), version("mathpipe"))
    record = ShardRecord(
        split=split,
        shard=plan.index,
        first_row=plan.first_row,
        rows=count,
        bytes=hashing.bytes,
        sha256=hashing.sha256,
        fingerprint=spec.fingerprint,
        rejected={DUPLICATE: len(plan.dropped)} if len(plan.dropped) else {},
        evidence=task_of(spec).known_evidence(spec, count),
    )
    record.write(storage)
    return record


def _remaining_rows(spec: DatasetSpec, source: str, plan: _ShardPlan) -> Iterator[Any]:
    """The remaining rows, renumbered; matrices in whole chunks, since each chunk becomes a row group."""
    drop = np.zeros(plan.record.rows, dtype=np.bool_)
    drop[plan.dropped] = True
    rows_read, next_row, pending = 0, plan.first_row, list[Any]()
    for table in _row_groups(spec, source, plan.record):
        rows: Any = stored_rows(spec).example_format(spec).from_arrow(table)
        pending.append(rows.take(~drop[rows_read : rows_read + len(rows)]))
        rows_read += len(rows)
        while sum(map(len, pending)) >= spec.chunk_rows:
            examples = concatenate(pending)
            yield examples.take(np.arange(spec.chunk_rows)).renumber(next_row)
            next_row += spec.chunk_rows
            pending = [examples.take(np.arange(spec.chunk_rows, len(examples)))]
    if any(map(len, pending)):
        yield concatenate(pending).renumber(next_row)


def _matches(record: ShardRecord, plan: _ShardPlan, specs: dict[str, DatasetSpec]) -> bool:
    actual = (record.fingerprint, record.first_row, record.rows)
    return actual == (specs[plan.record.split].fingerprint, plan.first_row, plan.rows)


def _finished(storage: Storage, spec: DatasetSpec) -> Manifest | None:
    """The manifest of a complete dataset, None if there is none yet; UserError if the directory holds anything else."""
    names = [name for name in storage.list() if not (is_foreign(name) or is_temporary(name))]
    manifest = find_manifest(storage)  # by its name, since the listing of a store may be older
    if manifest is not None and manifest.fingerprint == spec.fingerprint:
        return manifest
    folders = [name for name in names if name in SPLIT_FOLDERS]
    folders += [f"{EXTRA}/{name}" for name in (storage.list(EXTRA) if EXTRA in names else ())]
    files = [f"{folder}/{name}" for folder in folders if folder != EXTRA for name in storage.sizes(folder)]
    others = [name for name in names if name not in (CARD, RECORDS, *SPLIT_FOLDERS)]
    others += other_files(files) + foreign_shards(storage, files, ())
    if manifest is not None or others:
        raise UserError(
            f"{storage.url} holds something else",
            expected="an empty directory",
            got=", ".join((others or names or [MANIFEST])[:3]),
            next_step="choose another OUT",
        )
    return None


def _manifest(
    old: Manifest, spec: DatasetSpec, specs: dict[str, DatasetSpec], finished_shards: list[ShardRecord]
) -> Manifest:
    ordered = sorted(finished_shards, key=lambda record: record.shard)
    return Manifest(
        spec=spec.model_dump(mode="json"),
        fingerprint=spec.fingerprint,
        shard_rows=old.shard_rows,
        split_specs={split: specs[split].model_dump(mode="json") for split in old.split_specs},
        splits={split: Split.from_records([r for r in ordered if r.split == split]) for split in old.splits},
        provenance=collect_provenance(),
    )


def _dropped_rows(old: Manifest, new: Manifest) -> dict[str, int]:
    return {split: rows.rows - new.splits[split].rows for split, rows in old.splits.items()}
