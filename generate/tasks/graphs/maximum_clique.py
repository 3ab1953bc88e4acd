"""Maximum clique: a graph -> a largest set of pairwise adjacent nodes.

Any maximum clique is right, in any order; the reference lists its nodes in ascending order.
"""

from __future__ import annotations

import functools

import numpy as np

from mathpipe.datasets.containers.array_types import Ints, Mask
from mathpipe.datasets.containers.integer_layout import list_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.datasets.errors import UserError
from mathpipe.generate.tasks.graphs.edge_lists import (
    GraphSpec,
    are_graphs,
    edge_rows,
    node_count,
    sample_graphs,
    weight_matrices,
)
from mathpipe.generate.tasks.integer_task import IntegerTask

LARGEST = 14  # nodes: all 2^n sets are tried
_SETS = 1 << 22  # sets tried at a time


class MaximumClique(IntegerTask[GraphSpec]):
    """Graph -> nodes of a maximum clique."""

    name = "maximum-clique"
    problem = "edges of a graph"
    solution = "the nodes of a maximum clique"
    source = "graph algorithms"
    problem_layout = "[(int, int)]"
    solution_layout = "[int]"
    batch_size = 2048
    spec_model = GraphSpec
    default_spec = GraphSpec()

    def check(self, spec: GraphSpec) -> None:
        if spec.max_nodes > LARGEST:
            raise UserError(
                "maximum-clique tries all sets of nodes",
                expected=f"--max-nodes of at most {LARGEST}",
                got=spec.max_nodes,
            )

    def ranges(self, spec: GraphSpec) -> dict[str, tuple[int, int]]:
        return {"problem_range": (0, spec.max_nodes - 1), "solution_range": (0, spec.max_nodes - 1)}

    def sample(self, rng: np.random.Generator, n: int, spec: GraphSpec) -> IntegerSequences:
        return edge_rows(sample_graphs(rng, n, spec))

    def is_problem(self, problems: IntegerSequences, spec: GraphSpec) -> Mask:
        return are_graphs(problems, 2, spec)

    def solve(self, problems: IntegerSequences, spec: GraphSpec) -> IntegerSequences:
        adjacent = _adjacency(problems)
        nodes = adjacent.shape[1]
        members = (_maximum_cliques(adjacent)[:, None] >> np.arange(nodes)) & 1 == 1
        return list_rows(np.nonzero(members)[1], members.sum(axis=1))

    def is_right(self, problems: IntegerSequences, references: IntegerSequences, predicted: IntegerSequences) -> Mask:
        adjacent = _adjacency(problems)
        nodes = adjacent.shape[1]
        size = np.bitwise_count(_maximum_cliques(adjacent).astype(np.uint64)).astype(np.int64)
        answer = predicted.dense(-1)[:, 1:]
        inside = np.arange(answer.shape[1]) < (predicted.lengths - 1)[:, None]
        valid = (predicted.lengths - 1 == size) & (((answer >= 0) & (answer < nodes)) | ~inside).all(axis=1)
        members = np.zeros((len(problems), nodes), dtype=np.bool_)
        row, column = np.nonzero(inside & valid[:, None])
        members[row, answer[row, column]] = True
        connected = adjacent | np.eye(nodes, dtype=np.bool_) | ~members[:, :, None] | ~members[:, None, :]
        return np.asarray(valid & (members.sum(axis=1) == size) & connected.all(axis=(1, 2)))


def _adjacency(problems: IntegerSequences) -> Mask:
    """(n, nodes, nodes)."""
    return np.asarray(weight_matrices(problems, 2, node_count(problems, 2)) > 0)


def _maximum_cliques(adjacent: Mask) -> Ints:
    """(n,): a maximum clique of each graph as the bits of a number; graphs are grouped by their highest node that has an edge."""
    used = np.asarray(adjacent.any(axis=2))
    nodes = used.shape[1] - used[:, ::-1].argmax(axis=1)
    best = np.zeros(len(adjacent), dtype=np.int64)
    for count in np.unique(nodes).tolist():
        index = np.flatnonzero(nodes == count)
        best[index] = _cliques_of(adjacent[index, :count, :count])
    return best


def _cliques_of(adjacent: Mask) -> Ints:
    """(n,): a maximum clique of each graph as the bits of a number, the smallest such number.

    A set with the highest node h is a clique if the rest is one and lies among the neighbours of h.
    """
    n, nodes = adjacent.shape[:2]
    step = max(_SETS >> nodes, 1)
    neighbours = (adjacent * (1 << np.arange(nodes))).sum(axis=2)
    sizes = _set_sizes(nodes)
    best = np.zeros(n, dtype=np.int64)
    for first in range(0, n, step):
        near = neighbours[first : first + step]
        is_clique = np.ones((len(near), 1 << nodes), dtype=np.bool_)
        for h in range(nodes):
            rest = np.arange(1 << h)
            is_clique[:, 1 << h : 2 << h] = is_clique[:, : 1 << h] & ((rest & ~near[:, h : h + 1]) == 0)
        best[first : first + step] = np.where(is_clique, sizes, np.int8(-1)).argmax(axis=1)
    return best


@functools.lru_cache(maxsize=16)
def _set_sizes(nodes: int) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """(2^nodes,): the number of nodes of each set."""
    return np.bitwise_count(np.arange(1 << nodes, dtype=np.uint64)).astype(np.int8)


TASK = MaximumClique()
