"""A dataset of which only the first of equal written problems is kept: first by split (train, valid, test, ...), then by row.

Problems are equal when 128 bits of hash are: of a thousand million problems, two that differ are taken for equal with a chance of
one in 10^20. Each shard of the new dataset is one of the old with rows left out; the spec names the dataset it came from.
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
from mathpipe.datasets.format.example_formats import AnyRows
from mathpipe.datasets.format.manifest import (
    MANIFEST,
    Manifest,
    Record,
    Split,
    find_manifest,
    read_manifest,
    read_record,
    shard_file,
)
from mathpipe.datasets.format.matrix_columns import concatenate_rows
from mathpipe.datasets.format.sequence_columns import SequenceRows
from mathpipe.datasets.io.storage import HashingFile, Storage
from mathpipe.generate.build.locking import claimed
from mathpipe.generate.build.shard import format_of
from mathpipe.generate.curate.verification import specs_of
from mathpipe.generate.execution.executors import Tell, run, workers_for
from mathpipe.generate.execution.shuffle import Keys, later_of_equal
from mathpipe.generate.provenance import collect_provenance
from mathpipe.generate.spec import DatasetSpec
from mathpipe.generate.splits import sequence_hash, written_hash

_OTHER_KEYS = 1 << 32  # of the second 64 bits: far from those of the first
_SPLIT_BITS = 48  # a row's place: its split's number, then 48 bits of row
_COMPARE_SECONDS = 2e-6  # a row in one process: 1M rows took 2.1 CPU-s more than 21k rows on an AMD EPYC (AVX2)
DROPPED = "equal to an earlier problem"


@dataclass(frozen=True)
class Deduplicated:
    """The new dataset's manifest, and how many rows of each split were left out."""

    manifest: Manifest
    dropped: dict[str, int]


@dataclass(frozen=True)
class _Part:
    """A shard of the source, where its new one stands, and which of its rows (from 0) are left out."""

    record: Record
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
    on_start: Callable[[int, int], object] = lambda rows, written: None,
    on_shard: Callable[[Record], object] = lambda record: None,
    tell: Tell = lambda text: None,
) -> Deduplicated:
    """Write to ``url`` the dataset at ``source`` without problems that stand before. Killed, the same call goes on.

    ``on_start(rows, written)`` is called once equal problems have been found: how many rows the new dataset has, and how many of
    them an earlier call wrote. ``on_shard`` is called for each shard that is written now.
    Bytes do not depend on the workers. UserError where something else lies at ``url``.
    """
    old = read_manifest(source)
    old_specs = specs_of(old)
    specs = {split: spec.model_copy(update={"deduplicated": old.digest}) for split, spec in old_specs.items()}
    spec = DatasetSpec.model_validate(old.spec).model_copy(update={"deduplicated": old.digest})
    there, here = Storage(source), Storage(url)
    with claimed(here):
        finished = _finished(here, spec)
        if finished is not None:
            return Deduplicated(finished, _dropped_rows(old, finished))
        splits = list(old.splits)
        records = [(splits.index(r.split), r) for split in old.splits.values() for r in split.shards]
        keys = functools.partial(_keys, old_specs, there.absolute_url)
        comparing = workers_for(sum(r.rows for _, r in records) * _COMPARE_SECONDS) if workers is None else workers
        parts = _parts(old, later_of_equal(keys, records, comparing, scheduler, tell))
        done: list[Record] = []
        missing = []
        for part in parts:
            record = read_record(here, part.record.split, part.index)
            if record is not None and _is(record, part, specs) and here.size(record.file) == record.bytes:
                done.append(record)
            else:
                missing.append(part)
        on_start(sum(part.rows for part in parts), sum(record.rows for record in done))
        write = functools.partial(_write, old_specs, specs, there.absolute_url, here.absolute_url)
        for record in run(write, missing, workers, scheduler, tell):
            done.append(record)
            on_shard(record)
        manifest = _manifest(old, spec, specs, done)
        manifest.write(here)
    return Deduplicated(manifest, _dropped_rows(old, manifest))


def _parts(old: Manifest, places: NDArray[np.int64]) -> list[_Part]:
    """The shards to write, numbered anew: of the source's, without those of which nothing is left."""
    parts = []
    for number, split in enumerate(old.splits.values()):
        index = first_row = 0
        for record in split.shards:
            start = (number << _SPLIT_BITS) + record.first_row
            low, high = np.searchsorted(places, [start, start + record.rows])
            part = _Part(record, index, first_row, places[low:high] - start)
            if part.rows:
                parts.append(part)
                index, first_row = index + 1, first_row + part.rows
    return parts


def _groups(spec: DatasetSpec, url: str, record: Record) -> Iterator[Any]:
    """The row groups of a shard; UserError where it is missing or damaged."""
    try:
        with (
            Storage(url).read(record.file) as opened,
            pq.ParquetFile(opened, page_checksum_verification=True) as file,
        ):
            if not format_of(spec).accepts(file.schema_arrow):
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
            next_step=f"`mathpipe verify {url}` lists all damage and says how to mend it",
        ) from error


def _keys(specs: dict[str, DatasetSpec], url: str, numbered: tuple[int, Record]) -> Keys:
    """Of each row of a shard the two halves of its problem's hash, and its place."""
    number, record = numbered
    spec, first, second = specs[record.split], [], []
    for table in _groups(spec, url, record):
        rows: AnyRows = format_of(spec).from_arrow(table)
        first.append(_hash(spec, rows, 0))
        second.append(_hash(spec, rows, _OTHER_KEYS))
    start = (number << _SPLIT_BITS) + record.first_row
    return np.concatenate(first), np.concatenate(second), np.arange(start, start + record.rows)


def _hash(spec: DatasetSpec, rows: AnyRows, keys_from: int) -> NDArray[np.uint64]:
    if isinstance(rows, SequenceRows):
        return sequence_hash(rows.problems, keys_from=keys_from)
    on_grid = rows.clean is not None or spec.matrices.round_problems
    found = written_hash(rows.problems, on_grid=on_grid, keys_from=keys_from)
    if rows.problems.task_ids is not None:  # the letter of its task is part of a problem
        found = found ^ (rows.problems.task_ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return found


def _write(
    old_specs: dict[str, DatasetSpec], specs: dict[str, DatasetSpec], source: str, url: str, part: _Part
) -> Record:
    """Write one shard without the rows that are left out."""
    split, storage = part.record.split, Storage(url)
    spec = specs[split]
    with storage.write(shard_file(split, part.index)) as file:
        hashing = HashingFile(file)
        rows = _kept(old_specs[split], source, part)
        count = format_of(spec).write(hashing, rows, spec.to_json(), version("mathpipe"))
    record = Record(
        split=split,
        shard=part.index,
        first_row=part.first_row,
        rows=count,
        bytes=hashing.bytes,
        sha256=hashing.sha256,
        fingerprint=spec.fingerprint,
        rejected={DROPPED: len(part.dropped)} if len(part.dropped) else {},
    )
    record.write(storage)
    return record


def _kept(spec: DatasetSpec, source: str, part: _Part) -> Iterator[Any]:
    """The rows that stay, numbered anew; matrices in whole chunks, since each becomes a row group."""
    drop = np.zeros(part.record.rows, dtype=np.bool_)
    drop[part.dropped] = True
    seen, written, held = 0, part.first_row, list[Any]()
    for table in _groups(spec, source, part.record):
        rows: Any = format_of(spec).from_arrow(table)
        held.append(rows.take(~drop[seen : seen + len(rows)]))
        seen += len(rows)
        while sum(map(len, held)) >= spec.chunk_rows:
            joined = _join(held)
            yield joined.take(np.arange(spec.chunk_rows)).numbered(written)
            written += spec.chunk_rows
            held = [joined.take(np.arange(spec.chunk_rows, len(joined)))]
    if any(map(len, held)):
        yield _join(held).numbered(written)


def _join(parts: list[Any]) -> Any:
    return SequenceRows.concatenate(parts) if isinstance(parts[0], SequenceRows) else concatenate_rows(parts)


def _is(record: Record, part: _Part, specs: dict[str, DatasetSpec]) -> bool:
    found = (record.fingerprint, record.first_row, record.rows)
    return found == (specs[part.record.split].fingerprint, part.first_row, part.rows)


def _finished(storage: Storage, spec: DatasetSpec) -> Manifest | None:
    """The manifest of a dataset that is done; None where it is to be made; UserError where something else is there."""
    names = storage.list()
    manifest = find_manifest(storage) if MANIFEST in names else None
    if manifest is not None and manifest.fingerprint == spec.fingerprint:
        return manifest
    if manifest is not None or any(name not in ("train", "valid", "test") and name[:5] != "test-" for name in names):
        raise UserError(
            f"{storage.url} holds something else",
            expected="an empty directory",
            got=", ".join(names[:3]),
            next_step="choose another OUT",
        )
    return None


def _manifest(old: Manifest, spec: DatasetSpec, specs: dict[str, DatasetSpec], done: list[Record]) -> Manifest:
    ordered = sorted(done, key=lambda record: record.shard)
    return Manifest(
        spec=spec.model_dump(mode="json"),
        fingerprint=spec.fingerprint,
        shard_rows=old.shard_rows,
        split_specs={split: specs[split].model_dump(mode="json") for split in old.split_specs},
        splits={split: Split.of([r for r in ordered if r.split == split]) for split in old.splits},
        provenance=collect_provenance(),
    )


def _dropped_rows(old: Manifest, new: Manifest) -> dict[str, int]:
    return {split: rows.rows - new.splits[split].rows for split, rows in old.splits.items()}
