"""A chunk of a sequence task: sampled once, and each accepted pair goes to the split given by the hash of its problem.

Pairs are expensive, so none is discarded because it belongs to another split. Chunk b has ``chunk_rows`` rows of train and a
fourteenth as many of valid and of test (their shares of the hash space are 14 to 1). A split takes the first accepted pairs in
sampling order, whichever other splits are requested and however the task batches its pairs. An extra test split has its own
spec, hence its own RNG stream, and takes the pairs whose hash belongs to test.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.sequence_columns import SequenceExamples
from mathpipe.generate.sampling.rng_streams import chunk_generator
from mathpipe.generate.spec import DatasetSpec, ImportedSpec, MatrixSpec
from mathpipe.generate.splits import TEST, TRAIN, VALID, in_split, sequence_hash, share
from mathpipe.generate.tasks.registry import SequenceTask, sequence_task
from mathpipe.generate.tasks.sequence_base import Mask, Pairs

STREAM = "stream"
MAX_EMPTY_BATCHES = 200  # after this many consecutive batches without a pair, the spec cannot fill a chunk
MAX_UNUSED_PAIRS = 2_000  # a split has at least 1/16 of all pairs: none among so many has probability e^-129


def rng_stream(split: str) -> str:
    """The name of the RNG stream of a split: train, valid and test share one."""
    return STREAM if split in (TRAIN, VALID, TEST) else split


def rows_per_chunk(spec: DatasetSpec, split: str) -> int:
    """How many rows of a split one chunk gives."""
    if isinstance(spec.problems, MatrixSpec | ImportedSpec):
        return spec.chunk_rows
    return math.ceil(spec.chunk_rows * share(split) / share(TRAIN))


@dataclass(frozen=True)
class SplitChunk:
    """A chunk's rows of one split, and the number of rejected samples by reason until the chunk was full."""

    rows: SequenceExamples
    rejected: dict[str, int]

    def head(self, rows: int) -> SplitChunk:
        """The first ``rows`` rows."""
        return self if rows == len(self.rows) else SplitChunk(self.rows.take(np.arange(rows)), self.rejected)


def count_repeats(rows: SequenceExamples) -> int:
    """The number of rows whose problem occurs in an earlier row."""
    return len(rows) - len(np.unique(sequence_hash(rows.problems)))


@dataclass
class _SplitBuffer:
    """The accepted rows of one split while its chunk is filled."""

    missing: int
    parts: list[SequenceExamples] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, rows: SequenceExamples, in_this_split: Mask) -> int:
        """Add the first of the marked rows until the split is full; returns their number."""
        index = np.flatnonzero(in_this_split)[: self.missing]
        if len(index):
            self.parts.append(rows.take(index))
            self.missing -= len(index)
        return len(index)


def build_sequence_chunk(spec: DatasetSpec, chunk: int, splits: Sequence[str]) -> dict[str, SplitChunk]:
    """Chunk ``chunk`` of one stream for these splits (all of train, valid and test, or one extra test split).

    The rejection counts of a split, too, depend on the spec, the split and the chunk alone: all splits of the stream are
    filled, and sampling ends when the requested ones are full.
    """
    task = sequence_task(spec.task)
    stream = rng_stream(splits[0])
    stream_splits = (TRAIN, VALID, TEST) if stream == STREAM else (stream,)
    buffers = {split: _SplitBuffer(rows_per_chunk(spec, split)) for split in stream_splits}

    def wanted(problems: Sequences) -> Mask:
        return _wanted(sequence_hash(problems), buffers)

    def generator(batch: int) -> np.random.Generator:
        return chunk_generator(spec.fingerprint, stream, chunk, batch)

    empty_batches = unused_pairs = 0
    for pairs in task.pairs(spec.sequences, generator, wanted):
        rows, hashes = _as_rows(task, pairs), sequence_hash(pairs.problems)
        num_used = 0
        for split, buffer in buffers.items():
            if buffer.missing:
                buffer.rejected.update(pairs.rejected)
                num_used += buffer.add(rows, in_split(hashes, split))
        if not any(buffers[split].missing for split in splits):
            break
        empty_batches = 0 if len(pairs) else empty_batches + 1
        unused_pairs = 0 if num_used else unused_pairs + len(pairs)
        if empty_batches >= MAX_EMPTY_BATCHES or unused_pairs >= MAX_UNUSED_PAIRS:
            raise _exhausted(spec, chunk, buffers, splits)
    else:
        raise _exhausted(spec, chunk, buffers, splits)
    return {
        split: SplitChunk(
            SequenceExamples.concatenate(buffers[split].parts).renumber(chunk * rows_per_chunk(spec, split)),
            dict(+buffers[split].rejected),
        )
        for split in splits
    }


def _wanted(hashes: NDArray[np.uint64], buffers: dict[str, _SplitBuffer]) -> Mask:
    """Which of the problems belong to a split that is not full."""
    wanted = np.zeros(len(hashes), dtype=np.bool_)
    for split, buffer in buffers.items():
        if buffer.missing:
            wanted |= in_split(hashes, split)
    return wanted


def _as_rows(task: SequenceTask, pairs: Pairs) -> SequenceExamples:
    if pairs.columns.keys() != task.columns.keys():
        raise ValueError(f"{task.name} declares columns {list(task.columns)} but returns {list(pairs.columns)}")
    columns = {name: pairs.columns[name].astype(dtype) for name, dtype in task.columns.items()}
    return SequenceExamples(np.zeros(len(pairs), dtype=np.int64), pairs.problems, pairs.solutions, columns)


def _exhausted(spec: DatasetSpec, chunk: int, buffers: dict[str, _SplitBuffer], splits: Sequence[str]) -> UserError:
    missing = {split: buffers[split].missing for split in splits if buffers[split].missing}
    rejected: Counter[str] = max((buffers[split].rejected for split in missing), key=Counter.total)
    return UserError(
        f"{spec.task}: chunk {chunk} cannot be filled",
        expected="a spec that yields enough pairs for every split",
        got=f"{', '.join(f'{rows:,} rows of {split} missing' for split, rows in missing.items())}; "
        f"rejected: {dict(rejected) or 'none'}",
        cause="the spec has too few distinct problems, or almost all samples are rejected",
        next_step="allow more operators, larger integers or longer problems",
    )
