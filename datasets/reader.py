"""Reading a dataset back: its manifest, its rows in order, and tokens in any encoding."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mathpipe.datasets.bit_writer import BitWriter
from mathpipe.datasets.errors import UserError, nearest
from mathpipe.datasets.expression_writer import ExpressionWriter
from mathpipe.datasets.manifest import Manifest, Record, Split, read_manifest
from mathpipe.datasets.row_formats import AnyRows, Kind, MatrixFormat, WordsFormat, kind_of, row_format
from mathpipe.datasets.sequence_rows import sequence_schema
from mathpipe.datasets.sequences import END, PAD, MatrixWriter
from mathpipe.datasets.storage import Storage, StoreError

if TYPE_CHECKING:
    import torch

    from mathpipe.datasets.loader import BatchStream

Writer = MatrixWriter | ExpressionWriter | BitWriter


@dataclass(frozen=True)
class Batch:
    """Token tensors of B problems. No framing words in ``source``; ``target`` ends with END; both padded with PAD.

    ``source`` (B, Ls), ``source_lengths`` (B,), ``target`` (B, Lt), ``target_lengths`` (B,) END included, ``rows`` (B,): all int64.
    """

    source: torch.Tensor
    source_lengths: torch.Tensor
    target: torch.Tensor
    target_lengths: torch.Tensor
    rows: torch.Tensor


@dataclass(frozen=True)
class TokenRows:
    """n encoded rows as NumPy arrays, the form in which the loader keeps a window: integer tokens, int64 lengths and ids."""

    source: np.ndarray[Any, np.dtype[np.integer]]
    source_lengths: np.ndarray[Any, np.dtype[np.int64]]
    target: np.ndarray[Any, np.dtype[np.integer]]
    target_lengths: np.ndarray[Any, np.dtype[np.int64]]
    rows: np.ndarray[Any, np.dtype[np.int64]]

    def batch(self, index: np.ndarray[Any, Any], device: str | torch.device = "cpu") -> Batch:
        """The rows at these positions as tensors on a device; columns that are padding for all of them are cut off."""
        import torch  # here: whoever reads rows alone need not wait for it

        source_lengths, target_lengths = self.source_lengths[index], self.target_lengths[index]
        widest = int(source_lengths.max(initial=0)), int(target_lengths.max(initial=0))
        arrays = (
            self.source[index, : widest[0]],
            source_lengths,
            self.target[index, : widest[1]],
            target_lengths,
            self.rows[index],
        )
        return Batch(*(_to_device(array, torch.device(device)) for array in arrays))


def _to_device(array: np.ndarray[Any, Any], device: torch.device) -> torch.Tensor:
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def open_dataset(
    directory: str | Path,
    split: str = "train",
    input_encoding: str = "P1000",
    output_encoding: str = "P1000",
    precision: int = 2,
) -> Dataset:
    """Open one split of a whole dataset: a directory or any fsspec URL.

    Encodings are of numbers in matrices; expressions are written in their own words, whatever encodings are named. UserError
    where the dataset is not whole, has no such split, or where no such encoding is known.
    """
    manifest = read_manifest(str(directory))
    if split not in manifest.splits:
        near = nearest(split, manifest.splits)
        raise UserError(
            f"{directory} has no split {split!r}",
            expected=f"one of {', '.join(manifest.splits)}",
            got=repr(split),
            next_step=f"did you mean {near}?" if near else None,
        )
    if kind_of(manifest.law_of(split)) == "expressions":
        return Dataset(str(directory), split, manifest, ExpressionWriter(), ExpressionWriter())
    if kind_of(manifest.law_of(split)) == "bits":
        bits = BitWriter.of_law(manifest.law_of(split))
        return Dataset(str(directory), split, manifest, bits, bits)
    lettered = manifest.task == "cotraining"
    names = (input_encoding, output_encoding)
    source, target = (MatrixWriter.named(name, precision, lettered=lettered) for name in names)
    return Dataset(str(directory), split, manifest, source, target)


@dataclass(frozen=True)
class Dataset:
    """One split of a dataset: rows in order (``chunks``), or shuffled batches of tokens (``batches``)."""

    directory: str
    split: str
    manifest: Manifest
    source: Writer
    target: Writer

    @property
    def task(self) -> str:
        return self.manifest.task

    @property
    def kind(self) -> Kind:
        """What problems and solutions are: matrices, expressions or bits."""
        return kind_of(self.law)

    @cached_property
    def format(self) -> MatrixFormat | WordsFormat:
        """How rows lie in the shards of this split."""
        return row_format(self.law)

    @property
    def law(self) -> dict[str, Any]:
        """The law of this split."""
        return self.manifest.law_of(self.split)

    @property
    def digest(self) -> str:
        """Changes when any row of this split does; other splits may come and grow."""
        return self.manifest.split_digest(self.split)

    @property
    def shards(self) -> Split:
        return self.manifest.splits[self.split]

    def __len__(self) -> int:
        return self.shards.rows

    @cached_property
    def groups(self) -> list[tuple[Record, int, int]]:
        """Every row group: (shard, group within it, rows), in row order."""
        return [
            (record, k, rows)
            for record in self.shards.shards
            for k, rows in enumerate(self.format.group_sizes(record.rows))
        ]

    def chunks(self, size: int = 10_000, start: int = 0, stop: int | None = None) -> Iterator[AnyRows]:
        """Rows [start, stop) in order, at most ``size`` at a time; one row group is in memory at a time."""
        stop = len(self) if stop is None else min(stop, len(self))
        first = 0
        with ShardReader(self) as reader:
            for position, (_, _, count) in enumerate(self.groups):
                low, high = max(start - first, 0), min(stop - first, count)
                first += count
                if low < high:
                    rows = reader.read(position)
                    for begin in range(low, high, size):
                        yield rows.take(np.arange(begin, min(begin + size, high)))

    def encode(self, rows: AnyRows) -> TokenRows:
        """Write problems and solutions as tokens; UserError where an encoding cannot hold a value."""
        source, source_lengths = self.source.write(rows.problems)  # type: ignore[arg-type]  # the writer of this kind of rows
        target, target_lengths = self.target.write(rows.solutions)  # type: ignore[arg-type]
        target = np.pad(target, ((0, 0), (0, 1)), constant_values=PAD)
        target[np.arange(len(target)), target_lengths] = END
        return TokenRows(source, source_lengths, target, target_lengths + 1, rows.row)

    def batch(self, rows: AnyRows, device: str | torch.device = "cpu") -> Batch:
        """These rows as one batch of tensors."""
        return self.encode(rows).batch(np.arange(len(rows)), device)

    @property
    def lettered(self) -> bool:
        """Whether problems are of several tasks, each begun with its letter (co-training)."""
        return self.task == "cotraining"

    @property
    def noisy(self) -> bool:
        """Whether the written operands carry noise and the clean ones are stored beside them."""
        return float(self.law["operands"].get("noise", 0)) > 0

    def batches(
        self,
        size: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
        rank: int = 0,
        ranks: int = 1,
        window: int = 8,
    ) -> BatchStream:
        """An endless shuffled stream of batches, see ``mathpipe.datasets.loader.BatchStream``."""
        from mathpipe.datasets.loader import BatchStream  # here, since the loader reads through this module

        return BatchStream(self, size=size, seed=seed, device=device, rank=rank, ranks=ranks, window=window)


class ShardReader:
    """Reads row groups of a split; keeps the last shard open, memory-mapped, and closes each map when it moves on.

    Shards on an object store are first copied whole to this machine: into the directory that ``MATHPIPE_CACHE`` names, where
    they stay and serve every process (each under its checksum); without it into a temporary one that ends with the reader.
    """

    def __init__(self, dataset: Dataset) -> None:
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
        except (OSError, pa.ArrowException, ValueError, IndexError, UserError) as problem:
            raise _damaged(self._dataset, record, str(problem).splitlines()[0] if str(problem) else "") from problem
        if len(rows) != count:
            raise _damaged(self._dataset, record, f"row group {group} holds {len(rows):,} rows, not {count:,}")
        return rows

    def schema(self) -> pa.Schema:
        """The columns of this split; where there are no rows, those its law tells of."""
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


def _damaged(dataset: Dataset, record: Record, got: str) -> UserError:
    missing = Storage(dataset.directory).size(record.file) is None
    return UserError(
        f"{dataset.directory}/{record.file} {'is missing' if missing else 'is damaged'}",
        expected=f"{record.rows:,} rows, {record.bytes:,} bytes",
        got="no such file" if missing else got,
        cause="removed or damaged after writing",
        next_step=f"`mathpipe verify {dataset.directory}` lists all damage; then {dataset.manifest.mending}",
    )
