"""Ragged batches of matrices of different shapes.

n matrices A_i (r_i x c_i) are stored as one flat float64 array, row-major one after the other, and two integer arrays of shapes.
If all shapes are equal, ``dense()`` is a view (n, r, c); otherwise functions run on groups of equal shape and results are
scattered back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mathpipe.datasets.containers.array_types import Bytes, Floats, Ints, Mask

Spectrum = Literal["semicircle", "positive", "uniform", "gaussian", "laplace", "positive2", "marcenko"]
SPECTRA: tuple[Spectrum, ...] = get_args(Spectrum)  # distributions of eigenvalues
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Matrices:
    """n matrices: ``values`` (sum of r_i * c_i,) float64, ``rows`` (n,) and ``cols`` (n,) int64.

    ``task_ids`` (n,) uint8: in co-training, the task of each matrix as an index into the published task tokens TADMEFI; None for a
    single task. ``spectra`` (n,) uint8: in a mixture of spectra, the one each matrix was sampled from (index into ``SPECTRA``).
    """

    values: Floats
    rows: Ints
    cols: Ints
    task_ids: Bytes | None = None
    spectra: Bytes | None = None

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
        """From a sequence of 2-d arrays."""
        arrays = [np.atleast_2d(np.asarray(m, dtype=np.float64)) for m in matrices]
        shapes = np.array([a.shape for a in arrays], dtype=np.int64).reshape(len(arrays), 2)
        values = np.concatenate([a.reshape(-1) for a in arrays]) if arrays else np.empty(0)
        return cls(values, shapes[:, 0], shapes[:, 1])

    @classmethod
    def empty(cls) -> Matrices:
        return cls(np.empty(0), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))

    @classmethod
    def concatenate(cls, parts: Sequence[Matrices]) -> Matrices:
        """Concatenate batches."""
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
        """The same shapes, tasks and spectra with other entries."""
        return Matrices(values, self.rows, self.cols, self.task_ids, self.spectra)

    def with_task_ids(self, task_ids: Bytes | None) -> Matrices:
        """The same matrices with these task ids."""
        return Matrices(self.values, self.rows, self.cols, task_ids, self.spectra)

    def with_spectra(self, spectra: Bytes | None) -> Matrices:
        """The same matrices with these spectra."""
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
        """(n + 1,): matrix i is values[offsets[i] : offsets[i + 1]]."""
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self.sizes)])

    @cached_property
    def shape(self) -> tuple[int, int] | None:
        """(r, c) if all matrices have this shape; None otherwise, and for an empty batch."""
        if not len(self) or (self.rows != self.rows[0]).any() or (self.cols != self.cols[0]).any():
            return None
        return int(self.rows[0]), int(self.cols[0])

    def dense(self) -> Floats:
        """A view (n, r, c); ValueError if shapes differ."""
        if self.shape is None:
            raise ValueError("matrices of different shapes have no dense form")
        return self.values.reshape(len(self), *self.shape)

    def groups(self) -> Iterator[tuple[Ints, Floats]]:
        """Yield (positions (k,), dense (k, r, c)) for each distinct shape."""
        if self.shape is not None:
            yield np.arange(len(self)), self.dense()
            return
        shapes, shape_index = np.unique(np.stack([self.rows, self.cols], axis=1), axis=0, return_inverse=True)
        for g, (r, c) in enumerate(shapes):
            index = np.flatnonzero(shape_index.reshape(-1) == g)
            flat = self.offsets[index][:, None] + np.arange(r * c)
            yield index, self.values[flat].reshape(len(index), r, c)

    def map(self, function: Callable[[Floats], Floats]) -> Matrices:
        """Apply a function of dense batches, (k, r, c) -> (k, r', c'), to each shape group; keeps the order of the batch."""
        if self.shape is not None:
            return Matrices.from_dense(function(self.dense())).with_task_ids(self.task_ids)
        results = [(index, Matrices.from_dense(function(dense))) for index, dense in self.groups()]
        grouped = Matrices.concatenate([matrices for _, matrices in results])
        order = np.concatenate([index for index, _ in results]) if results else np.empty(0, dtype=np.int64)
        return grouped.take(np.argsort(order)).with_task_ids(self.task_ids)

    def take(self, index: ArrayLike) -> Matrices:
        """Select matrices by positions (k,) or by a boolean mask (n,)."""
        positions = np.asarray(index)
        positions = np.flatnonzero(positions) if positions.dtype == bool else positions.astype(np.int64)
        task_ids = None if self.task_ids is None else self.task_ids[positions]
        spectra = None if self.spectra is None else self.spectra[positions]
        if self.shape is not None:
            return Matrices(
                self.dense().take(positions, axis=0).reshape(-1),
                self.rows[positions],
                self.cols[positions],
                task_ids,
                spectra,
            )
        sizes = self.sizes[positions]
        starts = np.repeat(self.offsets[positions], sizes)
        within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return Matrices(self.values[starts + within], self.rows[positions], self.cols[positions], task_ids, spectra)

    def same_shape(self, other: Matrices) -> Mask:
        """(n,): which pairs have equal shapes, and equal task ids if both batches have them."""
        result: Mask = (self.rows == other.rows) & (self.cols == other.cols)
        if self.task_ids is not None and other.task_ids is not None:
            result &= self.task_ids == other.task_ids
        return result


def reduce_per_matrix(entries: NDArray[T], like: Matrices, ufunc: np.ufunc) -> NDArray[T]:
    """(n,): reduce the entries of each matrix with ``ufunc``, such as np.add or np.maximum.

    ``entries`` is flat and laid out as ``like.values``. A matrix without entries gives 0.
    """
    result = np.zeros(len(like), dtype=entries.dtype)
    if like.shape is not None and like.shape[0] * like.shape[1]:
        return np.asarray(ufunc.reduce(entries.reshape(len(like), -1), axis=1))
    filled = like.sizes > 0
    if filled.any():
        result[filled] = ufunc.reduceat(entries, like.offsets[:-1][filled])
    return result
