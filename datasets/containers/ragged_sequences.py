"""Ragged batches of sequences of different lengths: of token ids, one byte each, or of 64-bit integers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.array_types import Bytes, Ints, Mask, Tokens
from mathpipe.datasets.containers.ragged_positions import inside, ranges


@dataclass(frozen=True, eq=False)
class Sequences:
    """n concatenated sequences of token ids: ``values`` (sum of lengths,) uint8, ``lengths`` (n,) int64."""

    values: Bytes
    lengths: Ints

    def __post_init__(self) -> None:
        if int(self.lengths.sum()) != len(self.values):
            raise ValueError(f"{len(self.values)} tokens do not fill sequences of {int(self.lengths.sum())} tokens")

    @classmethod
    def from_list(cls, sequences: Iterable[bytes | Sequence[int]]) -> Self:
        """From sequences of ids in 0..255."""
        parts = [bytes(s) for s in sequences]
        values = np.frombuffer(b"".join(parts), dtype=np.uint8)
        return cls(values, np.fromiter(map(len, parts), dtype=np.int64, count=len(parts)))

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Concatenate batches; their type is that of the first."""
        if not parts:
            return cls.from_list([])
        if len(parts) == 1:
            return parts[0]
        return type(parts[0])(np.concatenate([p.values for p in parts]), np.concatenate([p.lengths for p in parts]))

    @cached_property
    def offsets(self) -> Ints:
        """(n + 1,): sequence i is values[offsets[i] : offsets[i + 1]]."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    @cached_property
    def _common_length(self) -> int | None:
        """The length of all sequences, if it is the same and not 0."""
        length = int(self.lengths[0]) if len(self) else 0
        return length if length and bool((self.lengths == length).all()) else None

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, i: int) -> Any:
        """Sequence i as bytes."""
        return self.values[self.offsets[i] : self.offsets[i + 1]].tobytes()

    def to_list(self) -> list[Any]:
        """All sequences as bytes."""
        data, ends = self.values.tobytes(), self.offsets.tolist()
        return [data[a:b] for a, b in itertools.pairwise(ends)]

    def take(self, index: NDArray[Any]) -> Self:
        """Select sequences by positions (k,) or by a boolean mask (n,)."""
        lengths = self.lengths[index]
        if self._common_length is not None:  # ``take`` copies short rows ten times as fast as indexing
            positions = np.flatnonzero(index) if index.dtype == np.bool_ else index
            return type(self)(self.values.reshape(len(self), -1).take(positions, axis=0).reshape(-1), lengths)
        return type(self)(self.values[ranges(self.offsets[:-1][index], lengths)], lengths)

    def equals(self, other: Sequences) -> Mask:
        """(n,): which sequences equal those of ``other`` token for token."""
        equal = self.lengths == other.lengths
        index = np.flatnonzero(equal)
        left, right = self.take(index), other.take(index)
        differing = np.repeat(np.arange(len(index)), left.lengths)[left.values != right.values]
        equal[index[differing]] = False
        return np.asarray(equal)

    def padded(self, fill: int) -> Tokens:
        """(n, longest) int32, padded with ``fill`` after the end of each sequence."""
        within = inside(self.lengths)
        dense = np.full(within.shape, fill, dtype=np.int32)
        dense[within] = self.values
        return dense


@dataclass(frozen=True, eq=False)
class IntegerSequences(Sequences):
    """n concatenated sequences of integers: ``values`` (sum of lengths,) int64. A single sequence is a list of integers."""

    values: Ints  # type: ignore[assignment]  # wider than the ids of the base class

    @classmethod
    def from_list(cls, sequences: Iterable[bytes | Sequence[int]]) -> Self:
        """From sequences of integers of 64 bits."""
        parts = [np.array(s, dtype=np.int64) if len(s) else np.empty(0, dtype=np.int64) for s in map(list, sequences)]
        values = np.concatenate([np.empty(0, dtype=np.int64), *parts])
        return cls(values, np.fromiter(map(len, parts), dtype=np.int64, count=len(parts)))

    def __getitem__(self, i: int) -> Any:
        """Sequence i as a list of integers."""
        return self.values[self.offsets[i] : self.offsets[i + 1]].tolist()

    def to_list(self) -> list[Any]:
        """All sequences as lists of integers."""
        values, ends = self.values.tolist(), self.offsets.tolist()
        return [values[a:b] for a, b in itertools.pairwise(ends)]

    def dense(self, fill: int) -> Ints:
        """(n, longest) int64, padded with ``fill`` after the end of each sequence."""
        within = inside(self.lengths)
        dense = np.full(within.shape, fill, dtype=np.int64)
        dense[within] = self.values
        return dense
