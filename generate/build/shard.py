"""Building shards: whole chunks, checked as they were made, written under a temporary name, then recorded.

A unit of work is one shard of a matrix task; of a sequence task, the shards of all splits that the same run of chunks serves.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np

from mathpipe.datasets.expressions.vocabulary import WORDS
from mathpipe.datasets.format.example_formats import MatrixFormat, WordsFile, WordsFormat
from mathpipe.datasets.format.manifest import Record, shard_file
from mathpipe.datasets.format.matrix_columns import Rows
from mathpipe.datasets.io.storage import HashingFile, Storage
from mathpipe.datasets.tokenizers.bit_tokenizer import BIT_WORDS
from mathpipe.generate.build.matrix_chunks import build_chunk
from mathpipe.generate.build.sequence_chunks import SplitChunk, build_sequence_chunk, repeats, rows_per_chunk, stream_of
from mathpipe.generate.layout import Shard
from mathpipe.generate.spec import BitSpec, DatasetSpec, ImportedSpec, MatrixSpec
from mathpipe.generate.tasks.registry import matrix_task, sequence_task


@dataclass(frozen=True)
class Built:
    """A finished shard's record and what it took: wall and CPU seconds (these never enter the dataset)."""

    record: Record
    seconds: float
    cpu_seconds: float


def build_shard(spec: DatasetSpec, shard: Shard, url: str) -> Built:
    """Write one shard of a dataset and its record. Equal arguments write equal bytes, whoever runs this, as often as needed.

    A shard begins at a whole chunk; a last chunk is computed whole, then cut.
    """
    (built,) = build_unit({shard.split: spec}, [shard], url)
    return built


def build_unit(specs: Mapping[str, DatasetSpec], shards: Sequence[Shard], url: str) -> list[Built]:
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
    return [Built(record, seconds * record.rows / rows, cpu_seconds * record.rows / rows) for record in records]


def format_of(spec: DatasetSpec) -> MatrixFormat | WordsFormat:
    """How the rows of this spec lie in a shard."""
    if isinstance(spec.problems, MatrixSpec):
        return _matrix_format(spec)
    return _words_format(spec)


def _words_format(spec: DatasetSpec) -> WordsFormat:
    words = BIT_WORDS if isinstance(spec.problems, BitSpec) else WORDS
    return WordsFormat({} if isinstance(spec.problems, ImportedSpec) else sequence_task(spec.task).columns, words)


def _matrix_format(spec: DatasetSpec) -> MatrixFormat:
    drawn, has_task_tokens = spec.matrices, matrix_task(spec.task).has_task_tokens
    mixed = len(drawn.spectrum) > 1 and not has_task_tokens
    return MatrixFormat(spec.chunk_rows, drawn.round_problems, drawn.noise > 0, has_task_tokens, mixed)


def units(specs: Mapping[str, DatasetSpec], shards: Sequence[Shard]) -> list[tuple[Shard, ...]]:
    """The shards that are built together: of a sequence task those of one run of chunks, else each alone."""
    found: dict[tuple[object, ...], list[Shard]] = {}
    for shard in shards:
        spec = specs[shard.split]
        if isinstance(spec.problems, MatrixSpec):
            key: tuple[object, ...] = (shard.split, shard.index)
        else:
            key = (stream_of(shard.split), spec.fingerprint, shard.first_row // rows_per_chunk(spec, shard.split))
        found.setdefault(key, []).append(shard)
    return [tuple(unit) for unit in found.values()]


def _matrix_shard(spec: DatasetSpec, shard: Shard, storage: Storage) -> Record:
    rejected: Counter[str] = Counter()
    with storage.write(_file(shard)) as file:
        hashing = HashingFile(file)
        rows = _matrix_format(spec).write(hashing, _chunks(spec, shard, rejected), spec.to_json(), version("mathpipe"))
    return _record(spec, shard, hashing, rows, rejected)


def _chunks(spec: DatasetSpec, shard: Shard, rejected: Counter[str]) -> Iterator[Rows]:
    end = shard.first_row + shard.rows
    for first in range(shard.first_row, end, spec.chunk_rows):
        chunk = build_chunk(spec, shard.split, first // spec.chunk_rows)
        rejected.update(chunk.rejected)
        rows = min(spec.chunk_rows, end - first)
        yield chunk.rows if rows == spec.chunk_rows else chunk.rows.take(np.arange(rows))


@dataclass
class _Open:
    """A shard of sequences that is being filled from chunks ``first`` to ``end`` - 1."""

    shard: Shard
    rows_per_chunk: int
    hashing: HashingFile
    writer: WordsFile
    rejected: Counter[str] = field(default_factory=Counter)
    repeats: int = 0

    @property
    def first(self) -> int:
        return self.shard.first_row // self.rows_per_chunk

    @property
    def end(self) -> int:
        return -(-(self.shard.first_row + self.shard.rows) // self.rows_per_chunk)

    def add(self, chunk: SplitChunk) -> None:
        chunk = chunk.cut(min(self.rows_per_chunk, self.shard.rows - self.writer.rows))
        self.writer.add(chunk.rows)
        self.rejected.update(chunk.rejected)
        self.repeats += repeats(chunk.rows)


def _sequence_shards(spec: DatasetSpec, shards: Sequence[Shard], storage: Storage) -> list[Record]:
    """The shards of several splits of one stream, written side by side while the chunks go by."""
    with contextlib.ExitStack() as files:
        opened = []
        for shard in shards:
            hashing = HashingFile(files.enter_context(storage.write(_file(shard))))
            writer = _words_format(spec).writer(hashing, spec.to_json(), version("mathpipe"))
            opened.append(_Open(shard, rows_per_chunk(spec, shard.split), hashing, files.enter_context(writer)))
        for chunk in range(min(o.first for o in opened), max(o.end for o in opened)):
            served = {o.shard.split: o for o in opened if o.first <= chunk < o.end}
            if not served:
                continue
            for split, built in build_sequence_chunk(spec, chunk, list(served)).items():
                served[split].add(built)
    return [_record(spec, o.shard, o.hashing, o.writer.rows, o.rejected, o.repeats) for o in opened]


def _file(shard: Shard) -> str:
    return shard_file(shard.split, shard.index)


def _record(
    spec: DatasetSpec,
    shard: Shard,
    hashing: HashingFile,
    rows: int,
    rejected: Counter[str],
    repeated: int | None = None,
) -> Record:
    return Record(
        split=shard.split,
        shard=shard.index,
        first_row=shard.first_row,
        rows=rows,
        bytes=hashing.bytes,
        sha256=hashing.sha256,
        fingerprint=spec.fingerprint,
        rejected=dict(sorted(rejected.items())),
        repeats=repeated,
    )
