"""Shuffled, prefetched batches from memory-mapped shards, with a position that can be saved and restored.

Row groups are permuted by (seed, epoch) and split into disjoint windows of W groups. The examples of a window are permuted and
batched within the window, bucketed by length if lengths vary. The global sequence of batches depends only on (dataset, seed,
batch size, W), not on threads or the number of ranks. The position is (epoch, window, batch).
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mathpipe.datasets.containers.array_types import Ints
from mathpipe.datasets.containers.token_batches import Batch, TokenizedExamples
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.shard_reader import ShardReader
from mathpipe.datasets.tokenizers.tokenizer import PAD

if TYPE_CHECKING:
    import torch
from typing import Protocol

from mathpipe.datasets.format.examples import Examples
from mathpipe.datasets.shard_reader import StoredSplit

PREFETCHED_WINDOWS = 1
_WINDOW_GROUPS = 8
_WINDOW_BYTES = 128 << 20  # of Parquet: a window of 20x20 matrices takes about twice as many bytes of tokens
_BUCKETING_POOL = 50  # batches sorted by length together; small pools keep lengths mixed over time


class TokenizedSplit(StoredSplit, Protocol):
    """The split interface that ``BatchStream`` needs; ``mathpipe.datasets.dataset.Dataset`` implements it."""

    @property
    def split(self) -> str: ...
    @property
    def digest(self) -> str: ...
    def __len__(self) -> int: ...
    def encode(self, examples: Examples) -> TokenizedExamples: ...


@dataclass(frozen=True)
class Window:
    """One tokenized window, and its batches as positions within it."""

    epoch: int
    index: int
    examples: TokenizedExamples
    batches: list[Ints]


class BatchStream:
    """An endless iterator of ``Batch``: this rank's share of each global batch of ``size`` examples.

    A background thread reads and tokenizes the next window; memory is bounded by two windows. ``window``: row groups of a window,
    by default as ``window_groups``. ``state_dict`` is the position after the last returned batch; a stream with the same arguments
    that loads it continues exactly there.
    """

    def __init__(
        self,
        dataset: TokenizedSplit,
        *,
        size: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world_size: int = 1,
        window: int | None = None,
    ) -> None:
        window = window_groups(dataset) if window is None else window
        if size < 1 or not 0 <= rank < world_size or window < 1:
            raise UserError(
                "invalid arguments for a batch stream",
                expected="size >= 1, window >= 1, 0 <= rank < world_size",
                got=f"size {size}, window {window}, rank {rank}, world_size {world_size}",
            )
        if len(dataset) < size:
            raise UserError(
                f"{dataset.directory}: split {dataset.split} is smaller than one batch",
                expected=f"at least {size:,} examples",
                got=f"{len(dataset):,}",
                next_step="generate more examples, or train with a smaller batch",
            )
        self.dataset, self.size, self.seed, self.device = dataset, size, seed, device
        self.rank, self.world_size, self.window_groups = rank, world_size, window
        self._epoch = self._window = self._batch = 0
        self._prefetched: Iterator[Window] | None = None
        self._current: Window | None = None

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def examples_per_epoch(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> BatchStream:
        return self

    def __next__(self) -> Batch:
        while self._current is None or self._batch >= len(self._current.batches):
            self._advance()
        positions = self._current.batches[self._batch]
        self._batch += 1
        return self._current.examples.batch(positions[self.rank :: self.world_size], self.device)

    def _advance(self) -> None:
        """Take the next window from the background thread; start the thread at the current position if it is not running."""
        if self._prefetched is None:
            self._prefetched = _prefetch(_windows(self, self._epoch, self._window))
        else:
            self._batch = 0
        self._current = next(self._prefetched)
        self._epoch, self._window = self._current.epoch, self._current.index

    def state_dict(self) -> dict[str, int | str]:
        """The position, and the arguments and dataset it belongs to."""
        return {
            "epoch": self._epoch,
            "window": self._window,
            "batch": self._batch,
            "seed": self.seed,
            "size": self.size,
            "window_groups": self.window_groups,
            "digest": self.dataset.digest,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the batch at which ``state`` was taken; UserError if it belongs to a different stream."""
        current = self.state_dict()
        for key in ("seed", "size", "window_groups", "digest"):
            if state[key] != current[key]:
                raise UserError(
                    f"the saved position belongs to a different stream of batches: {key} differs",
                    expected=current[key],
                    got=state[key],
                )
        self.close()
        self._epoch, self._window, self._batch = (int(state[k]) for k in ("epoch", "window", "batch"))

    def close(self) -> None:
        """Stop the background thread. The position is kept; the next batch restarts the thread."""
        if self._prefetched is not None:
            self._prefetched.close()  # type: ignore[attr-defined]
        self._prefetched = self._current = None

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


def window_groups(dataset: StoredSplit) -> int:
    """Row groups of a window by default: 8, or fewer of large examples, so that a window has a bounded size.

    It follows from the dataset, never from the memory of this machine: the order of batches depends on it.
    """
    groups = dataset.row_groups
    records = {record.shard: record for record, _, _ in groups}.values()
    stored_bytes, rows = sum(record.bytes for record in records), sum(record.rows for record in records)
    largest = max((num_rows for _, _, num_rows in groups), default=0) * stored_bytes / max(rows, 1)
    return max(1, min(_WINDOW_GROUPS, int(_WINDOW_BYTES / largest) if largest else _WINDOW_GROUPS))


def plan_epoch(num_groups: int, window: int, seed: int, epoch: int) -> list[Ints]:
    """The row groups of each window of an epoch: a permutation of all, split into runs of ``window`` groups."""
    order = _generator(seed, epoch).permutation(num_groups)
    return [order[first : first + window] for first in range(0, num_groups, window)]


def plan_window(lengths: Ints, size: int, seed: int, epoch: int, window: int) -> list[Ints]:
    """Batches of a window as positions (k,) within it: examples are permuted, then batched by length within pools.

    The last batch holds the remainder, so that an epoch uses every example once.
    """
    rng = _generator(seed, epoch, window)
    order = rng.permutation(len(lengths))
    if not len(lengths) or lengths.min() == lengths.max():
        return [order[first : first + size] for first in range(0, len(order), size)]
    batches: list[Ints] = []
    for first in range(0, len(order), size * _BUCKETING_POOL):
        pool = order[first : first + size * _BUCKETING_POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[k : k + size] for k in range(0, len(pool), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _generator(*entropy: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def _windows(stream: BatchStream, epoch: int, window: int) -> Iterator[Window]:
    """Endless windows, starting at (epoch, window)."""
    dataset = stream.dataset
    with ShardReader(dataset) as reader:
        while True:
            plan = plan_epoch(len(dataset.row_groups), stream.window_groups, stream.seed, epoch)
            for index in range(window, len(plan)):
                examples = _concatenate([_compact(dataset.encode(reader.read(int(g)))) for g in np.sort(plan[index])])
                reader.release()
                lengths = examples.source_lengths + examples.target_lengths
                yield Window(epoch, index, examples, plan_window(lengths, stream.size, stream.seed, epoch, index))
            epoch, window = epoch + 1, 0


def _compact(examples: TokenizedExamples) -> TokenizedExamples:
    """Store tokens in the smallest integer type that holds them: a window is padded to its longest sequence."""
    source, target = (
        np.asarray(tokens, dtype=np.min_scalar_type(int(tokens.max(initial=0))))
        for tokens in (examples.source, examples.target)
    )
    return TokenizedExamples(source, examples.source_lengths, target, examples.target_lengths, examples.rows)


def _concatenate(parts: list[TokenizedExamples]) -> TokenizedExamples:
    def stack(arrays: list[Any]) -> Any:
        if arrays[0].ndim == 1:
            return np.concatenate(arrays)
        longest = max(a.shape[1] for a in arrays)
        return np.concatenate([np.pad(a, ((0, 0), (0, longest - a.shape[1])), constant_values=PAD) for a in arrays])

    names = ("source", "source_lengths", "target", "target_lengths", "rows")
    return TokenizedExamples(*(stack([getattr(part, name) for part in parts]) for name in names))


def _prefetch(windows: Iterator[Window]) -> Iterator[Window]:
    """Run an endless iterator in a daemon thread, ``PREFETCHED_WINDOWS`` ahead of the one in use.

    Errors of the thread are raised here; closing this generator ends the thread.
    """
    prefetched: queue.Queue[Window | BaseException] = queue.Queue()
    requested, stop = threading.Semaphore(PREFETCHED_WINDOWS), threading.Event()

    def fill() -> None:
        try:
            while requested.acquire() and not stop.is_set():
                prefetched.put(next(windows))
        except BaseException as error:
            prefetched.put(error)
        finally:
            windows.close()  # type: ignore[attr-defined]

    thread = threading.Thread(target=fill, name="mathpipe-loader", daemon=True)
    thread.start()
    try:
        while True:
            item = prefetched.get()
            if isinstance(item, BaseException):
                raise item
            requested.release()
            yield item
            del item  # nothing here keeps it in memory
    finally:
        stop.set()
        requested.release()
        thread.join(timeout=10)
