"""Shuffled batches from memory-mapped shards, ahead of time, with a position that can be saved and restored.

Row groups are permuted by (seed, epoch) and cut into disjoint windows of W groups; the rows of a window are permuted, and
batches are cut within the window, by length where lengths vary. The global sequence of batches is a function of
(dataset, seed, batch size, W) alone: neither threads nor ranks change it. The position is (epoch, window, batch).
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.token_batches import Batch, TokenRows
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.shard_reader import ShardReader
from mathpipe.datasets.tokenizers.matrix_tokenizer import PAD

if TYPE_CHECKING:
    import torch
from typing import Protocol

from mathpipe.datasets.format.example_formats import AnyRows
from mathpipe.datasets.shard_reader import StoredSplit

AHEAD = 1  # windows decoded and encoded ahead of the one in use
_LENGTH_POOL = 50  # batches of one pool share their lengths, roughly; pools keep lengths mixed over time


class TokenizedSplit(StoredSplit, Protocol):
    """What a stream of batches asks of a split besides (``mathpipe.datasets.dataset.Dataset``)."""

    @property
    def split(self) -> str: ...
    @property
    def digest(self) -> str: ...
    def __len__(self) -> int: ...
    def encode(self, rows: AnyRows) -> TokenRows: ...


@dataclass(frozen=True)
class Window:
    """One window, encoded, and its batches as positions into it."""

    epoch: int
    index: int
    tokens: TokenRows
    batches: list[NDArray[np.int64]]


class BatchStream:
    """An endless iterator of ``Batch``: this rank's share of each global batch of ``size`` rows.

    A background thread decodes and encodes the next window; memory is bounded by two windows. ``state_dict`` is the position
    after the last batch handed out; a stream of the same arguments that loads it continues exactly there.
    """

    def __init__(
        self,
        dataset: TokenizedSplit,
        *,
        size: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
        rank: int = 0,
        ranks: int = 1,
        window: int = 8,
    ) -> None:
        if size < 1 or not 0 <= rank < ranks or window < 1:
            raise UserError(
                "batches cannot be cut", expected="size, window >= 1, rank < ranks", got=(size, window, rank, ranks)
            )
        if len(dataset) < size:
            raise UserError(
                f"{dataset.directory}: split {dataset.split} is smaller than one batch",
                expected=f"at least {size:,} rows",
                got=f"{len(dataset):,}",
                next_step="generate more rows, or train with a smaller batch",
            )
        self.dataset, self.size, self.seed, self.device = dataset, size, seed, device
        self.rank, self.ranks, self.window_groups = rank, ranks, window
        self._epoch = self._window = self._batch = 0
        self._filled: Iterator[Window] | None = None
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
        index = self._current.batches[self._batch]
        self._batch += 1
        return self._current.tokens.batch(index[self.rank :: self.ranks], self.device)

    def _advance(self) -> None:
        """Take the next window from the thread, at the position's own window when there is none yet."""
        if self._filled is None:
            self._filled = _ahead(_windows(self, self._epoch, self._window))
        else:
            self._batch = 0
        self._current = next(self._filled)
        self._epoch, self._window = self._current.epoch, self._current.index

    def state_dict(self) -> dict[str, int | str]:
        """The position, and what it is a position of."""
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
        """Continue after the batch at which ``state`` was taken; UserError where it was of another stream."""
        mine = self.state_dict()
        for key in ("seed", "size", "window_groups", "digest"):
            if state[key] != mine[key]:
                raise UserError(
                    f"the position is of another stream of batches: {key} differs", expected=mine[key], got=state[key]
                )
        self.close()
        self._epoch, self._window, self._batch = (int(state[k]) for k in ("epoch", "window", "batch"))

    def close(self) -> None:
        """Stop the background thread; the position is kept, and the next batch starts it again."""
        if self._filled is not None:
            self._filled.close()  # type: ignore[attr-defined]
        self._filled = self._current = None

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


def plan_epoch(groups: int, window: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """The row groups of each window of an epoch: a permutation of all, cut into runs of ``window``."""
    order = _generator(seed, epoch).permutation(groups)
    return [order[first : first + window] for first in range(0, groups, window)]


def plan_window(lengths: NDArray[np.int64], size: int, seed: int, epoch: int, window: int) -> list[NDArray[np.int64]]:
    """Batches of a window as positions of rows: rows permuted, then cut; by length within pools where lengths vary.

    The last batch holds what remains, so every row of an epoch is used once.
    """
    rng = _generator(seed, epoch, window)
    order = rng.permutation(len(lengths))
    if not len(lengths) or lengths.min() == lengths.max():
        return [order[first : first + size] for first in range(0, len(order), size)]
    batches: list[NDArray[np.int64]] = []
    for first in range(0, len(order), size * _LENGTH_POOL):
        pool = order[first : first + size * _LENGTH_POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[k : k + size] for k in range(0, len(pool), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _generator(*words: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


def _windows(stream: BatchStream, epoch: int, window: int) -> Iterator[Window]:
    """Windows from (epoch, window) on, without end."""
    dataset = stream.dataset
    with ShardReader(dataset) as reader:
        while True:
            plan = plan_epoch(len(dataset.groups), stream.window_groups, stream.seed, epoch)
            for index in range(window, len(plan)):
                tokens = _join([_compact(dataset.encode(reader.read(int(g)))) for g in np.sort(plan[index])])
                reader.release()
                lengths = tokens.source_lengths + tokens.target_lengths
                yield Window(epoch, index, tokens, plan_window(lengths, stream.size, stream.seed, epoch, index))
            epoch, window = epoch + 1, 0


def _compact(rows: TokenRows) -> TokenRows:
    """Tokens in one or two bytes where they fit: a window of expressions is as wide as its longest."""
    small = (np.asarray(a, dtype=np.min_scalar_type(int(a.max(initial=0)))) for a in (rows.source, rows.target))
    source, target = small
    return TokenRows(source, rows.source_lengths, target, rows.target_lengths, rows.rows)


def _join(parts: list[TokenRows]) -> TokenRows:
    def stack(arrays: list[Any]) -> Any:
        if arrays[0].ndim == 1:
            return np.concatenate(arrays)
        widest = max(a.shape[1] for a in arrays)
        return np.concatenate([np.pad(a, ((0, 0), (0, widest - a.shape[1])), constant_values=PAD) for a in arrays])

    names = ("source", "source_lengths", "target", "target_lengths", "rows")
    return TokenRows(*(stack([getattr(part, name) for part in parts]) for name in names))


def _ahead(windows: Iterator[Window]) -> Iterator[Window]:
    """Run an iterator in a daemon thread, ``AHEAD`` items ahead; its errors are raised here; closing this ends it."""
    ready: queue.Queue[Window | BaseException] = queue.Queue(maxsize=AHEAD)
    stop = threading.Event()

    def put(item: Window | BaseException) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.2)
                return

    def fill() -> None:
        try:
            for window in windows:
                put(window)
                if stop.is_set():
                    break
        except BaseException as error:
            put(error)
        finally:
            windows.close()  # type: ignore[attr-defined]

    thread = threading.Thread(target=fill, name="mathpipe-loader", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        with contextlib.suppress(queue.Empty):
            ready.get_nowait()
        thread.join(timeout=10)
