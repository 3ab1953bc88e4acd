"""Build shards: compute whole chunks, write them under a temporary name, rename, then write the record.

A unit of work is the shards of all splits that take their examples from the same chunks: one shard, unless the splits of the
task share an RNG stream.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from mathpipe.datasets.format.directory import shard_file
from mathpipe.datasets.format.manifest import ShardRecord
from mathpipe.datasets.format.shard_writer import ShardWriter
from mathpipe.datasets.io.storage import HashingFile, Storage
from mathpipe.generate.chunks.chunk_examples import ChunkExamples
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Shard
from mathpipe.generate.tasks.external.checked_chunks import build_chunk
from mathpipe.generate.tasks.task_registry import task_of


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
    storage = Storage(url)
    records = _write_shards(specs[shards[0].split], shards, storage)
    for record in records:
        record.write(storage)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    rows = sum(record.rows for record in records)
    return [ShardResult(record, seconds * record.rows / rows, cpu_seconds * record.rows / rows) for record in records]


def units(specs: Mapping[str, DatasetSpec], shards: Sequence[Shard]) -> list[tuple[Shard, ...]]:
    """Group shards into units of work: those of the same chunks of one RNG stream."""
    groups: dict[tuple[str, str, int], list[Shard]] = {}
    for shard in shards:
        spec = specs[shard.split]
        task = task_of(spec)
        first_chunk = shard.first_row // task.rows_per_chunk(spec, shard.split)
        groups.setdefault((task.rng_stream(shard.split), spec.fingerprint, first_chunk), []).append(shard)
    return [tuple(unit) for unit in groups.values()]


@dataclass
class _OpenShard:
    """A shard under construction, filled from chunks ``first`` to ``end`` - 1."""

    spec: DatasetSpec
    shard: Shard
    hashing: HashingFile
    writer: ShardWriter
    rejected: Counter[str] = field(default_factory=Counter)
    repeats: int | None = None

    def __post_init__(self) -> None:
        self.task = task_of(self.spec)
        self.rows_per_chunk = self.task.rows_per_chunk(self.spec, self.shard.split)

    @property
    def first(self) -> int:
        return self.shard.first_row // self.rows_per_chunk

    @property
    def end(self) -> int:
        return -(-(self.shard.first_row + self.shard.rows) // self.rows_per_chunk)

    def add(self, chunk: ChunkExamples) -> None:
        chunk = chunk.head(min(self.rows_per_chunk, self.shard.rows - self.writer.rows))
        self.writer.add(chunk.examples)
        self.rejected.update(chunk.rejected)
        repeats = self.task.count_repeats(chunk.examples)
        if repeats is not None:
            self.repeats = (self.repeats or 0) + repeats

    def record(self) -> ShardRecord:
        return ShardRecord(
            split=self.shard.split,
            shard=self.shard.index,
            first_row=self.shard.first_row,
            rows=self.writer.rows,
            bytes=self.hashing.bytes,
            sha256=self.hashing.sha256,
            fingerprint=self.spec.fingerprint,
            rejected=dict(sorted(self.rejected.items())),
            repeats=self.repeats,
            evidence=self.task.known_evidence(self.spec, self.writer.rows),
        )


def _write_shards(spec: DatasetSpec, shards: Sequence[Shard], storage: Storage) -> list[ShardRecord]:
    """Write the shards of one unit together, one chunk at a time."""
    task = task_of(spec)
    with contextlib.ExitStack() as files:
        open_shards = []
        for shard in shards:
            hashing = HashingFile(files.enter_context(storage.write(shard_file(shard.split, shard.index))))
            writer = task.example_format(spec).writer(hashing, spec.to_json(), version("mathpipe"))
            open_shards.append(_OpenShard(spec, shard, hashing, files.enter_context(writer)))
        for chunk in range(min(o.first for o in open_shards), max(o.end for o in open_shards)):
            active = {o.shard.split: o for o in open_shards if o.first <= chunk < o.end}
            if not active:
                continue
            for split, chunk_examples in build_chunk(task, spec, chunk, list(active)).items():
                active[split].add(chunk_examples)
    return [o.record() for o in open_shards]
