"""Prefix sequences as programs for arrays: n expressions are read, checked and ordered at once, without a loop over them.

Processing a prefix sequence from its end with a stack, a node of arity k takes k operands and leaves one: the height of the
stack after node i, d_i = sum_{j >= i} (1 - arity_j), is at the same time the place of its value. The first operand of i is node
i + 1; the second is the nearest later node whose height is d_i again. Levels below the root follow by pointer doubling.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, WORDS

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

MAX_WORDS = 4096
MAX_DEPTH = 200
MAX_DIGITS = 40

_ARITY = np.full(256, -1, dtype=np.int64)
_ARITY[: len(WORDS)] = [ARITY.get(word, -1) for word in WORDS]
_PLUS, _MINUS, _ZERO = IDS["INT+"], IDS["INT-"], IDS["0"]
_ARITY[[_PLUS, _MINUS]] = 0
_IS_DIGIT = np.zeros(256, dtype=bool)
_IS_DIGIT[_ZERO : _ZERO + 10] = True


@dataclass(frozen=True)
class Program:
    """The nodes of n expressions, those that are ``well_formed`` (n,) only, one after the other.

    ``word`` (N,): the word of each node; ``integer`` (N,): the value where it is ``INT+``/``INT-``; ``row`` (N,): whose it is;
    ``left``, ``right`` (N,): its operands, -1 for none; ``root`` (n,): -1 where malformed; ``level`` (N,): edges up to the root.
    Nodes that are worked on together stand together: ``leaves`` and ``steps`` are (word, nodes) groups of equal leaves, and of
    equal operators of one level, the deepest level first, so that operands come before what is made of them.
    """

    well_formed: Mask
    word: NDArray[np.uint8]
    integer: NDArray[np.float64]
    row: Ints
    left: Ints
    right: Ints
    root: Ints
    level: Ints
    leaves: list[tuple[int, slice]]
    steps: list[tuple[int, slice]]

    def depths(self) -> Ints:
        """Edges from the root to the deepest leaf, (n,); 0 where malformed."""
        deepest = np.zeros(len(self.root), dtype=np.int64)
        np.maximum.at(deepest, self.row, self.level)
        return deepest


def compile_expressions(sequences: Sequences) -> Program:
    """Read n prefix sequences as strictly as ``datasets.expressions.parse`` does; no words whatever raise."""
    words = sequences.values
    rows = np.repeat(np.arange(len(sequences)), sequences.lengths)
    good = _well_formed(words, rows, sequences)
    keep = good[rows]
    is_node = keep & ~_IS_DIGIT[words]
    place = np.flatnonzero(is_node)
    word, row = words[place], rows[place]
    integer = _integers(words, rows, place, word)
    arity = _ARITY[word]
    counts = np.bincount(row, minlength=len(sequences))
    first = np.cumsum(counts) - counts
    # heights are sums from the right: over the whole batch, since every well-formed row adds exactly one
    height = np.cumsum((1 - arity)[::-1])[::-1]
    n = len(word)
    left = np.where(arity >= 1, np.arange(n) + 1, -1)
    right = np.full(n, -1, dtype=np.int64)
    order = np.argsort(height, kind="stable")  # equal heights stay in order of place
    nearest = np.full(n, -1, dtype=np.int64)
    nearest[order[:-1]] = order[1:]
    binary = arity == 2
    right[binary] = nearest[binary]
    level, shallow = _levels(left, right, n, row, len(sequences))
    program = scheduled(good, word, integer, row, left, right, np.where(good, first, -1), level)
    if shallow.all():
        return program
    return compile_expressions(_emptied(sequences, ~shallow))


def _emptied(sequences: Sequences, where: Mask) -> Sequences:
    lengths = np.where(where, 0, sequences.lengths)
    return Sequences(sequences.values[~np.repeat(where, sequences.lengths)], lengths)


def _well_formed(words: NDArray[np.uint8], rows: Ints, sequences: Sequences) -> Mask:
    """Which rows are exactly one expression, its integers written as they should be."""
    n, lengths = len(sequences), sequences.lengths
    good = (lengths > 0) & (lengths <= MAX_WORDS)
    if not len(words):
        return np.asarray(good)
    arity, digit = _ARITY[words], _IS_DIGIT[words]
    sign = (words == _PLUS) | (words == _MINUS)
    before = np.roll(words, 1)
    starts = np.zeros(len(words), dtype=bool)
    starts[sequences.offsets[:-1][lengths > 0]] = True
    after_sign = np.roll(sign, 1) & ~starts
    after_digit = np.roll(digit, 1) & ~starts
    bad = (arity < 0) & ~digit
    bad |= digit & ~(after_sign | after_digit)
    bad[:-1] |= sign[:-1] & (~digit[1:] | starts[1:])
    bad[-1] |= bool(sign[-1])
    zero = (words == _ZERO) & after_sign
    bad |= zero & (before == _MINUS)
    bad[:-1] |= zero[:-1] & digit[1:] & ~starts[1:]
    # a digit whose 40th neighbour to the left still belongs to the same integer
    run = np.cumsum(~digit)
    far = np.arange(len(words)) - MAX_DIGITS
    bad |= digit & (far >= 0) & (run[np.maximum(far, 0)] == run) & digit[np.maximum(far, 0)]
    need = np.where(digit, 0, arity - 1)
    total = np.cumsum(need)
    base = np.concatenate([[0], total])[sequences.offsets[:-1]]
    open_slots = 1 + total - base[rows]  # operands still wanted after this word
    last = np.zeros(len(words), dtype=bool)
    ends = sequences.offsets[1:] - 1
    last[ends[lengths > 0]] = True
    closed = open_slots <= 0
    # once closed, only the digits of a last integer may follow
    bad |= np.roll(closed, 1) & ~starts & ~digit
    bad |= last & (open_slots != 0)
    good &= np.bincount(rows[bad], minlength=n) == 0
    return np.asarray(good)


def _integers(words: NDArray[np.uint8], rows: Ints, place: Ints, word: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The value of each integer node, 0 for others."""
    integer = np.zeros(len(place))
    signs = np.flatnonzero((word == _PLUS) | (word == _MINUS))
    at = place[signs] + 1
    going = np.ones(len(signs), dtype=bool)
    value = np.zeros(len(signs))
    for _ in range(MAX_DIGITS):
        going &= at < len(words)
        going[going] = _IS_DIGIT[words[at[going]]] & (rows[at[going]] == rows[place[signs[going]]])
        if not going.any():
            break
        value[going] = 10 * value[going] + (words[at[going]] - _ZERO)
        at = at + 1
    integer[signs] = np.where(word[signs] == _MINUS, -value, value)
    return integer


def _levels(left: Ints, right: Ints, n: int, row: Ints, rows: int) -> tuple[Ints, Mask]:
    """(edges up to the root (N,), which rows are not too deep (rows,))."""
    parent = np.full(n + 1, n, dtype=np.int64)
    has_left, has_right = np.flatnonzero(left >= 0), np.flatnonzero(right >= 0)
    parent[left[has_left]] = has_left
    parent[right[has_right]] = has_right
    level = (parent != n).astype(np.int64)
    while True:
        further = level[parent]
        if not further.any():
            break
        level = level + further
        parent = parent[parent]
    level = level[:n]
    shallow = np.ones(rows, dtype=bool)
    shallow[row[level > MAX_DEPTH]] = False
    return level, shallow


def scheduled(
    well_formed: Mask,
    word: NDArray[np.uint8],
    integer: NDArray[np.float64],
    row: Ints,
    left: Ints,
    right: Ints,
    root: Ints,
    level: Ints,
) -> Program:
    """The program of these nodes, given in any order."""
    leaf = left < 0
    key = np.where(leaf, 0, (1 + level.max(initial=0) - level) << 8) + word
    order = np.argsort(key, kind="stable")
    place = np.full(len(order) + 1, -1, dtype=np.int64)  # the last for operands that are none
    place[order] = np.arange(len(order))
    word = word[order]
    cuts = [0, *(np.flatnonzero(np.diff(key[order])) + 1).tolist(), len(order)]
    groups = [(int(word[a]), slice(a, b)) for a, b in pairwise(cuts) if b > a]
    return Program(
        well_formed,
        word,
        integer[order],
        row[order],
        place[left[order]],
        place[right[order]],
        place[root],
        level[order],
        [(w, nodes) for w, nodes in groups if _ARITY[w] == 0],
        [(w, nodes) for w, nodes in groups if _ARITY[w] > 0],
    )
