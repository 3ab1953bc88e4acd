"""Random graphs as edge lists and as matrices, for the tasks on graphs.

A graph has n nodes 0..n-1, n uniform in ``min_nodes``..``max_nodes``. The number of its edges is uniform from n - 1 to
n (n - 1) / 2; they are sampled without repetition and listed in random order, each as (u, v) with u < v.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
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
    """n graphs. ``nodes``, ``counts`` (n,): nodes and edges of each; ``edges`` (n, most, 2): padded with zeros after its edges."""

    nodes: Ints
    counts: Ints
    edges: Ints

    @property
    def is_edge(self) -> Mask:
        """(n, most): which entries are no padding."""
        return np.asarray(np.arange(self.edges.shape[1]) < self.counts[:, None])


def sample_graphs(rng: np.random.Generator, n: int, spec: GraphSpec) -> Graphs:
    """n random graphs."""
    nodes = rng.integers(spec.min_nodes, spec.max_nodes, n, endpoint=True)
    pairs = nodes * (nodes - 1) // 2
    counts = rng.integers(nodes - 1, pairs, endpoint=True)
    v, u = np.tril_indices(spec.max_nodes, -1)  # ordered by v, so that the pairs of k nodes come first
    keys = rng.random((n, len(u)))
    keys[np.arange(len(u)) >= pairs[:, None]] = 2.0
    order = np.argsort(keys, axis=1)
    return Graphs(nodes, counts, np.stack([u[order], v[order]], axis=2))


def edge_rows(graphs: Graphs, *columns: Ints, tail: Ints | None = None) -> IntegerSequences:
    """Flat rows of ``[(int, int, ...)]``: the edges with further ``columns`` (n, most), then ``tail`` (n, t)."""
    n, most = graphs.edges.shape[:2]
    edges = np.concatenate([graphs.edges, *(column[:, :, None] for column in columns)], axis=2)
    end = np.zeros((n, 0), dtype=np.int64) if tail is None else tail
    flat = np.concatenate([graphs.counts[:, None], edges.reshape(n, -1), end], axis=1)
    shown = np.ones(flat.shape, dtype=np.bool_)
    shown[:, 1 : 1 + most * edges.shape[2]] = np.repeat(graphs.is_edge, edges.shape[2], axis=1)
    return IntegerSequences(flat[shown], shown.sum(axis=1))


def _edge_positions(problems: IntegerSequences, width: int) -> tuple[Ints, Ints]:
    """(row of each edge, position of its first integer among all values) of flat rows that begin with the list of edges."""
    counts = problems.values[problems.offsets[:-1]]
    row = np.repeat(np.arange(len(problems)), counts)
    within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return row, problems.offsets[:-1][row] + 1 + width * within


def weight_matrices(problems: IntegerSequences, width: int, nodes: int) -> Ints:
    """(n, nodes, nodes) weights of the edges, 0 where there is none, of flat rows.

    An edge has ``width`` integers: two nodes, then its weight; 1 if ``width`` is 2.
    """
    row, at = _edge_positions(problems, width)
    u, v = problems.values[at], problems.values[at + 1]
    weights = np.zeros((len(problems), nodes, nodes), dtype=np.int64)
    weights[row, u, v] = weights[row, v, u] = problems.values[at + 2] if width == 3 else 1
    return weights


def node_count(problems: IntegerSequences, width: int) -> int:
    """1 + the largest node of any edge of the batch."""
    _, at = _edge_positions(problems, width)
    return int(np.maximum(problems.values[at], problems.values[at + 1]).max(initial=0)) + 1


def are_graphs(problems: IntegerSequences, width: int, spec: GraphSpec) -> Mask:
    """Which rows list at least one edge, each u < v below ``max_nodes`` with a positive weight, none twice, (n,)."""
    row, at = _edge_positions(problems, width)
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
