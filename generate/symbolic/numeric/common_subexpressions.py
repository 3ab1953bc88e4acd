"""Common-subexpression elimination: equal parts of an expression are evaluated once.

Each node is hashed from its token and the hashes of its operands. Nodes of one row with equal hashes are merged into the deepest
of them, so that operands still come first. This removes more than half of the nodes of typical equations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.generate.symbolic.numeric.array_programs import Ints, Program, schedule

_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))


def _mix(h: NDArray[np.uint64]) -> NDArray[np.uint64]:
    h = (h ^ (h >> np.uint64(29))) * _MULTIPLIERS[1]
    return h ^ (h >> np.uint64(32))


def eliminate_common_subexpressions(program: Program) -> Program:
    """An equivalent program with fewer nodes."""
    if not len(program.token):
        return program
    digest = _mix(
        (program.token.astype(np.uint64) + np.uint64(1)) * _MULTIPLIERS[0]
        + program.row.astype(np.uint64) * _MULTIPLIERS[2]
    )
    digest = _mix(digest ^ program.integer.view(np.uint64))
    for nodes in _by_level(program):
        left, right = program.left[nodes], program.right[nodes]
        second = np.where(right >= 0, digest[right], 0).astype(np.uint64)
        digest[nodes] = _mix(_mix(digest[nodes] + digest[left] * _MULTIPLIERS[0]) + second * _MULTIPLIERS[2])
    order = np.lexsort((-program.level, digest))  # the deepest node of equal ones comes first
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = digest[order[1:]] != digest[order[:-1]]
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[is_first][np.cumsum(is_first) - 1]
    representatives = np.flatnonzero(first == np.arange(len(first)))
    new_index = np.full(len(first) + 1, -1, dtype=np.int64)  # the last entry maps a missing operand (-1) to -1
    new_index[representatives] = np.arange(len(representatives))
    new_index[:-1] = new_index[first]
    return schedule(
        program.well_formed,
        program.token[representatives],
        program.integer[representatives],
        program.row[representatives],
        new_index[program.left[representatives]],
        new_index[program.right[representatives]],
        np.where(program.root >= 0, new_index[program.root], -1),
        program.level[representatives],
    )


def _by_level(program: Program) -> list[Ints]:
    """The nodes that have operands, grouped by level, deepest first."""
    nodes = np.flatnonzero(program.left >= 0)
    order = nodes[np.argsort(-program.level[nodes], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(program.level[order])) + 1) if len(order) else []
