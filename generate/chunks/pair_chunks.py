"""A chunk of a task that yields pairs: each accepted pair goes to the split given by the hash of its problem.

Pairs are expensive, so none is discarded because it belongs to another split. Chunk b has ``chunk_rows`` examples of train and a
fourteenth as many of valid and of test (their shares of the hash space are 14 to 1). A split takes the first accepted pairs in
sampling order, whichever other splits are requested and however the task batches its pairs. An extra test split has its own
spec, hence its own RNG stream, and takes the pairs whose hash belongs to test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.generate.chunks.acceptance import MIN_PAIR_SAMPLES, SMALLEST_PAIR_RATE, Acceptance
from mathpipe.generate.chunks.chunk_examples import ChunkExamples
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.sampling.rng_streams import chunk_generator
from mathpipe.generate.splits import in_split, sequence_hash

Mask = NDArray[np.bool_]
Columns = dict[str, NDArray[np.generic]]
Generators = Callable[[int], np.random.Generator]

MAX_EMPTY_BATCHES = 200  # after this many consecutive batches without a pair, the spec cannot fill a chunk
MAX_UNUSED_PAIRS = 2_000  # a split has at least 1/16 of all pairs: none among so many has probability e^-129


@dataclass(frozen=True)
class Pairs:
    """Accepted pairs in sampling order, and the number of rejected samples by reason.

    ``columns``: further declared columns of each pair, such as ``operators``.
    """

    problems: Sequences
    solutions: Sequences
    columns: Columns = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.problems)

    def take(self, selected: Mask) -> Pairs:
        """The pairs where the mask (n,) is True, with all rejections."""
        columns = {name: values[selected] for name, values in self.columns.items()}
        return Pairs(self.problems.take(selected), self.solutions.take(selected), columns, self.rejected)


PairSource = Callable[[Generators, Callable[[Sequences], Mask]], Iterator[Pairs]]


def count_repeats(examples: TokenExamples) -> int:
    """The number of examples whose problem occurs in an earlier one."""
    return len(examples) - len(np.unique(sequence_hash(examples.problems)))


@dataclass
class _SplitBuffer:
    """The accepted examples of one split while its chunk is filled."""

    size: int
    parts: list[TokenExamples] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def missing(self) -> int:
        return self.size - sum(map(len, self.parts))

    def add(self, examples: TokenExamples, in_this_split: Mask) -> int:
        """Add the first of the marked examples until the split is full; returns their number."""
        index = np.flatnonzero(in_this_split)[: self.missing]
        if len(index):
            self.parts.append(examples.take(index))
        return len(index)

    def examples(self, chunk: int) -> ChunkExamples:
        numbered = TokenExamples.concatenate(self.parts).renumber(chunk * self.size)
        return ChunkExamples(numbered, dict(+self.rejected))


@dataclass(frozen=True)
class PairChunks:
    """Fills the chunks of one stream.

    ``pairs(generator, wanted)`` yields the pairs of a chunk, see ``TokenTask.pairs``; ``columns``: the declared ones. ``sizes``:
    the number of examples a chunk gives to each split of the stream.
    """

    spec: DatasetSpec
    stream: str
    pairs: PairSource
    columns: Mapping[str, str]
    sizes: Mapping[str, int]

    def build(self, chunk: int, splits: Sequence[str]) -> dict[str, ChunkExamples]:
        """Chunk ``chunk`` for these splits.

        The rejection counts of a split, too, depend on the spec, the split and the chunk alone: all splits of the stream
        are filled, and sampling ends when the requested ones are full.
        """
        buffers = {split: _SplitBuffer(size) for split, size in self.sizes.items()}

        def wanted(problems: Sequences) -> Mask:
            return _wanted(sequence_hash(problems), buffers)

        def generator(batch: int) -> np.random.Generator:
            return chunk_generator(self.spec.fingerprint, self.stream, chunk, batch)

        empty_batches = unused_pairs = num_accepted = 0
        rejected = Counter[str]()
        for pairs in self.pairs(generator, wanted):
            num_used = self._route(pairs, buffers)
            num_accepted += len(pairs)
            rejected.update(pairs.rejected)
            if not any(buffers[split].missing for split in splits):
                break
            empty_batches = 0 if len(pairs) else empty_batches + 1
            unused_pairs = 0 if num_used else unused_pairs + len(pairs)
            acceptance = Acceptance(num_accepted, +rejected)
            too_few = acceptance.samples >= MIN_PAIR_SAMPLES and acceptance.rate < SMALLEST_PAIR_RATE
            if empty_batches >= MAX_EMPTY_BATCHES or unused_pairs >= MAX_UNUSED_PAIRS or too_few:
                raise _exhausted(self.spec, chunk, buffers, splits)
        else:
            raise _exhausted(self.spec, chunk, buffers, splits)
        return {split: buffers[split].examples(chunk) for split in splits}

    def _route(self, pairs: Pairs, buffers: dict[str, _SplitBuffer]) -> int:
        """Add each pair to the split that its hash names, unless that is full; returns the number of added pairs."""
        examples, hashes = self._as_examples(pairs), sequence_hash(pairs.problems)
        num_used = 0
        for split, buffer in buffers.items():
            if buffer.missing:
                buffer.rejected.update(pairs.rejected)
                num_used += buffer.add(examples, in_split(hashes, split))
        return num_used

    def _as_examples(self, pairs: Pairs) -> TokenExamples:
        if pairs.columns.keys() != self.columns.keys():
            raise ValueError(
                f"{self.spec.task} declares columns {list(self.columns)} but returns {list(pairs.columns)}"
            )
        columns = {name: pairs.columns[name].astype(dtype) for name, dtype in self.columns.items()}
        return TokenExamples(np.zeros(len(pairs), dtype=np.int64), pairs.problems, pairs.solutions, columns)


def _wanted(hashes: NDArray[np.uint64], buffers: dict[str, _SplitBuffer]) -> Mask:
    """Which of the problems belong to a split that is not full."""
    wanted = np.zeros(len(hashes), dtype=np.bool_)
    for split, buffer in buffers.items():
        if buffer.missing:
            wanted |= in_split(hashes, split)
    return wanted


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
