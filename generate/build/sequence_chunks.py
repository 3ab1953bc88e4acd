"""A chunk of a sequence task: drawn once, and each accepted pair goes to the split that its written problem's hash names.

Pairs are dear, so that none is thrown away for belonging to another split. Chunk b gives ``chunk_rows`` rows of train and a
fourteenth as many of valid and of test (their shares of the hash space are 14 to 1), always the first accepted ones in the
order of drawing: which rows a split gets depends neither on which other splits are asked for nor on how the task groups its
pairs. An extra test split has a spec of its own, hence a stream of its own, of which it takes what the hash gives to test.
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
from mathpipe.datasets.format.sequence_columns import SequenceRows
from mathpipe.generate.sampling.rng_streams import chunk_generator
from mathpipe.generate.spec import DatasetSpec, ImportedSpec, MatrixSpec
from mathpipe.generate.splits import TEST, TRAIN, VALID, in_split, sequence_hash, share
from mathpipe.generate.tasks.registry import SequenceTask, sequence_task
from mathpipe.generate.tasks.sequence_base import Mask, Pairs

STREAM = "stream"
BARREN_BATCHES = (
    200  # this many batches in a row without a pair, or pairs without one to keep: the spec cannot fill a chunk
)
BARREN_PAIRS = 2_000  # a split owns a sixteenth at least: it misses that many by chance once in e^129


def stream_of(split: str) -> str:
    """The stream a split is cut from: train, valid and test share one."""
    return STREAM if split in (TRAIN, VALID, TEST) else split


def rows_per_chunk(spec: DatasetSpec, split: str) -> int:
    """How many rows of a split one chunk gives."""
    if isinstance(spec.problems, MatrixSpec | ImportedSpec):
        return spec.chunk_rows
    return math.ceil(spec.chunk_rows * share(split) / share(TRAIN))


@dataclass(frozen=True)
class SplitChunk:
    """A chunk's rows of one split, and how many draws were given up until it had them all, by reason."""

    rows: SequenceRows
    rejected: dict[str, int]

    def cut(self, rows: int) -> SplitChunk:
        """The first so many of them."""
        return self if rows == len(self.rows) else SplitChunk(self.rows.take(np.arange(rows)), self.rejected)


def repeats(rows: SequenceRows) -> int:
    """How many rows have a problem that stands before among these."""
    return len(rows) - len(np.unique(sequence_hash(rows.problems)))


@dataclass
class _Filling:
    """One split of a chunk that is being filled."""

    missing: int
    parts: list[SequenceRows] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, rows: SequenceRows, mine: Mask) -> int:
        """Keep the first of those marked that are still missing; returns how many."""
        index = np.flatnonzero(mine)[: self.missing]
        if len(index):
            self.parts.append(rows.take(index))
            self.missing -= len(index)
        return len(index)


def build_sequence_chunk(spec: DatasetSpec, chunk: int, splits: Sequence[str]) -> dict[str, SplitChunk]:
    """Chunk ``chunk`` of one stream for these splits (all of train, valid and test, or one extra test split).

    What is counted as rejected for a split, too, depends on the spec, the split and the chunk alone: all splits of the stream
    take part until they are full, and drawing ends when those asked for are.
    """
    task = sequence_task(spec.task)
    stream = stream_of(splits[0])
    taking_part = (TRAIN, VALID, TEST) if stream == STREAM else (stream,)
    filling = {split: _Filling(rows_per_chunk(spec, split)) for split in taking_part}

    def wanted(problems: Sequences) -> Mask:
        return _wanted(sequence_hash(problems), filling)

    def generator(draw: int) -> np.random.Generator:
        return chunk_generator(spec.fingerprint, stream, chunk, draw)

    barren_batches = barren_pairs = 0
    for pairs in task.pairs(spec.sequences, generator, wanted):
        rows, hashes = _as_rows(task, pairs), sequence_hash(pairs.problems)
        kept = 0
        for split, part in filling.items():
            if part.missing:
                part.rejected.update(pairs.rejected)
                kept += part.add(rows, in_split(hashes, split))
        if not any(filling[split].missing for split in splits):
            break
        barren_batches = 0 if len(pairs) else barren_batches + 1
        barren_pairs = 0 if kept else barren_pairs + len(pairs)
        if barren_batches >= BARREN_BATCHES or barren_pairs >= BARREN_PAIRS:
            raise _barren(spec, chunk, filling, splits)
    else:
        raise _barren(spec, chunk, filling, splits)
    return {
        split: SplitChunk(
            SequenceRows.concatenate(filling[split].parts).numbered(chunk * rows_per_chunk(spec, split)),
            dict(+filling[split].rejected),
        )
        for split in splits
    }


def _wanted(hashes: NDArray[np.uint64], filling: dict[str, _Filling]) -> Mask:
    """Which of the problems belong to a split that is not full."""
    found = np.zeros(len(hashes), dtype=np.bool_)
    for split, part in filling.items():
        if part.missing:
            found |= in_split(hashes, split)
    return found


def _as_rows(task: SequenceTask, pairs: Pairs) -> SequenceRows:
    if pairs.columns.keys() != task.columns.keys():
        raise ValueError(f"{task.name} declares columns {list(task.columns)} and gives {list(pairs.columns)}")
    columns = {name: pairs.columns[name].astype(kind) for name, kind in task.columns.items()}
    return SequenceRows(np.zeros(len(pairs), dtype=np.int64), pairs.problems, pairs.solutions, columns)


def _barren(spec: DatasetSpec, chunk: int, filling: dict[str, _Filling], splits: Sequence[str]) -> UserError:
    missing = {split: filling[split].missing for split in splits if filling[split].missing}
    rejected: Counter[str] = max((filling[split].rejected for split in missing), key=Counter.total)
    return UserError(
        f"{spec.task}: chunk {chunk} cannot be filled",
        expected="a spec many of whose draws become pairs, in every split",
        got=f"{', '.join(f'{rows:,} rows of {split} missing' for split, rows in missing.items())}; "
        f"rejected: {dict(rejected) or 'none'}",
        cause="the spec draws too few different problems, or asks for what is hardly ever found",
        next_step="draw from more operators or larger integers, or allow longer problems",
    )
