"""Read the row groups of a split from memory-mapped shards, one at a time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.example_formats import ExampleFormat
from mathpipe.datasets.format.examples import Examples
from mathpipe.datasets.format.manifest import Manifest, ShardRecord
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.io.store_errors import StoreError


class StoredSplit(Protocol):
    """The split interface that ``ShardReader`` needs: where the shards are, and how they store examples."""

    @property
    def directory(self) -> str: ...
    @property
    def manifest(self) -> Manifest: ...
    @property
    def row_groups(self) -> list[tuple[ShardRecord, int, int]]:
        """All row groups in order: (shard record, index within the shard, number of rows)."""
        ...

    @property
    def format(self) -> ExampleFormat: ...


class ShardReader:
    """Reads row groups of a split. Only the current shard is memory-mapped.

    Shards on an object store are first downloaded: into the directory ``MATHPIPE_CACHE``, where they stay, named by checksum,
    and serve every process; or, if it is unset, into a temporary directory that is deleted with the reader.
    """

    def __init__(self, dataset: StoredSplit) -> None:
        self._dataset = dataset
        self._storage = Storage(dataset.directory)
        self._shard: int | None = None
        self._map: pa.MemoryMappedFile | None = None
        self._file: pq.ParquetFile | None = None
        self._cache: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.release()
        if self._cache is not None:
            self._cache.cleanup()
            self._cache = None

    def release(self) -> None:
        """Close the current memory map (mapped pages count as resident memory)."""
        if self._file is not None:
            self._file.close()
        if self._map is not None:
            self._map.close()
        self._shard = self._map = self._file = None

    def read(self, position: int) -> Examples:
        """The examples of ``dataset.row_groups[position]``; UserError if the shard is missing or damaged."""
        record, group, num_rows = self._dataset.row_groups[position]
        try:
            if self._shard != record.shard:
                self._open(record)
            assert self._file is not None
            if not self._dataset.format.accepts(self._file.schema_arrow):
                raise pa.ArrowInvalid("its columns differ from those of a shard")
            examples: Examples = self._dataset.format.from_arrow(self._file.read_row_group(group, use_threads=False))
        except StoreError:
            raise  # the store is unreachable, which says nothing about the shard
        except (OSError, pa.ArrowException, ValueError, IndexError, UserError) as error:
            raise _damaged_shard_error(
                self._dataset, record, str(error).splitlines()[0] if str(error) else ""
            ) from error
        if len(examples) != num_rows:
            raise _damaged_shard_error(
                self._dataset, record, f"row group {group} has {len(examples):,} rows instead of {num_rows:,}"
            )
        return examples

    def schema(self) -> pa.Schema:
        """The Arrow schema of this split; without any example, the one that follows from its spec."""
        if self._dataset.format.schema is not None:
            return self._dataset.format.schema
        if not self._dataset.row_groups:
            return self._dataset.format.common_schema
        self.read(0)
        assert self._file is not None
        return self._file.schema_arrow.remove_metadata()

    def _open(self, record: ShardRecord) -> None:
        self.release()
        self._map = pa.memory_map(str(self._local(record)))
        self._file = pq.ParquetFile(self._map, page_checksum_verification=True)
        self._shard = record.shard

    def _local(self, record: ShardRecord) -> Path:
        if self._storage.local_path is not None:
            return self._storage.local_path / record.file
        cached = self._cache_folder() / f"{record.sha256}.parquet"
        if not cached.exists():
            self._storage.fetch(record.file, cached, record.sha256)
        return cached

    def _cache_folder(self) -> Path:
        if directory := os.environ.get("MATHPIPE_CACHE"):
            return Path(directory)
        if self._cache is None:
            self._cache = tempfile.TemporaryDirectory(prefix="mathpipe-shards-")
        return Path(self._cache.name)


def _damaged_shard_error(dataset: StoredSplit, record: ShardRecord, got: str) -> UserError:
    missing = Storage(dataset.directory).size(record.file) is None
    return UserError(
        f"{dataset.directory}/{record.file} {'is missing' if missing else 'is damaged'}",
        expected=f"{record.rows:,} rows, {record.bytes:,} bytes",
        got="no such file" if missing else got,
        cause="it was removed or damaged after writing",
        next_step=f"`mathpipe verify {dataset.directory}` lists all damage; then {dataset.manifest.repair_hint}",
    )
