"""Shortest path: a graph and two connected nodes s, t -> the nodes of a path of least total length from s to t.

With ``--max-weight`` above 1 every edge (u, v, w) has a length w; else every edge (u, v) has the length 1. Any path of least length
is right; the reference is the one that goes back from t over the smallest node each time.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mathpipe.datasets.containers.array_types import Ints, Mask
from mathpipe.datasets.containers.integer_layout import list_rows
from mathpipe.datasets.containers.ragged_positions import inside
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.tasks.graphs.bit_planes import Planes, adjacency, adjacency_of_pairs, first_set, one_hot, unpack
from mathpipe.generate.tasks.graphs.edge_lists import (
    GraphSpec,
    are_graphs,
    edge_positions,
    edge_rows,
    node_count,
    sample_graphs,
    weight_matrices,
)
from mathpipe.generate.tasks.integer_task import IntegerTask

_FAR = 1 << 29  # longer than any path; twice as much fits in 32 bits


class PathSpec(GraphSpec):
    """``max_weight``: lengths of edges are uniform in 1..max_weight; 1: edges have no lengths."""

    max_weight: Annotated[int, Field(ge=1, le=10**6)] = Field(1, description="largest length of an edge; 1: no lengths")


class ShortestPath(IntegerTask[PathSpec]):
    """Graph, s, t -> nodes of a shortest path."""

    name = "shortest-path"
    problem = "edges of a graph, and two connected nodes s, t"
    solution = "the nodes of a shortest path from s to t"
    source = "graph algorithms"
    problem_layout = "([(int, int)], int, int)"
    solution_layout = "[int]"
    rejection = "not connected"
    batch_size = 4608
    spec_model = PathSpec
    default_spec = PathSpec()

    def layout_of_problems(self, spec: PathSpec) -> str:
        return self.problem_layout if spec.max_weight == 1 else "([(int, int, int)], int, int)"

    def ranges(self, spec: PathSpec) -> dict[str, tuple[int, int]]:
        nodes = spec.max_nodes - 1
        return {"problem_range": (0, max(nodes, spec.max_weight * (spec.max_weight > 1))), "solution_range": (0, nodes)}

    def sample(self, rng: np.random.Generator, n: int, spec: PathSpec) -> IntegerSequences:
        return self.sample_solved(rng, n, spec)[0]

    def sample_solved(
        self, rng: np.random.Generator, n: int, spec: PathSpec
    ) -> tuple[IntegerSequences, IntegerSequences]:
        """Graphs in which s and t are not connected are rejected."""
        graphs = sample_graphs(rng, n, spec)
        s = rng.integers(0, graphs.nodes)
        t = rng.integers(0, graphs.nodes - 1)
        t += t >= s
        ends = np.stack([s, t], axis=1)
        if spec.max_weight > 1:
            weights = rng.integers(1, spec.max_weight, graphs.edges.shape[:2], endpoint=True)
            problems = edge_rows(graphs, weights, tail=ends)
            connected, solutions = _shortest_paths(problems, spec)
            return problems.take(connected), solutions
        path = _breadth_first(adjacency_of_pairs(graphs.is_edge, spec.max_nodes), *_one_hot_ends(s, t, spec))
        connected, solutions = _path_rows(path, n)
        index = np.flatnonzero(connected)
        return edge_rows(graphs.take(index), tail=ends[index]), solutions

    def is_problem(self, problems: IntegerSequences, spec: PathSpec) -> Mask:
        width = 3 if spec.max_weight > 1 else 2
        s, t = problems.values[problems.offsets[1:] - 2], problems.values[problems.offsets[1:] - 1]
        valid = are_graphs(problems, width, spec) & (s != t) & (np.minimum(s, t) >= 0)
        valid &= np.maximum(s, t) < spec.max_nodes
        index = np.flatnonzero(valid)
        valid[index] = _distances(problems.take(index))[0][t[index], np.arange(len(index))] < _FAR
        return np.asarray(valid)

    def solve(self, problems: IntegerSequences, spec: PathSpec) -> IntegerSequences:
        return _shortest_paths(problems, spec)[1]

    def is_right(self, problems: IntegerSequences, references: IntegerSequences, predicted: IntegerSequences) -> Mask:
        distance, weights = _distances(problems)
        nodes = len(weights)
        rows, lengths = np.arange(len(problems)), predicted.lengths - 1
        path = predicted.dense(-1)[:, 1:]
        within = np.arange(path.shape[1]) < lengths[:, None]
        valid = (lengths >= 2) & (((path >= 0) & (path < nodes)) | ~within).all(axis=1)
        safe = np.where(within & valid[:, None], path, 0)
        s, t = problems.values[problems.offsets[1:] - 2], problems.values[problems.offsets[1:] - 1]
        if path.shape[1] < 2:
            return np.zeros(len(problems), dtype=np.bool_)
        valid &= (safe[:, 0] == s) & (safe[rows, np.maximum(lengths - 1, 0)] == t)
        steps = weights[safe[:, :-1], safe[:, 1:], rows[:, None]]
        taken = within[:, 1:]
        valid &= ((steps > 0) | ~taken).all(axis=1)
        return np.asarray(valid & (np.where(taken, steps, 0).sum(axis=1) == distance[t, rows]))


def _shortest_paths(problems: IntegerSequences, spec: PathSpec) -> tuple[Mask, IntegerSequences]:
    """(which problems have a path (n,), the shortest paths of those)."""
    s, t = problems.values[problems.offsets[1:] - 2], problems.values[problems.offsets[1:] - 1]
    if spec.max_weight == 1:
        row, at = edge_positions(problems, 2)
        adjacent = adjacency(row, problems.values[at], problems.values[at + 1], len(problems), spec.max_nodes)
        return _path_rows(_breadth_first(adjacent, *_one_hot_ends(s, t, spec)), len(problems))
    distance, weights = _distances(problems)
    connected = distance[t, np.arange(len(problems))] < _FAR
    return connected, _trace(problems.take(connected), distance[:, connected], weights[:, :, connected])


def _one_hot_ends(s: Ints, t: Ints, spec: PathSpec) -> tuple[Planes, Planes]:
    return one_hot(s, spec.max_nodes), one_hot(t, spec.max_nodes)


def _breadth_first(adjacent: Planes, source: Planes, target: Planes) -> list[Planes]:
    """The shortest paths: for each distance from s the node of the path, one-hot (nodes, words), none beyond t.

    The nodes at distance l + 1 are the neighbours of those at distance l that are no nearer.
    """
    levels, reached = [source], source.copy()
    while (target & ~reached).any():
        further = _neighbours(levels[-1], adjacent) & ~reached
        if not further.any():
            break
        levels.append(further)
        reached |= further
    path, node = [], target & levels[-1]
    for distance in range(len(levels) - 1, 0, -1):
        path.append(node)
        nearer = levels[distance - 1]
        node = first_set(_neighbours(node, adjacent) & nearer) | (target & nearer)
    return [node, *reversed(path)]


def _neighbours(nodes: Planes, adjacent: Planes) -> Planes:
    """(nodes, words): the nodes that are adjacent to any of ``nodes``."""
    return np.asarray(np.bitwise_or.reduce(nodes[:, None] & adjacent, axis=0))


def _path_rows(path: list[Planes], n: int) -> tuple[Mask, IntegerSequences]:
    """(which of n graphs have a path, flat rows of their nodes) from one-hot nodes (nodes, words) for each position."""
    bits = (len(path[0]) - 1).bit_length()
    nodes = np.zeros((len(path), n), dtype=np.uint8)
    lengths = np.zeros(n, dtype=np.uint8)
    for position, one_hot_node in enumerate(path):
        lengths += unpack(np.bitwise_or.reduce(one_hot_node, axis=0), n)
        for bit in range(bits):
            has_bit = np.arange(len(one_hot_node)) >> bit & 1 == 1
            nodes[position] |= unpack(np.bitwise_or.reduce(one_hot_node[has_bit], axis=0), n).view(np.uint8) << bit
    connected = np.flatnonzero(lengths)
    values = np.vstack([lengths, nodes])[:, connected].T
    row_lengths = lengths[connected].astype(np.int64) + 1
    within = inside(row_lengths)
    return lengths > 0, IntegerSequences(values[:, : within.shape[1]][within].astype(np.int64), row_lengths)


def _distances(problems: IntegerSequences) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(distance of every node from s (nodes, n), weights (nodes, nodes, n)), by Bellman and Ford; the last axis is the graphs."""
    n, ends = len(problems), problems.offsets[1:]
    s, t = problems.values[ends - 2], problems.values[ends - 1]
    counts = problems.values[problems.offsets[:-1]]
    width = 3 if n and bool((problems.lengths == 3 * counts + 3).all()) else 2
    nodes = max(node_count(problems, width), int(np.maximum(s, t).max(initial=0)) + 1)
    weights = np.ascontiguousarray(weight_matrices(problems, width, nodes).transpose(1, 2, 0), dtype=np.int32)
    lengths = np.where(weights > 0, weights, _FAR)
    distance = np.full((nodes, n), _FAR, dtype=np.int32)
    distance[s, np.arange(n)] = 0
    for _ in range(nodes - 1):
        shorter = distance.copy()
        for u in range(nodes):
            np.minimum(shorter, distance[u] + lengths[u], out=shorter)
        if np.array_equal(shorter, distance):
            break
        distance = shorter
    return distance, weights


def _trace(problems: IntegerSequences, distance: NDArray[np.int32], weights: NDArray[np.int32]) -> IntegerSequences:
    """The paths back from t, each time over the smallest node that lies on a shortest path."""
    n = distance.shape[1]
    s, node = problems.values[problems.offsets[1:] - 2], problems.values[problems.offsets[1:] - 1]
    graphs, path, lengths = np.arange(n), [node], np.ones(n, dtype=np.int64)
    while (node != s).any():
        steps = weights[:, node, graphs]
        before = (distance + steps == distance[node, graphs]) & (steps > 0)
        node = np.where(node != s, before.argmax(axis=0), node)
        lengths += node != path[-1]
        path.append(node)
    dense = np.stack(path, axis=1)[:, ::-1]
    return list_rows(dense[np.arange(len(path)) >= len(path) - lengths[:, None]], lengths)


TASK = ShortestPath()
