"""Matrices of different shapes, travelling together: a ragged batch.

n matrices A_i (r_i x c_i) are one flat float64 array, row-major one after the other, and two integer arrays of shapes.
Where all have one shape, ``dense()`` is a view (n, r, c); otherwise work is grouped by shape and scattered back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Labels = NDArray[np.uint8]
SPECTRA = (
    "semicircle",
    "positive",
    "uniform",
    "gaussian",
    "laplace",
    "positive2",
    "marcenko",
)  # what symmetric ones are drawn by
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Matrices:
    """n matrices: ``values`` (sum of r_i * c_i,) float64, ``rows`` (n,) and ``cols`` (n,) int64.

    ``task_ids`` (n,) uint8: in co-training, the task of each matrix as its place in the published task tokens TADMEFI; None where
    there is one task only. ``spectra`` (n,) uint8: of a mixture, by which spectrum each
    was drawn (its place in ``SPECTRA``).
    """

    values: Floats
    rows: Ints
    cols: Ints
    task_ids: Labels | None = None
    spectra: Labels | None = None

    def __post_init__(self) -> None:
        if len(self.rows) != len(self.cols) or int((self.rows * self.cols).sum()) != len(self.values):
            raise ValueError(
                f"{len(self.values)} values do not fill {len(self.rows)} x {len(self.cols)} shapes "
                f"of {int((self.rows * self.cols).sum())} entries"
            )

    @classmethod
    def from_dense(cls, dense: ArrayLike) -> Matrices:
        """From an array (n, r, c)."""
        array = np.ascontiguousarray(dense, dtype=np.float64)
        n, r, c = array.shape
        return cls(array.reshape(-1), np.full(n, r, dtype=np.int64), np.full(n, c, dtype=np.int64))

    @classmethod
    def from_list(cls, matrices: Sequence[ArrayLike]) -> Matrices:
        """From any 2-d arrays, one a matrix."""
        arrays = [np.atleast_2d(np.asarray(m, dtype=np.float64)) for m in matrices]
        shapes = np.array([a.shape for a in arrays], dtype=np.int64).reshape(len(arrays), 2)
        values = np.concatenate([a.reshape(-1) for a in arrays]) if arrays else np.empty(0)
        return cls(values, shapes[:, 0], shapes[:, 1])

    @classmethod
    def empty(cls) -> Matrices:
        return cls(np.empty(0), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))

    @classmethod
    def concatenate(cls, parts: Sequence[Matrices]) -> Matrices:
        """One batch after another."""
        if not parts:
            return cls.empty()
        task_ids = [p.task_ids for p in parts if p.task_ids is not None]
        spectra = [p.spectra for p in parts if p.spectra is not None]
        return cls(
            np.concatenate([p.values for p in parts]),
            np.concatenate([p.rows for p in parts]),
            np.concatenate([p.cols for p in parts]),
            np.concatenate(task_ids) if len(task_ids) == len(parts) else None,
            np.concatenate(spectra) if len(spectra) == len(parts) else None,
        )

    def with_values(self, values: Floats) -> Matrices:
        """Other numbers in the same shapes, of the same tasks and spectra."""
        return Matrices(values, self.rows, self.cols, self.task_ids, self.spectra)

    def with_task_ids(self, task_ids: Labels | None) -> Matrices:
        """The same matrices under these task_ids."""
        return Matrices(self.values, self.rows, self.cols, task_ids, self.spectra)

    def drawn_by(self, spectra: Labels | None) -> Matrices:
        """The same matrices, said to be of these spectra."""
        return Matrices(self.values, self.rows, self.cols, self.task_ids, spectra)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Floats:
        """Matrix i as an array (r_i, c_i)."""
        i = range(len(self))[i]
        start = int(self.offsets[i])
        return self.values[start : int(self.offsets[i + 1])].reshape(int(self.rows[i]), int(self.cols[i]))

    def __iter__(self) -> Iterator[Floats]:
        return (self[i] for i in range(len(self)))

    @cached_property
    def sizes(self) -> Ints:
        """Entries of each matrix, (n,)."""
        return self.rows * self.cols

    @cached_property
    def offsets(self) -> Ints:
        """Where each matrix starts in ``values``, (n + 1,)."""
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self.sizes)])

    @cached_property
    def shape(self) -> tuple[int, int] | None:
        """(r, c) if all matrices have it, else None (None, too, for an empty batch)."""
        if not len(self) or (self.rows != self.rows[0]).any() or (self.cols != self.cols[0]).any():
            return None
        return int(self.rows[0]), int(self.cols[0])

    def dense(self) -> Floats:
        """A view (n, r, c); ValueError where shapes differ."""
        if self.shape is None:
            raise ValueError("matrices of different shapes have no dense form")
        return self.values.reshape(len(self), *self.shape)

    def groups(self) -> Iterator[tuple[Ints, Floats]]:
        """For each shape that occurs: (positions (k,), dense (k, r, c))."""
        if self.shape is not None:
            yield np.arange(len(self)), self.dense()
            return
        shapes, which = np.unique(np.stack([self.rows, self.cols], axis=1), axis=0, return_inverse=True)
        for g, (r, c) in enumerate(shapes):
            index = np.flatnonzero(which.reshape(-1) == g)
            flat = self.offsets[index][:, None] + np.arange(r * c)
            yield index, self.values[flat].reshape(len(index), r, c)

    def map(self, function: Callable[[Floats], Floats]) -> Matrices:
        """Apply a function of dense batches, (k, r, c) -> (k, r', c'), to each group; results in the order of rows."""
        if self.shape is not None:
            return Matrices.from_dense(function(self.dense())).with_task_ids(self.task_ids)
        done = [(index, Matrices.from_dense(function(dense))) for index, dense in self.groups()]
        joined = Matrices.concatenate([part for _, part in done])
        order = np.concatenate([index for index, _ in done]) if done else np.empty(0, dtype=np.int64)
        return joined.take(np.argsort(order)).with_task_ids(self.task_ids)

    def take(self, index: ArrayLike) -> Matrices:
        """The matrices at these positions, or where a boolean mask (n,) is true."""
        where = np.asarray(index)
        where = np.flatnonzero(where) if where.dtype == bool else where.astype(np.int64)
        task_ids = None if self.task_ids is None else self.task_ids[where]
        spectra = None if self.spectra is None else self.spectra[where]
        if self.shape is not None:
            return Matrices(self.dense()[where].reshape(-1), self.rows[where], self.cols[where], task_ids, spectra)
        sizes = self.sizes[where]
        starts = np.repeat(self.offsets[where], sizes)
        within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return Matrices(self.values[starts + within], self.rows[where], self.cols[where], task_ids, spectra)

    def same_shape(self, other: Matrices) -> NDArray[np.bool_]:
        """Which pairs have equal shapes, and equal task_ids where both have some, (n,)."""
        result: NDArray[np.bool_] = (self.rows == other.rows) & (self.cols == other.cols)
        if self.task_ids is not None and other.task_ids is not None:
            result &= self.task_ids == other.task_ids
        return result


def reduce_rows(entries: NDArray[T], like: Matrices, ufunc: np.ufunc) -> NDArray[T]:
    """``ufunc`` over the part of ``entries`` (flat, laid out as ``like.values``) that belongs to each matrix, (n,).

    np.add for sums, np.maximum for largest entries; a matrix without entries gives 0.
    """
    result = np.zeros(len(like), dtype=entries.dtype)
    if like.shape is not None and like.shape[0] * like.shape[1]:
        return np.asarray(ufunc.reduce(entries.reshape(len(like), -1), axis=1))
    filled = like.sizes > 0
    if filled.any():
        result[filled] = ufunc.reduceat(entries, like.offsets[:-1][filled])
    return result
