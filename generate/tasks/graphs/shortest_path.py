"""Shortest path: a graph and two connected nodes s, t -> the nodes of a path of least total length from s to t.

With ``--max-weight`` above 1 every edge (u, v, w) has a length w; else every edge (u, v) has the length 1. Any path of least length
is right; the reference is the one that goes back from t over the smallest node each time.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from mathpipe.datasets.containers.array_types import Ints, Mask
from mathpipe.datasets.containers.integer_layout import list_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.generate.tasks.graphs.edge_lists import (
    GraphSpec,
    are_graphs,
    edge_rows,
    node_count,
    sample_graphs,
    weight_matrices,
)
from mathpipe.generate.tasks.integer_task import IntegerTask

_FAR = 1 << 40  # longer than any path


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
    spec_model = PathSpec
    default_spec = PathSpec()

    def layout_of_problems(self, spec: PathSpec) -> str:
        return self.problem_layout if spec.max_weight == 1 else "([(int, int, int)], int, int)"

    def ranges(self, spec: PathSpec) -> dict[str, tuple[int, int]]:
        nodes = spec.max_nodes - 1
        return {"problem_range": (0, max(nodes, spec.max_weight * (spec.max_weight > 1))), "solution_range": (0, nodes)}

    def sample(self, rng: np.random.Generator, n: int, spec: PathSpec) -> IntegerSequences:
        graphs = sample_graphs(rng, n, spec)
        s = rng.integers(0, graphs.nodes)
        t = rng.integers(0, graphs.nodes - 1)
        t += t >= s
        weights = rng.integers(1, spec.max_weight, graphs.edges.shape[:2], endpoint=True)
        columns = [weights] if spec.max_weight > 1 else []
        problems = edge_rows(graphs, *columns, tail=np.stack([s, t], axis=1))
        return problems.take(_distances(problems)[0][np.arange(n), t] < _FAR)

    def is_problem(self, problems: IntegerSequences, spec: PathSpec) -> Mask:
        width = 3 if spec.max_weight > 1 else 2
        s, t = problems.values[problems.offsets[1:] - 2], problems.values[problems.offsets[1:] - 1]
        valid = are_graphs(problems, width, spec) & (s != t) & (np.minimum(s, t) >= 0)
        valid &= np.maximum(s, t) < spec.max_nodes
        index = np.flatnonzero(valid)
        valid[index] = _distances(problems.take(index))[0][np.arange(len(index)), t[index]] < _FAR
        return np.asarray(valid)

    def solve(self, problems: IntegerSequences, spec: PathSpec) -> IntegerSequences:
        distance, weights = _distances(problems)
        return _trace(problems, distance, weights)

    def is_right(self, problems: IntegerSequences, references: IntegerSequences, predicted: IntegerSequences) -> Mask:
        distance, weights = _distances(problems)
        nodes = weights.shape[1]
        rows, lengths = np.arange(len(problems)), predicted.lengths - 1
        path = predicted.dense(-1)[:, 1:]
        inside = np.arange(path.shape[1]) < lengths[:, None]
        valid = (lengths >= 2) & (((path >= 0) & (path < nodes)) | ~inside).all(axis=1)
        safe = np.where(inside & valid[:, None], path, 0)
        s, t = problems.values[problems.offsets[1:] - 2], problems.values[problems.offsets[1:] - 1]
        if path.shape[1] < 2:
            return np.zeros(len(problems), dtype=np.bool_)
        valid &= (safe[:, 0] == s) & (safe[rows, np.maximum(lengths - 1, 0)] == t)
        steps = weights[rows[:, None], safe[:, :-1], safe[:, 1:]]
        taken = inside[:, 1:]
        valid &= ((steps > 0) | ~taken).all(axis=1)
        return np.asarray(valid & (np.where(taken, steps, 0).sum(axis=1) == distance[rows, t]))


def _distances(problems: IntegerSequences) -> tuple[Ints, Ints]:
    """(distance of every node from s (n, nodes), weights (n, nodes, nodes)), by Bellman and Ford."""
    ends = problems.offsets[1:]
    s, t = problems.values[ends - 2], problems.values[ends - 1]
    counts = problems.values[problems.offsets[:-1]]
    width = 3 if bool((problems.lengths == 3 * counts + 3).all()) and len(problems) else 2
    nodes = max(node_count(problems, width), int(np.maximum(s, t).max(initial=0)) + 1)
    weights = weight_matrices(problems, width, nodes)
    lengths = np.where(weights > 0, weights, _FAR)
    distance = np.full((len(problems), nodes), _FAR, dtype=np.int64)
    distance[np.arange(len(problems)), s] = 0
    for _ in range(nodes - 1):
        shorter = np.minimum(distance, (distance[:, :, None] + lengths).min(axis=1, initial=2 * _FAR))
        if np.array_equal(shorter, distance):
            break
        distance = shorter
    return distance, weights


def _trace(problems: IntegerSequences, distance: Ints, weights: Ints) -> IntegerSequences:
    """The paths back from t, each time over the smallest node that lies on a shortest path."""
    n = len(distance)
    s, node = problems.values[problems.offsets[1:] - 2], problems.values[problems.offsets[1:] - 1]
    rows, path, lengths = np.arange(n), [node], np.ones(n, dtype=np.int64)
    while (node != s).any():
        before = distance + weights[rows, node] == distance[rows, node][:, None]
        before &= weights[rows, node] > 0
        node = np.where(node != s, before.argmax(axis=1), node)
        lengths += node != path[-1]
        path.append(node)
    dense = np.stack(path, axis=1)[:, ::-1]
    inside = np.arange(len(path)) >= len(path) - lengths[:, None]
    return list_rows(dense[inside], lengths)


TASK = ShortestPath()
