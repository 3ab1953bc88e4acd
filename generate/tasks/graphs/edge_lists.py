"""Random graphs as edge lists and as matrices, for the tasks on graphs.

A graph has n nodes 0..n-1, n uniform in ``min_nodes``..``max_nodes``. The number of its edges is uniform from n - 1 to
n (n - 1) / 2; they are sampled without repetition and listed in random order, each as (u, v) with u < v.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mathpipe.datasets.containers.array_types import Ints, Mask
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec

MAX_NODES = 64


class GraphSpec(IntegerSpec):
    """How graphs are sampled, see this module."""

    min_nodes: Annotated[int, Field(ge=2, le=MAX_NODES)] = Field(3, description="smallest number of nodes")
    max_nodes: Annotated[int, Field(ge=2, le=MAX_NODES)] = Field(10, description="largest number of nodes")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"min_nodes {self.min_nodes} is above max_nodes {self.max_nodes}: give both")
        return self


@dataclass(frozen=True)
class Graphs:
    """n graphs. ``nodes``, ``counts`` (n,): nodes and edges of each; ``edges`` (n, most, 2): arbitrary after its edges.

    ``is_edge`` (n, most): which pairs of nodes are edges, in the order of ``np.tril_indices``.
    """

    nodes: Ints
    counts: Ints
    edges: NDArray[np.uint8]
    is_edge: Mask

    def take(self, index: Ints) -> Graphs:
        """The graphs of these positions (k,)."""
        edges, is_edge = self.edges.take(index, axis=0), self.is_edge.take(index, axis=0)
        return Graphs(self.nodes[index], self.counts[index], edges, is_edge)


def sample_graphs(rng: np.random.Generator, n: int, spec: GraphSpec) -> Graphs:
    """n random graphs. Their edges are the first of all pairs in the order of random keys."""
    nodes = rng.integers(spec.min_nodes, spec.max_nodes, n, endpoint=True)
    counts = rng.integers(nodes - 1, nodes * (nodes - 1) // 2, endpoint=True)
    v, u = np.tril_indices(spec.max_nodes, -1)  # ordered by v, so that the pairs of k nodes come first
    keys, bits = _random_keys(rng, nodes, len(u))
    order = np.sort(keys, axis=1)  # several times faster than an argsort
    is_edge = keys <= order[np.arange(n), counts - 1][:, None]
    order &= (1 << bits) - 1
    pair = np.stack([u, v], axis=1).astype(np.uint8).view(np.uint16)[:, 0]
    return Graphs(nodes, counts, pair[order].view(np.uint8).reshape(n, -1, 2), is_edge)


def _random_keys(rng: np.random.Generator, nodes: Ints, most: int) -> tuple[Ints, int]:
    """(keys (n, most), bits): random integers with the index of the pair as their lowest ``bits``, and largest for no pair."""
    bits = most.bit_length()
    sizes = np.arange(int(nodes.max(initial=0)) + 1)
    pair = np.arange(most) | (np.arange(most) >= (sizes * (sizes - 1) // 2)[:, None]) << 62
    keys = rng.integers(0, 1 << (62 - bits), (len(nodes), most))
    keys <<= bits
    keys |= pair.take(nodes, axis=0)
    return keys, bits


def edge_rows(graphs: Graphs, *columns: Ints, tail: Ints | None = None) -> IntegerSequences:
    """Flat rows of ``[(int, int, ...)]``: the edges with further ``columns`` (n, most), then ``tail`` (n, t)."""
    edges = graphs.edges
    if columns:
        edges = np.concatenate([edges, *(column[:, :, None] for column in columns)], axis=2)
    n, most, width = edges.shape
    end = np.zeros((n, 0), dtype=np.uint8) if tail is None else tail.astype(np.uint8)
    counts = graphs.counts.astype(np.uint16)
    flat = np.concatenate([counts[:, None], edges.reshape(n, -1), end], axis=1)
    ends = end.shape[1]
    shown = np.ones((most + 1, flat.shape[1]), dtype=np.bool_)  # of each number of edges
    shown[:, 1 : 1 + most * width] = np.arange(most * width) < width * np.arange(most + 1)[:, None]
    return IntegerSequences(flat[shown.take(graphs.counts, axis=0)].astype(np.int64), 1 + ends + width * graphs.counts)


def edge_positions(problems: IntegerSequences, width: int) -> tuple[Ints, Ints]:
    """(row of each edge, position of its first integer among all values) of flat rows that begin with the list of edges."""
    counts = problems.values[problems.offsets[:-1]]
    row = np.repeat(np.arange(len(problems)), counts)
    first = problems.offsets[:-1] + 1 - width * (np.cumsum(counts) - counts)
    return row, width * np.arange(len(row)) + np.repeat(first, counts)


def weight_matrices(problems: IntegerSequences, width: int, nodes: int) -> Ints:
    """(n, nodes, nodes) weights of the edges, 0 where there is none, of flat rows.

    An edge has ``width`` integers: two nodes, then its weight; 1 if ``width`` is 2.
    """
    row, at = edge_positions(problems, width)
    u, v = problems.values[at], problems.values[at + 1]
    weights = np.zeros((len(problems), nodes, nodes), dtype=np.int64)
    weights[row, u, v] = weights[row, v, u] = problems.values[at + 2] if width == 3 else 1
    return weights


def node_count(problems: IntegerSequences, width: int) -> int:
    """1 + the largest node of any edge of the batch."""
    _, at = edge_positions(problems, width)
    return int(np.maximum(problems.values[at], problems.values[at + 1]).max(initial=0)) + 1


def are_graphs(problems: IntegerSequences, width: int, spec: GraphSpec) -> Mask:
    """Which rows list at least one edge, each u < v below ``max_nodes`` with a positive weight, none twice, (n,)."""
    row, at = edge_positions(problems, width)
    u, v = problems.values[at], problems.values[at + 1]
    bad = (u < 0) | (u >= v) | (v >= spec.max_nodes)
    if width == 3:
        bad |= problems.values[at + 2] < 1
    code = np.where(bad, -1 - np.arange(len(row)), (row * MAX_NODES + u) * MAX_NODES + v)
    _, first = np.unique(code, return_index=True)
    bad |= ~np.isin(np.arange(len(row)), first)
    return np.asarray(
        (np.bincount(row[bad], minlength=len(problems)) == 0) & (problems.values[problems.offsets[:-1]] > 0)
    )
