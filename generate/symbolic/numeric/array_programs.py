"""Compile prefix sequences into array programs: parse and validate n expressions at once, without a Python loop.

A stack machine reads a prefix sequence from its end: a node of arity k pops k operands and pushes one value. The stack height
after node i, d_i = sum_{j >= i} (1 - arity_j), is also the stack position of its value. The first operand of node i is node i + 1;
the second is the nearest later node whose height is again d_i. Levels below the root follow by pointer doubling.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, TOKENS

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

MAX_TOKENS = 4096
MAX_DEPTH = 200
MAX_DIGITS = 40

_ARITY = np.full(256, -1, dtype=np.int64)
_ARITY[: len(TOKENS)] = [ARITY.get(token, -1) for token in TOKENS]
_PLUS, _MINUS, _ZERO = IDS["INT+"], IDS["INT-"], IDS["0"]
_ARITY[[_PLUS, _MINUS]] = 0
_IS_DIGIT = np.zeros(256, dtype=bool)
_IS_DIGIT[_ZERO : _ZERO + 10] = True


@dataclass(frozen=True)
class Program:
    """The N nodes of those of n expressions that are ``well_formed`` (n,).

    ``token`` (N,): the token of each node; ``integer`` (N,): its value where the token is ``INT+``/``INT-``; ``row`` (N,): the
    expression it belongs to; ``left``, ``right`` (N,): its operands, -1 for none; ``level`` (N,): its distance from the root;
    ``position`` (N,): that of its token in the tokens of all sequences.
    ``root`` (n,): the root node of each expression, -1 where malformed.
    Nodes that are evaluated together are contiguous. ``leaves`` and ``steps`` are (token, nodes) groups: equal leaves, and equal
    operators of one level. Deeper levels come first, so that operands precede the nodes that use them.
    """

    well_formed: Mask
    token: NDArray[np.uint8]
    integer: NDArray[np.float64]
    row: Ints
    left: Ints
    right: Ints
    root: Ints
    level: Ints
    position: Ints
    leaves: list[tuple[int, slice]]
    steps: list[tuple[int, slice]]

    def depths(self) -> Ints:
        """The depth of each expression (n,), in edges; 0 where malformed."""
        deepest = np.zeros(len(self.root), dtype=np.int64)
        np.maximum.at(deepest, self.row, self.level)
        return deepest


def compile_expressions(sequences: Sequences) -> Program:
    """Compile n prefix sequences, as strict as ``datasets.expressions.parse``; never raises, whatever the tokens."""
    tokens = sequences.values
    rows = np.repeat(np.arange(len(sequences)), sequences.lengths)
    good = _well_formed(tokens, rows, sequences)
    is_node = good[rows] & ~_IS_DIGIT[tokens]
    positions = np.flatnonzero(is_node)
    token, row = tokens[positions], rows[positions]
    integer = _integers(tokens, rows, positions, token)
    arity = _ARITY[token]
    counts = np.bincount(row, minlength=len(sequences))
    first = np.cumsum(counts) - counts
    # heights are suffix sums over the whole batch, since every well-formed row contributes exactly one
    height = np.cumsum((1 - arity)[::-1])[::-1]
    n = len(token)
    left = np.where(arity >= 1, np.arange(n) + 1, -1)
    right = np.full(n, -1, dtype=np.int64)
    order = np.argsort(height, kind="stable")  # stable: equal heights stay in sequence order
    nearest = np.full(n, -1, dtype=np.int64)
    nearest[order[:-1]] = order[1:]
    binary = arity == 2
    right[binary] = nearest[binary]
    level, shallow = _levels(left, right, n, row, len(sequences))
    program = schedule(good, token, integer, row, left, right, np.where(good, first, -1), level, positions)
    if shallow.all():
        return program
    return compile_expressions(_clear_rows(sequences, ~shallow))


def _clear_rows(sequences: Sequences, where: Mask) -> Sequences:
    """Replace the rows ``where`` (n,) is True by empty ones, which are malformed."""
    lengths = np.where(where, 0, sequences.lengths)
    return Sequences(sequences.values[~np.repeat(where, sequences.lengths)], lengths)


def _well_formed(tokens: NDArray[np.uint8], rows: Ints, sequences: Sequences) -> Mask:
    """Which rows are exactly one expression with correctly written integers."""
    n, lengths = len(sequences), sequences.lengths
    good = (lengths > 0) & (lengths <= MAX_TOKENS)
    if not len(tokens):
        return np.asarray(good)
    arity, digit = _ARITY[tokens], _IS_DIGIT[tokens]
    sign = (tokens == _PLUS) | (tokens == _MINUS)
    previous = np.roll(tokens, 1)
    starts = np.zeros(len(tokens), dtype=bool)
    starts[sequences.offsets[:-1][lengths > 0]] = True
    after_sign = np.roll(sign, 1) & ~starts
    after_digit = np.roll(digit, 1) & ~starts
    bad = (arity < 0) & ~digit
    bad |= digit & ~(after_sign | after_digit)
    bad[:-1] |= sign[:-1] & (~digit[1:] | starts[1:])
    bad[-1] |= bool(sign[-1])
    zero = (tokens == _ZERO) & after_sign
    bad |= zero & (previous == _MINUS)
    bad[:-1] |= zero[:-1] & digit[1:] & ~starts[1:]
    # too many digits: the 40th neighbour to the left of a digit still belongs to the same integer
    integer_id = np.cumsum(~digit)
    run_start = np.arange(len(tokens)) - MAX_DIGITS
    bad |= (
        digit
        & (run_start >= 0)
        & (integer_id[np.maximum(run_start, 0)] == integer_id)
        & digit[np.maximum(run_start, 0)]
    )
    change = np.where(digit, 0, arity - 1)
    cumulative = np.cumsum(change)
    before_row = np.concatenate([[0], cumulative])[sequences.offsets[:-1]]
    open_slots = 1 + cumulative - before_row[rows]  # operands still missing after this token
    last = np.zeros(len(tokens), dtype=bool)
    ends = sequences.offsets[1:] - 1
    last[ends[lengths > 0]] = True
    closed = open_slots <= 0
    # after the last operand only the digits of a final integer may follow
    bad |= np.roll(closed, 1) & ~starts & ~digit
    bad |= last & (open_slots != 0)
    good &= np.bincount(rows[bad], minlength=n) == 0
    return np.asarray(good)


def _integers(tokens: NDArray[np.uint8], rows: Ints, positions: Ints, token: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The value of each integer node; 0 for other nodes."""
    integer = np.zeros(len(positions))
    signs = np.flatnonzero((token == _PLUS) | (token == _MINUS))
    cursor = positions[signs] + 1
    active = np.ones(len(signs), dtype=bool)
    value = np.zeros(len(signs))
    for _ in range(MAX_DIGITS):
        active &= cursor < len(tokens)
        active[active] = _IS_DIGIT[tokens[cursor[active]]] & (rows[cursor[active]] == rows[positions[signs[active]]])
        if not active.any():
            break
        value[active] = 10 * value[active] + (tokens[cursor[active]] - _ZERO)
        cursor = cursor + 1
    integer[signs] = np.where(token[signs] == _MINUS, -value, value)
    return integer


def _levels(left: Ints, right: Ints, n: int, row: Ints, rows: int) -> tuple[Ints, Mask]:
    """(distance of each node from the root (N,), which rows are not too deep (rows,))."""
    parent = np.full(n + 1, n, dtype=np.int64)
    has_left, has_right = np.flatnonzero(left >= 0), np.flatnonzero(right >= 0)
    parent[left[has_left]] = has_left
    parent[right[has_right]] = has_right
    level = (parent != n).astype(np.int64)
    while True:
        parent_level = level[parent]
        if not parent_level.any():
            break
        level = level + parent_level
        parent = parent[parent]
    level = level[:n]
    shallow = np.ones(rows, dtype=bool)
    shallow[row[level > MAX_DEPTH]] = False
    return level, shallow


def schedule(
    well_formed: Mask,
    token: NDArray[np.uint8],
    integer: NDArray[np.float64],
    row: Ints,
    left: Ints,
    right: Ints,
    root: Ints,
    level: Ints,
    position: Ints,
) -> Program:
    """The program of these nodes, which may come in any order."""
    leaf = left < 0
    key = np.where(leaf, 0, (1 + level.max(initial=0) - level) << 8) + token
    order = np.argsort(key, kind="stable")
    new_index = np.full(len(order) + 1, -1, dtype=np.int64)  # the last entry maps a missing operand (-1) to -1
    new_index[order] = np.arange(len(order))
    token = token[order]
    boundaries = [0, *(np.flatnonzero(np.diff(key[order])) + 1).tolist(), len(order)]
    groups = [(int(token[a]), slice(a, b)) for a, b in pairwise(boundaries) if b > a]
    return Program(
        well_formed,
        token,
        integer[order],
        row[order],
        new_index[left[order]],
        new_index[right[order]],
        new_index[root],
        level[order],
        position[order],
        [(w, nodes) for w, nodes in groups if _ARITY[w] == 0],
        [(w, nodes) for w, nodes in groups if _ARITY[w] > 0],
    )
