"""Building one shard: whole blocks, checked as they were made, written under a temporary name, then recorded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pyarrow as pa

from mathpipe.datasets.manifest import Record
from mathpipe.datasets.shards import Rows, shard_schema, write_shard
from mathpipe.datasets.storage import HashingFile, Storage
from mathpipe.generate.blocks import build_block
from mathpipe.generate.law import Law
from mathpipe.generate.layout import Shard
from mathpipe.generate.tasks import get_task


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
    wall, cpu = time.perf_counter(), time.process_time()
    storage = Storage(url)
    rejected: Counter[str] = Counter()
    name = f"{shard.split}/{shard.index:05d}"
    with storage.write(f"{name}.parquet") as file:
        hashing = HashingFile(file)
        rows = write_shard(hashing, _blocks(law, shard, rejected), law.to_json(), version("mathpipe"), schema_of(law))
    record = Record(
        split=shard.split,
        shard=shard.index,
        first_row=shard.first_row,
        rows=rows,
        bytes=hashing.bytes,
        sha256=hashing.sha256,
        law_digest=law.digest,
        rejected=dict(sorted(rejected.items())),
    )
    record.write(storage)
    return Built(record, time.perf_counter() - wall, time.process_time() - cpu)


def schema_of(law: Law) -> pa.Schema:
    """The columns of a shard of this law."""
    return shard_schema(noisy=law.operands.noise > 0, lettered=get_task(law.task).lettered)


def _blocks(law: Law, shard: Shard, rejected: Counter[str]) -> Iterator[Rows]:
    end = shard.first_row + shard.rows
    for first in range(shard.first_row, end, law.block_rows):
        block = build_block(law, shard.split, first // law.block_rows)
        rejected.update(block.rejected)
        rows = min(law.block_rows, end - first)
        yield block.rows if rows == law.block_rows else block.rows.take(np.arange(rows))
