"""Common-subexpression elimination: equal parts of an expression, or of many expressions, are evaluated once.

Each node is hashed from its token and the hashes of its operands. Nodes of one group with equal hashes are merged into the deepest
of them, so that operands still come first, if they are equal indeed. This removes more than half of the nodes of typical equations,
and three quarters of those of many integrals together.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mathpipe.generate.symbolic.numeric.array_programs import Ints, Program, schedule

MAX_EXACT_INTEGER = 2.0**53  # larger integers are not merged
_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))


def _mix(h: NDArray[np.uint64]) -> NDArray[np.uint64]:
    h = (h ^ (h >> np.uint64(29))) * _MULTIPLIERS[1]
    return h ^ (h >> np.uint64(32))


def eliminate_common_subexpressions(program: Program, groups: Ints | None = None) -> Program:
    """An equivalent program with fewer nodes."""
    return merge_equal_nodes(program, groups)[0]


def merge_equal_nodes(program: Program, groups: Ints | None = None) -> tuple[Program, Ints]:
    """(an equivalent program with fewer nodes, the new index (N,) of each node).

    ``groups`` (n,): expressions of one group, which must have the same values of leaves, share nodes; the ``row`` of a new node is
    its group. Expressions of group -1 are left out: their nodes and roots become -1. By default each has a group of its own.
    """
    if groups is None:
        nodes, row = np.arange(len(program.token)), program.row
    else:
        row = groups[program.row]
        nodes = np.flatnonzero(row >= 0)
        row = row[nodes]
    new_index = np.full(len(program.token) + 1, -1, dtype=np.int64)  # the last entry maps a missing operand (-1) to -1
    new_index[nodes] = np.arange(len(nodes))
    if not len(nodes):
        return _select(program, nodes, row, new_index), new_index[:-1]
    left, right = new_index[program.left[nodes]], new_index[program.right[nodes]]
    first = _first_equal_node(program, nodes, row, left, right)
    representatives = np.flatnonzero(first == np.arange(len(first)))
    index = np.zeros(len(first), dtype=np.int64)
    index[representatives] = np.arange(len(representatives))
    new_index[nodes] = index[first]
    merged = _select(program, nodes[representatives], row[representatives], new_index)
    by_position = np.zeros(int(merged.position.max()) + 1, dtype=np.int64)
    by_position[merged.position] = np.arange(len(merged.position))
    new_index[nodes] = by_position[program.position[nodes[first]]]
    return merged, new_index[:-1]


def _select(program: Program, nodes: Ints, row: Ints, new_index: Ints) -> Program:
    """The program of these nodes."""
    return schedule(
        program.well_formed,
        program.token[nodes],
        program.integer[nodes],
        row,
        new_index[program.left[nodes]],
        new_index[program.right[nodes]],
        np.where(program.root >= 0, new_index[program.root], -1),
        program.level[nodes],
        program.position[nodes],
    )


def _first_equal_node(program: Program, nodes: Ints, row: Ints, left: Ints, right: Ints) -> Ints:
    """The first (k,) of these nodes that equals each of them, which is at least as deep; ``left``, ``right``: among them."""
    token, integer, level = program.token[nodes], program.integer[nodes], program.level[nodes]
    huge = np.abs(integer) >= MAX_EXACT_INTEGER
    number = np.where(huge, MAX_EXACT_INTEGER + program.position[nodes], integer)
    digest = _digests(token, number, row, left, right, level)
    order = np.argsort(digest, kind="stable")
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = digest[order[1:]] != digest[order[:-1]]
    first = np.empty(len(order) + 1, dtype=np.int64)
    first[order] = order[is_first][np.cumsum(is_first) - 1]
    first[-1] = -1
    same = first[:-1]
    equal = (token == token[same]) & (number == number[same]) & (row == row[same])
    for operand in (left, right):
        equal &= first[operand] == first[operand[same]]
    return same if equal.all() else np.arange(len(nodes))  # different nodes with one hash: merge none


def _digests(
    token: NDArray[np.uint8], number: NDArray[np.float64], row: Ints, left: Ints, right: Ints, level: Ints
) -> NDArray[np.uint64]:
    digest = _mix((token.astype(np.uint64) + np.uint64(1)) * _MULTIPLIERS[0] + row.astype(np.uint64) * _MULTIPLIERS[2])
    digest = _mix(digest ^ number.view(np.uint64))
    for nodes in _by_level(left, level):
        second = np.where(right[nodes] >= 0, digest[right[nodes]], 0).astype(np.uint64)
        digest[nodes] = _mix(_mix(digest[nodes] + digest[left[nodes]] * _MULTIPLIERS[0]) + second * _MULTIPLIERS[2])
    return digest


def _by_level(left: Ints, level: Ints) -> list[slice]:
    """The nodes that have operands, grouped by level, deepest first, in the order in which ``schedule`` has put them."""
    leaves = int(np.count_nonzero(left < 0))
    ends = [leaves, *(leaves + 1 + np.flatnonzero(np.diff(level[leaves:]))).tolist(), len(left)]
    return [slice(a, b) for a, b in pairwise(ends) if b > a]
