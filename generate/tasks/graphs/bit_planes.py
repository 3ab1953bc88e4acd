"""Sets of nodes or edges of many graphs as bit planes: one bit a graph, 64 graphs a word.

A plane holds one truth value of every graph, such as whether nodes u and v are adjacent: a row (words,) of uint64. One operation
on two planes evaluates a Boolean formula for 64 graphs a word, so searches that branch on one graph run without branches on all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.array_types import Ints, Mask

Planes = NDArray[np.uint64]


def pack(values: Mask) -> Planes:
    """(..., n) truth values -> (..., words)."""
    packed = np.packbits(values, axis=-1, bitorder="little")
    padding = -packed.shape[-1] % 8
    widths = [(0, 0)] * (packed.ndim - 1) + [(0, padding)]
    return np.ascontiguousarray(np.pad(packed, widths)).view(np.uint64)


def unpack(planes: Planes, n: int) -> Mask:
    """(..., words) -> (..., n) truth values."""
    return np.unpackbits(planes.view(np.uint8), axis=-1, count=n, bitorder="little").view(np.bool_)


def one_hot(values: Ints, classes: int) -> Planes:
    """(classes, words): for each class the plane of the graphs whose value (n,) it is."""
    return pack(np.arange(classes)[:, None] == values)


def adjacency(row: Ints, u: Ints, v: Ints, n: int, nodes: int) -> Planes:
    """(nodes, nodes, words) of n graphs: edge i joins nodes ``u[i]`` and ``v[i]`` of graph ``row[i]``."""
    is_edge = np.zeros((nodes, nodes, n), dtype=np.bool_)
    is_edge.reshape(-1)[(u * nodes + v) * n + row] = True
    planes = pack(is_edge)
    return planes | planes.transpose(1, 0, 2)


def adjacency_of_pairs(is_edge: Mask, nodes: int) -> Planes:
    """The same from which pairs u < v are edges, (n, pairs), in the order of ``np.tril_indices(nodes, -1)``."""
    v, u = np.tril_indices(nodes, -1)
    planes = np.zeros((nodes, nodes, -(-len(is_edge) // 64)), dtype=np.uint64)
    planes[u, v] = planes[v, u] = pack(np.ascontiguousarray(is_edge.T))
    return planes


def first_set(planes: Planes) -> Planes:
    """The planes (m, words), with only the first bit that is set of each graph."""
    before = np.bitwise_or.accumulate(planes, axis=0)
    first = planes.copy()
    first[1:] &= ~before[:-1]
    return first
