"""Read a dataset: its manifest, its examples in order, and batches of tokens in any number encoding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mathpipe.datasets.containers.token_batches import Batch, TokenizedExamples
from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.datasets.format.example_formats import ExampleFormat
from mathpipe.datasets.format.examples import Examples
from mathpipe.datasets.format.manifest import Manifest, ShardRecord, Split, read_manifest
from mathpipe.datasets.loader import BatchStream
from mathpipe.datasets.problem_types.problem_type import ProblemType
from mathpipe.datasets.problem_types.type_registry import problem_type_of
from mathpipe.datasets.shard_reader import ShardReader
from mathpipe.datasets.tokenizers.tokenizer import END, PAD, Tokenizer

if TYPE_CHECKING:
    import torch


def open_dataset(
    directory: str | Path,
    split: str = "train",
    input_encoding: str | None = None,
    output_encoding: str | None = None,
    precision: int = 2,
) -> Dataset:
    """Open one split of a complete dataset: a directory or any fsspec URL.

    The encodings name the tokens of numbers: P10 by default for matrices, to which ``precision`` applies; for integers
    ``symbol`` if their stated range is small, else ``base1000``. Expressions and sequences have one fixed vocabulary. Raises
    UserError if the dataset is incomplete, has no such split, or the encoding is unknown.
    """
    manifest = read_manifest(str(directory))
    if split not in manifest.splits:
        raise UserError(
            f"{directory} has no split {split!r}",
            expected=f"one of {', '.join(manifest.splits)}",
            got=repr(split),
            next_step=did_you_mean(split, manifest.splits),
        )
    spec = manifest.spec_of(split)
    tokenizers = problem_type_of(spec).tokenizers(spec, input_encoding, output_encoding, precision)
    return Dataset(str(directory), split, manifest, *tokenizers)


@dataclass(frozen=True)
class Dataset:
    """One split of a dataset: examples in order (``chunks``), or shuffled batches of tokens (``batches``)."""

    directory: str
    split: str
    manifest: Manifest
    source: Tokenizer
    target: Tokenizer

    @property
    def task(self) -> str:
        return self.manifest.task

    @property
    def problem_type(self) -> ProblemType:
        """What problems and solutions are."""
        return problem_type_of(self.spec)

    @cached_property
    def format(self) -> ExampleFormat:
        """How examples are stored in the shards of this split."""
        return self.problem_type.example_format(self.spec)

    @property
    def spec(self) -> dict[str, Any]:
        """The spec of this split."""
        return self.manifest.spec_of(self.split)

    @property
    def digest(self) -> str:
        """Changes when any example of this split changes; does not depend on other splits."""
        return self.manifest.split_digest(self.split)

    @property
    def shards(self) -> Split:
        return self.manifest.splits[self.split]

    def __len__(self) -> int:
        return self.shards.rows

    @cached_property
    def row_groups(self) -> list[tuple[ShardRecord, int, int]]:
        """All row groups in order: (shard record, index within the shard, number of rows)."""
        return [
            (record, k, num_rows)
            for record in self.shards.shards
            for k, num_rows in enumerate(self.format.row_group_sizes(record.rows))
        ]

    def chunks(self, size: int = 10_000, start: int = 0, stop: int | None = None) -> Iterator[Examples]:
        """Yield examples [start, stop) in order, at most ``size`` at a time; memory holds one row group."""
        stop = len(self) if stop is None else min(stop, len(self))
        first = 0
        with ShardReader(self) as reader:
            for position, (_, _, count) in enumerate(self.row_groups):
                low, high = max(start - first, 0), min(stop - first, count)
                first += count
                if low < high:
                    examples = reader.read(position)
                    for offset in range(low, high, size):
                        yield examples.take(np.arange(offset, min(offset + size, high)))

    def encode(self, examples: Examples) -> TokenizedExamples:
        """Tokenize problems and solutions; UserError for a value that the number encoding cannot represent."""
        source, source_lengths = self.source.encode(examples.problems)
        target, target_lengths = self.target.encode(examples.solutions)
        target = np.pad(target, ((0, 0), (0, 1)), constant_values=PAD)
        target[np.arange(len(target)), target_lengths] = END
        return TokenizedExamples(source, source_lengths, target, target_lengths + 1, examples.row)

    def batch(self, examples: Examples, device: str | torch.device = "cpu") -> Batch:
        """These examples as one batch of tensors."""
        return self.encode(examples).batch(np.arange(len(examples)), device)

    def batches(
        self,
        size: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world_size: int = 1,
        window: int | None = None,
    ) -> BatchStream:
        """An endless shuffled stream of batches, see ``mathpipe.datasets.loader.BatchStream``."""
        return BatchStream(self, size=size, seed=seed, device=device, rank=rank, world_size=world_size, window=window)
