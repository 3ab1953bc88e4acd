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
from mathpipe.generate.tasks.graphs.bit_planes import Planes, adjacency, adjacency_of_pairs, first_set, unpack
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

LARGEST = 14  # nodes: all 2^n sets are tried
_TABLE_SIZE = 1 << 18  # sets tried at a time, each of 64 graphs: 2 MiB


class MaximumClique(IntegerTask[GraphSpec]):
    """Graph -> nodes of a maximum clique."""

    name = "maximum-clique"
    problem = "edges of a graph"
    solution = "the nodes of a maximum clique"
    source = "graph algorithms"
    problem_layout = "[(int, int)]"
    solution_layout = "[int]"
    batch_size = 4608
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
        return self.sample_solved(rng, n, spec)[0]

    def sample_solved(
        self, rng: np.random.Generator, n: int, spec: GraphSpec
    ) -> tuple[IntegerSequences, IntegerSequences]:
        graphs = sample_graphs(rng, n, spec)
        members = _maximum_cliques(adjacency_of_pairs(graphs.is_edge, spec.max_nodes), n)
        return edge_rows(graphs), _member_rows(members)

    def is_problem(self, problems: IntegerSequences, spec: GraphSpec) -> Mask:
        return are_graphs(problems, 2, spec)

    def solve(self, problems: IntegerSequences, spec: GraphSpec) -> IntegerSequences:
        return _member_rows(_maximum_cliques(_adjacency(problems, spec.max_nodes), len(problems)))

    def is_right(self, problems: IntegerSequences, references: IntegerSequences, predicted: IntegerSequences) -> Mask:
        nodes = node_count(problems, 2)
        adjacent = weight_matrices(problems, 2, nodes) > 0
        size = _maximum_cliques(_adjacency(problems, nodes), len(problems)).sum(axis=1)
        answer = predicted.dense(-1)[:, 1:]
        within = np.arange(answer.shape[1]) < (predicted.lengths - 1)[:, None]
        valid = (predicted.lengths - 1 == size) & (((answer >= 0) & (answer < nodes)) | ~within).all(axis=1)
        members = np.zeros((len(problems), nodes), dtype=np.bool_)
        row, column = np.nonzero(within & valid[:, None])
        members[row, answer[row, column]] = True
        connected = adjacent | np.eye(nodes, dtype=np.bool_) | ~members[:, :, None] | ~members[:, None, :]
        return np.asarray(valid & (members.sum(axis=1) == size) & connected.all(axis=(1, 2)))


def _adjacency(problems: IntegerSequences, nodes: int) -> Planes:
    row, at = edge_positions(problems, 2)
    return adjacency(row, problems.values[at], problems.values[at + 1], len(problems), nodes)


def _member_rows(members: Mask) -> IntegerSequences:
    """Flat rows of the members (n, nodes), ascending."""
    return list_rows(np.nonzero(members)[1], members.sum(axis=1))


def _maximum_cliques(adjacent: Planes, n: int) -> Mask:
    """(n, nodes): the members of a maximum clique of each graph."""
    step = max(_TABLE_SIZE >> len(adjacent), 1)
    parts = [_cliques_of(adjacent[:, :, k : k + step]) for k in range(0, max(adjacent.shape[2], 1), step)]
    return unpack(np.concatenate(parts, axis=1), n).T


def _cliques_of(adjacent: Planes) -> Planes:
    """(nodes, words): the members of a maximum clique of each graph; of several the one with the smallest sum of 2^node.

    A set is a clique if it is one without its highest node, and without its lowest, and these two are adjacent.
    """
    nodes, shape = len(adjacent), adjacent.shape[2:]
    is_clique = np.empty((1 << nodes, *shape), dtype=np.uint64)
    is_clique[1 << np.arange(nodes)] = ~np.uint64(0)
    members = np.zeros((nodes, *shape), dtype=np.uint64)
    members[0] = ~np.uint64(0)
    for size in range(2, nodes + 1):
        sets, highest, lowest = _sets_of_size(nodes, size)
        cliques = is_clique[sets & ~(1 << highest)] & is_clique[sets & ~(1 << lowest)] & adjacent[highest, lowest]
        has_clique = np.bitwise_or.reduce(cliques, axis=0)
        if not has_clique.any():
            break
        is_clique[sets] = cliques
        chosen = first_set(cliques)
        members &= ~has_clique
        for node in range(nodes):
            members[node] |= np.bitwise_or.reduce(chosen[sets >> node & 1 == 1], axis=0)
    return members


@functools.lru_cache(maxsize=LARGEST**2)
def _sets_of_size(nodes: int, size: int) -> tuple[Ints, Ints, Ints]:
    """(the sets of ``size`` nodes as sums of 2^node, ascending; the highest node of each; the lowest), (m,) each."""
    sets = np.arange(1 << nodes)
    sets = sets[np.bitwise_count(sets) == size]
    members = (sets[:, None] >> np.arange(nodes)) & 1 == 1
    return sets, nodes - 1 - members[:, ::-1].argmax(axis=1), members.argmax(axis=1)


TASK = MaximumClique()
