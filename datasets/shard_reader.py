"""Row groups of a split's shards, memory-mapped, one at a time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.example_formats import AnyRows, MatrixFormat, WordsFormat
from mathpipe.datasets.format.manifest import Manifest, Record
from mathpipe.datasets.format.sequence_columns import sequence_schema
from mathpipe.datasets.io.storage import Storage, StoreError


class StoredSplit(Protocol):
    """What reading asks of a split: where its shards lie, and how examples lie in them."""

    @property
    def directory(self) -> str: ...
    @property
    def manifest(self) -> Manifest: ...
    @property
    def groups(self) -> list[tuple[Record, int, int]]:
        """Every row group: (shard, group within it, rows), in order."""
        ...

    @property
    def format(self) -> MatrixFormat | WordsFormat: ...


class ShardReader:
    """Reads row groups of a split; keeps the last shard open, memory-mapped, and closes each map when it moves on.

    Shards on an object store are first copied whole to this machine: into the directory that ``MATHPIPE_CACHE`` names, where
    they stay and serve every process (each under its checksum); without it into a temporary one that ends with the reader.
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
        """Close the open map (mapped pages count as resident memory)."""
        if self._file is not None:
            self._file.close()
        if self._map is not None:
            self._map.close()
        self._shard = self._map = self._file = None

    def read(self, position: int) -> AnyRows:
        """The rows of the row group at this position in ``dataset.groups``; UserError where the shard is missing or damaged."""
        record, group, count = self._dataset.groups[position]
        try:
            if self._shard != record.shard:
                self._open(record)
            assert self._file is not None
            if not self._dataset.format.accepts(self._file.schema_arrow):
                raise pa.ArrowInvalid("its columns are not those of a shard")
            rows: AnyRows = self._dataset.format.from_arrow(self._file.read_row_group(group, use_threads=False))
        except StoreError:
            raise  # the store is out of reach: that tells nothing of the shard
        except (OSError, pa.ArrowException, ValueError, IndexError, UserError) as error:
            raise _damaged(self._dataset, record, str(error).splitlines()[0] if str(error) else "") from error
        if len(rows) != count:
            raise _damaged(self._dataset, record, f"row group {group} holds {len(rows):,} rows, not {count:,}")
        return rows

    def schema(self) -> pa.Schema:
        """The columns of this split; where there are no rows, those its spec tells of."""
        if self._dataset.format.schema is not None:
            return self._dataset.format.schema
        if not self._dataset.groups:
            return sequence_schema({})
        self.read(0)
        assert self._file is not None
        return self._file.schema_arrow.remove_metadata()

    def _open(self, record: Record) -> None:
        self.release()
        self._map = pa.memory_map(str(self._local(record)))
        self._file = pq.ParquetFile(
            self._map, page_checksum_verification=True
        )  # older shards have no checksums to verify
        self._shard = record.shard

    def _local(self, record: Record) -> Path:
        if self._storage.local_path is not None:
            return self._storage.local_path / record.file
        copy = self._cache_folder() / f"{record.sha256}.parquet"
        if not copy.exists():
            self._storage.fetch(record.file, copy, record.sha256)
        return copy

    def _cache_folder(self) -> Path:
        if kept := os.environ.get("MATHPIPE_CACHE"):
            return Path(kept)
        if self._cache is None:
            self._cache = tempfile.TemporaryDirectory(prefix="mathpipe-shards-")
        return Path(self._cache.name)


def _damaged(dataset: StoredSplit, record: Record, got: str) -> UserError:
    missing = Storage(dataset.directory).size(record.file) is None
    return UserError(
        f"{dataset.directory}/{record.file} {'is missing' if missing else 'is damaged'}",
        expected=f"{record.rows:,} rows, {record.bytes:,} bytes",
        got="no such file" if missing else got,
        cause="removed or damaged after writing",
        next_step=f"`mathpipe verify {dataset.directory}` lists all damage; then {dataset.manifest.mending}",
    )
