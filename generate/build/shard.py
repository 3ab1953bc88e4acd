"""Build shards: compute whole chunks, write them under a temporary name, rename, then write the record.

A unit of work is one shard of a matrix task, or the shards of all splits that share the same chunks of a sequence task.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np

from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.datasets.format.example_formats import MatrixFormat, TokenFormat, TokenShardWriter
from mathpipe.datasets.format.manifest import ShardRecord, shard_file
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.io.storage import HashingFile, Storage
from mathpipe.datasets.tokenizers.bit_tokenizer import BIT_TOKENS
from mathpipe.generate.build.matrix_chunks import build_chunk
from mathpipe.generate.build.sequence_chunks import (
    SplitChunk,
    build_sequence_chunk,
    count_repeats,
    rng_stream,
    rows_per_chunk,
)
from mathpipe.generate.layout import Shard
from mathpipe.generate.spec import BitSpec, DatasetSpec, ImportedSpec, MatrixSpec
from mathpipe.generate.tasks.registry import matrix_task, sequence_task


@dataclass(frozen=True)
class ShardResult:
    """The record of a finished shard, and its wall and CPU seconds (these never enter the dataset)."""

    record: ShardRecord
    seconds: float
    cpu_seconds: float


def build_shard(spec: DatasetSpec, shard: Shard, url: str) -> ShardResult:
    """Write one shard of a dataset and its record. Equal arguments always give equal bytes.

    A shard starts at a chunk boundary; its last chunk is computed as a whole, then truncated.
    """
    (result,) = build_unit({shard.split: spec}, [shard], url)
    return result


def build_unit(specs: Mapping[str, DatasetSpec], shards: Sequence[Shard], url: str) -> list[ShardResult]:
    """Write the shards of one unit of work and their records, computing each chunk once."""
    wall, cpu = time.perf_counter(), time.process_time()
    spec, storage = specs[shards[0].split], Storage(url)
    if isinstance(spec.problems, MatrixSpec):
        records = [_matrix_shard(specs[shard.split], shard, storage) for shard in shards]
    else:
        records = _sequence_shards(spec, shards, storage)
    for record in records:
        record.write(storage)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    rows = sum(record.rows for record in records)
    return [ShardResult(record, seconds * record.rows / rows, cpu_seconds * record.rows / rows) for record in records]


def example_format(spec: DatasetSpec) -> MatrixFormat | TokenFormat:
    """The storage format of the rows of this spec."""
    if isinstance(spec.problems, MatrixSpec):
        return _matrix_format(spec)
    return _sequence_format(spec)


def _sequence_format(spec: DatasetSpec) -> TokenFormat:
    tokens = BIT_TOKENS if isinstance(spec.problems, BitSpec) else TOKENS
    return TokenFormat({} if isinstance(spec.problems, ImportedSpec) else sequence_task(spec.task).columns, tokens)


def _matrix_format(spec: DatasetSpec) -> MatrixFormat:
    matrix_spec, has_task_tokens = spec.matrices, matrix_task(spec.task).has_task_tokens
    mixed = len(matrix_spec.spectrum) > 1 and not has_task_tokens
    return MatrixFormat(spec.chunk_rows, matrix_spec.round_problems, matrix_spec.noise > 0, has_task_tokens, mixed)


def units(specs: Mapping[str, DatasetSpec], shards: Sequence[Shard]) -> list[tuple[Shard, ...]]:
    """Group shards into units of work: for a sequence task, the shards of the same chunks; otherwise single shards."""
    groups: dict[tuple[object, ...], list[Shard]] = {}
    for shard in shards:
        spec = specs[shard.split]
        if isinstance(spec.problems, MatrixSpec):
            key: tuple[object, ...] = (shard.split, shard.index)
        else:
            key = (rng_stream(shard.split), spec.fingerprint, shard.first_row // rows_per_chunk(spec, shard.split))
        groups.setdefault(key, []).append(shard)
    return [tuple(unit) for unit in groups.values()]


def _matrix_shard(spec: DatasetSpec, shard: Shard, storage: Storage) -> ShardRecord:
    rejected: Counter[str] = Counter()
    with storage.write(_file(shard)) as file:
        hashing = HashingFile(file)
        rows = _matrix_format(spec).write(hashing, _chunks(spec, shard, rejected), spec.to_json(), version("mathpipe"))
    return _record(spec, shard, hashing, rows, rejected)


def _chunks(spec: DatasetSpec, shard: Shard, rejected: Counter[str]) -> Iterator[MatrixExamples]:
    end = shard.first_row + shard.rows
    for first in range(shard.first_row, end, spec.chunk_rows):
        chunk = build_chunk(spec, shard.split, first // spec.chunk_rows)
        rejected.update(chunk.rejected)
        rows = min(spec.chunk_rows, end - first)
        yield chunk.rows if rows == spec.chunk_rows else chunk.rows.take(np.arange(rows))


@dataclass
class _OpenShard:
    """A sequence shard under construction, filled from chunks ``first`` to ``end`` - 1."""

    shard: Shard
    rows_per_chunk: int
    hashing: HashingFile
    writer: TokenShardWriter
    rejected: Counter[str] = field(default_factory=Counter)
    repeats: int = 0

    @property
    def first(self) -> int:
        return self.shard.first_row // self.rows_per_chunk

    @property
    def end(self) -> int:
        return -(-(self.shard.first_row + self.shard.rows) // self.rows_per_chunk)

    def add(self, chunk: SplitChunk) -> None:
        chunk = chunk.head(min(self.rows_per_chunk, self.shard.rows - self.writer.rows))
        self.writer.add(chunk.rows)
        self.rejected.update(chunk.rejected)
        self.repeats += count_repeats(chunk.rows)


def _sequence_shards(spec: DatasetSpec, shards: Sequence[Shard], storage: Storage) -> list[ShardRecord]:
    """Write the shards of several splits of one RNG stream together, one chunk at a time."""
    with contextlib.ExitStack() as files:
        open_shards = []
        for shard in shards:
            hashing = HashingFile(files.enter_context(storage.write(_file(shard))))
            writer = _sequence_format(spec).writer(hashing, spec.to_json(), version("mathpipe"))
            open_shards.append(
                _OpenShard(shard, rows_per_chunk(spec, shard.split), hashing, files.enter_context(writer))
            )
        for chunk in range(min(o.first for o in open_shards), max(o.end for o in open_shards)):
            active = {o.shard.split: o for o in open_shards if o.first <= chunk < o.end}
            if not active:
                continue
            for split, split_chunk in build_sequence_chunk(spec, chunk, list(active)).items():
                active[split].add(split_chunk)
    return [_record(spec, o.shard, o.hashing, o.writer.rows, o.rejected, o.repeats) for o in open_shards]


def _file(shard: Shard) -> str:
    return shard_file(shard.split, shard.index)


def _record(
    spec: DatasetSpec,
    shard: Shard,
    hashing: HashingFile,
    rows: int,
    rejected: Counter[str],
    repeats: int | None = None,
) -> ShardRecord:
    return ShardRecord(
        split=shard.split,
        shard=shard.index,
        first_row=shard.first_row,
        rows=rows,
        bytes=hashing.bytes,
        sha256=hashing.sha256,
        fingerprint=spec.fingerprint,
        rejected=dict(sorted(rejected.items())),
        repeats=repeats,
    )
