"""Which sequences of words are expressions, many at once: what the strict parser accepts, without building trees.

With w = operands - 1 of each word that begins a node (-1 for an integer's sign, 0 for a digit), a prefix sequence is one
expression when 1 + w_1 + ... + w_i first becomes 0 at its last node.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import MAX_DEPTH, MAX_DIGITS
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, WORDS

Mask = NDArray[np.bool_]

_ZERO, _PLUS, _MINUS = IDS["0"], IDS["INT+"], IDS["INT-"]
_WEIGHT = np.zeros(256, dtype=np.int64)
_KNOWN = np.zeros(256, dtype=np.bool_)
for _word, _arity in {**ARITY, "INT+": 0, "INT-": 0}.items():
    _WEIGHT[IDS[_word]], _KNOWN[IDS[_word]] = _arity - 1, True
_DIGIT = (np.arange(256) >= _ZERO) & (np.arange(256) < len(WORDS))
_SIGN = (np.arange(256) == _PLUS) | (np.arange(256) == _MINUS)


def surely_well_formed(sequences: Sequences) -> Mask:
    """(n,): True only where ``expressions.parse`` accepts; exactly there for sequences of up to 200 words.

    Longer ones may be deeper than the parser's bound, so that it must be asked.
    """
    v, offsets = sequences.values, sequences.offsets
    digit, sign, node = _DIGIT[v], _SIGN[v], _KNOWN[v]
    last = np.zeros(len(v) + 1, dtype=np.bool_)  # whether a sequence ends after this word
    last[offsets[1:][sequences.lengths > 0] - 1] = True
    first = np.zeros(len(v) + 1, dtype=np.bool_)
    first[offsets[:-1][sequences.lengths > 0]] = True
    after_number = np.concatenate([[False], (digit | sign)[:-1]]) & ~first[:-1] if len(v) else digit
    before_digit = np.concatenate([digit[1:], [False]]) & ~last[:-1] if len(v) else digit
    after_sign = np.concatenate([[False], sign[:-1]]) & ~first[:-1] if len(v) else digit
    after_minus = np.concatenate([[False], v[:-1] == _MINUS]) & ~first[:-1] if len(v) else digit

    summed = np.concatenate([[0], np.cumsum(_WEIGHT[v])])
    start = np.repeat(summed[offsets[:-1]], sequences.lengths)
    open_before = 1 + summed[:-1] - start
    bad = ~(node | digit) | (node & (open_before < 1)) | (digit & ~after_number) | (sign & ~before_digit)
    bad |= (v == _ZERO) & after_sign & (before_digit | after_minus)
    place = np.arange(len(v))
    bad |= digit & (place - np.maximum.accumulate(np.where(digit, -1, place)) > MAX_DIGITS)
    counted = np.concatenate([[0], np.cumsum(bad)])
    closed = 1 + summed[offsets[1:]] - summed[offsets[:-1]] == 0
    return np.asarray(
        (counted[offsets[1:]] == counted[offsets[:-1]])
        & closed
        & (sequences.lengths > 0)
        & (sequences.lengths <= MAX_DEPTH)
    )
