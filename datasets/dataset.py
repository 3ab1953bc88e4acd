"""Reading a dataset back: its manifest, its rows in order, and tokens in any encoding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mathpipe.datasets.errors import UserError, nearest
from mathpipe.datasets.format.example_formats import AnyRows, Kind, MatrixFormat, WordsFormat, kind_of, row_format
from mathpipe.datasets.format.manifest import Manifest, Record, Split, read_manifest
from mathpipe.datasets.tokenizers.bit_tokenizer import BitTokenizer
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD, MatrixTokenizer

if TYPE_CHECKING:
    import torch

from mathpipe.datasets.containers.token_batches import Batch, TokenRows
from mathpipe.datasets.loader import BatchStream
from mathpipe.datasets.shard_reader import ShardReader

Tokenizer = MatrixTokenizer | ExpressionTokenizer | BitTokenizer


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
    if kind_of(manifest.spec_of(split)) == "expressions":
        return Dataset(str(directory), split, manifest, ExpressionTokenizer(), ExpressionTokenizer())
    if kind_of(manifest.spec_of(split)) == "bits":
        bits = BitTokenizer.of_spec(manifest.spec_of(split))
        return Dataset(str(directory), split, manifest, bits, bits)
    has_task_tokens = manifest.task == "cotraining"
    names = (input_encoding, output_encoding)
    source, target = (MatrixTokenizer.named(name, precision, has_task_tokens=has_task_tokens) for name in names)
    return Dataset(str(directory), split, manifest, source, target)


@dataclass(frozen=True)
class Dataset:
    """One split of a dataset: rows in order (``chunks``), or shuffled batches of tokens (``batches``)."""

    directory: str
    split: str
    manifest: Manifest
    source: Tokenizer
    target: Tokenizer

    @property
    def task(self) -> str:
        return self.manifest.task

    @property
    def kind(self) -> Kind:
        """What problems and solutions are: matrices, expressions or bits."""
        return kind_of(self.spec)

    @cached_property
    def format(self) -> MatrixFormat | WordsFormat:
        """How rows lie in the shards of this split."""
        return row_format(self.spec)

    @property
    def spec(self) -> dict[str, Any]:
        """The spec of this split."""
        return self.manifest.spec_of(self.split)

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
        source, source_lengths = self.source.encode(rows.problems)  # type: ignore[arg-type]  # the tokenizer of this kind of rows
        target, target_lengths = self.target.encode(rows.solutions)  # type: ignore[arg-type]
        target = np.pad(target, ((0, 0), (0, 1)), constant_values=PAD)
        target[np.arange(len(target)), target_lengths] = END
        return TokenRows(source, source_lengths, target, target_lengths + 1, rows.row)

    def batch(self, rows: AnyRows, device: str | torch.device = "cpu") -> Batch:
        """These rows as one batch of tensors."""
        return self.encode(rows).batch(np.arange(len(rows)), device)

    @property
    def has_task_tokens(self) -> bool:
        """Whether problems are of several tasks, each begun with its letter (co-training)."""
        return self.task == "cotraining"

    @property
    def noisy(self) -> bool:
        """Whether the written problems carry noise and the clean ones are stored beside them."""
        return float(self.spec["problems"].get("noise", 0)) > 0

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
        return BatchStream(self, size=size, seed=seed, device=device, rank=rank, ranks=ranks, window=window)
