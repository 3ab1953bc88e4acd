"""Equal parts of an expression evaluated once: a program without the repetitions.

Each node has a number made from its word and its operands' numbers; nodes of one row with equal numbers are one node, the
deepest of them, so that operands still come first. Equations repeat themselves: more than half of their nodes go.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.generate.symbolic.numeric.array_programs import Ints, Program, scheduled

_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))


def _mixed(h: NDArray[np.uint64]) -> NDArray[np.uint64]:
    h = (h ^ (h >> np.uint64(29))) * _ODD[1]
    return h ^ (h >> np.uint64(32))


def shared(program: Program) -> Program:
    """The same values from fewer nodes."""
    if not len(program.word):
        return program
    number = _mixed((program.word.astype(np.uint64) + np.uint64(1)) * _ODD[0] + program.row.astype(np.uint64) * _ODD[2])
    number = _mixed(number ^ program.integer.view(np.uint64))
    for nodes in _by_level(program):
        left, right = program.left[nodes], program.right[nodes]
        second = np.where(right >= 0, number[right], 0).astype(np.uint64)
        number[nodes] = _mixed(_mixed(number[nodes] + number[left] * _ODD[0]) + second * _ODD[2])
    order = np.lexsort((-program.level, number))  # of equal ones the deepest first
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = number[order[1:]] != number[order[:-1]]
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[begins][np.cumsum(begins) - 1]
    kept = np.flatnonzero(first == np.arange(len(first)))
    place = np.full(len(first) + 1, -1, dtype=np.int64)  # the last for operands that are none
    place[kept] = np.arange(len(kept))
    place[:-1] = place[first]
    return scheduled(
        program.well_formed,
        program.word[kept],
        program.integer[kept],
        program.row[kept],
        place[program.left[kept]],
        place[program.right[kept]],
        np.where(program.root >= 0, place[program.root], -1),
        program.level[kept],
    )


def _by_level(program: Program) -> list[Ints]:
    """Nodes with operands, deepest level first."""
    nodes = np.flatnonzero(program.left >= 0)
    order = nodes[np.argsort(-program.level[nodes], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(program.level[order])) + 1) if len(order) else []
