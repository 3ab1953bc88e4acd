"""Building shards: whole blocks, checked as they were made, written under a temporary name, then recorded.

A unit of work is one shard of a matrix task; of a sequence task, the shards of all splits that the same run of blocks serves.
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
from mathpipe.generate.build.matrix_chunks import build_block
from mathpipe.generate.build.sequence_chunks import SplitBlock, build_sequence_block, repeats, rows_a_block, stream_of
from mathpipe.generate.layout import Shard
from mathpipe.generate.spec import BitLaw, ImportedLaw, Law, MatrixLaw
from mathpipe.generate.tasks.registry import matrix_task, sequence_task


@dataclass(frozen=True)
class Built:
    """A finished shard's record and what it took: wall and CPU seconds (these never enter the dataset)."""

    record: Record
    seconds: float
    cpu_seconds: float


def build_shard(law: Law, shard: Shard, url: str) -> Built:
    """Write one shard of a dataset and its record. Equal arguments write equal bytes, whoever runs this, as often as needed.

    A shard begins at a whole block; a last block is computed whole, then cut.
    """
    (built,) = build_unit({shard.split: law}, [shard], url)
    return built


def build_unit(laws: Mapping[str, Law], shards: Sequence[Shard], url: str) -> list[Built]:
    """Write the shards of one unit of work and their records, computing each block once."""
    wall, cpu = time.perf_counter(), time.process_time()
    law, storage = laws[shards[0].split], Storage(url)
    if isinstance(law.operands, MatrixLaw):
        records = [_matrix_shard(laws[shard.split], shard, storage) for shard in shards]
    else:
        records = _sequence_shards(law, shards, storage)
    for record in records:
        record.write(storage)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    rows = sum(record.rows for record in records)
    return [Built(record, seconds * record.rows / rows, cpu_seconds * record.rows / rows) for record in records]


def format_of(law: Law) -> MatrixFormat | WordsFormat:
    """How the rows of this law lie in a shard."""
    if isinstance(law.operands, MatrixLaw):
        return _matrix_format(law)
    return _words_format(law)


def _words_format(law: Law) -> WordsFormat:
    words = BIT_WORDS if isinstance(law.operands, BitLaw) else WORDS
    return WordsFormat({} if isinstance(law.operands, ImportedLaw) else sequence_task(law.task).columns, words)


def _matrix_format(law: Law) -> MatrixFormat:
    drawn, lettered = law.matrices, matrix_task(law.task).lettered
    mixed = len(drawn.spectrum) > 1 and not lettered
    return MatrixFormat(law.block_rows, drawn.exact_operands, drawn.noise > 0, lettered, mixed)


def units(laws: Mapping[str, Law], shards: Sequence[Shard]) -> list[tuple[Shard, ...]]:
    """The shards that are built together: of a sequence task those of one run of blocks, else each alone."""
    found: dict[tuple[object, ...], list[Shard]] = {}
    for shard in shards:
        law = laws[shard.split]
        if isinstance(law.operands, MatrixLaw):
            key: tuple[object, ...] = (shard.split, shard.index)
        else:
            key = (stream_of(shard.split), law.digest, shard.first_row // rows_a_block(law, shard.split))
        found.setdefault(key, []).append(shard)
    return [tuple(unit) for unit in found.values()]


def _matrix_shard(law: Law, shard: Shard, storage: Storage) -> Record:
    rejected: Counter[str] = Counter()
    with storage.write(_file(shard)) as file:
        hashing = HashingFile(file)
        rows = _matrix_format(law).write(hashing, _blocks(law, shard, rejected), law.to_json(), version("mathpipe"))
    return _record(law, shard, hashing, rows, rejected)


def _blocks(law: Law, shard: Shard, rejected: Counter[str]) -> Iterator[Rows]:
    end = shard.first_row + shard.rows
    for first in range(shard.first_row, end, law.block_rows):
        block = build_block(law, shard.split, first // law.block_rows)
        rejected.update(block.rejected)
        rows = min(law.block_rows, end - first)
        yield block.rows if rows == law.block_rows else block.rows.take(np.arange(rows))


@dataclass
class _Open:
    """A shard of sequences that is being filled from blocks ``first`` to ``end`` - 1."""

    shard: Shard
    a_block: int
    hashing: HashingFile
    writer: WordsFile
    rejected: Counter[str] = field(default_factory=Counter)
    repeats: int = 0

    @property
    def first(self) -> int:
        return self.shard.first_row // self.a_block

    @property
    def end(self) -> int:
        return -(-(self.shard.first_row + self.shard.rows) // self.a_block)

    def add(self, block: SplitBlock) -> None:
        block = block.cut(min(self.a_block, self.shard.rows - self.writer.rows))
        self.writer.add(block.rows)
        self.rejected.update(block.rejected)
        self.repeats += repeats(block.rows)


def _sequence_shards(law: Law, shards: Sequence[Shard], storage: Storage) -> list[Record]:
    """The shards of several splits of one stream, written side by side while the blocks go by."""
    with contextlib.ExitStack() as files:
        opened = []
        for shard in shards:
            hashing = HashingFile(files.enter_context(storage.write(_file(shard))))
            writer = _words_format(law).writer(hashing, law.to_json(), version("mathpipe"))
            opened.append(_Open(shard, rows_a_block(law, shard.split), hashing, files.enter_context(writer)))
        for block in range(min(o.first for o in opened), max(o.end for o in opened)):
            served = {o.shard.split: o for o in opened if o.first <= block < o.end}
            if not served:
                continue
            for split, built in build_sequence_block(law, block, list(served)).items():
                served[split].add(built)
    return [_record(law, o.shard, o.hashing, o.writer.rows, o.rejected, o.repeats) for o in opened]


def _file(shard: Shard) -> str:
    return shard_file(shard.split, shard.index)


def _record(
    law: Law, shard: Shard, hashing: HashingFile, rows: int, rejected: Counter[str], repeated: int | None = None
) -> Record:
    return Record(
        split=shard.split,
        shard=shard.index,
        first_row=shard.first_row,
        rows=rows,
        bytes=hashing.bytes,
        sha256=hashing.sha256,
        law_digest=law.digest,
        rejected=dict(sorted(rejected.items())),
        repeats=repeated,
    )
