"""Batched check of which token sequences are expressions, equivalent to the strict parser but without building trees.

Let w = arity - 1 for each token that begins a node (-1 for an integer's sign), and 0 for a digit. A prefix sequence is one
expression if 1 + w_1 + ... + w_i first becomes 0 at its last node.
"""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.array_types import Mask
from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import MAX_DEPTH, MAX_DIGITS
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, TOKENS

_ZERO, _PLUS, _MINUS = IDS["0"], IDS["INT+"], IDS["INT-"]
_WEIGHT = np.zeros(256, dtype=np.int64)
_IS_NODE = np.zeros(256, dtype=np.bool_)
for _token, _arity in {**ARITY, "INT+": 0, "INT-": 0}.items():
    _WEIGHT[IDS[_token]], _IS_NODE[IDS[_token]] = _arity - 1, True
_DIGIT = (np.arange(256) >= _ZERO) & (np.arange(256) < len(TOKENS))
_SIGN = (np.arange(256) == _PLUS) | (np.arange(256) == _MINUS)


def prevalidate(sequences: Sequences) -> Mask:
    """(n,): True guarantees that ``prefix.parse`` accepts the sequence.

    Up to 200 tokens, False guarantees that it does not. Longer sequences give False, since they
    may exceed the parser's depth limit.
    """
    v, offsets = sequences.values, sequences.offsets
    digit, sign, node = _DIGIT[v], _SIGN[v], _IS_NODE[v]
    last = np.zeros(len(v) + 1, dtype=np.bool_)  # whether a sequence ends after this token
    last[offsets[1:][sequences.lengths > 0] - 1] = True
    first = np.zeros(len(v) + 1, dtype=np.bool_)
    first[offsets[:-1][sequences.lengths > 0]] = True
    after_number = np.concatenate([[False], (digit | sign)[:-1]]) & ~first[:-1] if len(v) else digit
    before_digit = np.concatenate([digit[1:], [False]]) & ~last[:-1] if len(v) else digit
    after_sign = np.concatenate([[False], sign[:-1]]) & ~first[:-1] if len(v) else digit
    after_minus = np.concatenate([[False], v[:-1] == _MINUS]) & ~first[:-1] if len(v) else digit

    weight_before = np.concatenate([[0], np.cumsum(_WEIGHT[v])])
    start = np.repeat(weight_before[offsets[:-1]], sequences.lengths)
    open_before = 1 + weight_before[:-1] - start
    invalid = ~(node | digit) | (node & (open_before < 1)) | (digit & ~after_number) | (sign & ~before_digit)
    invalid |= (v == _ZERO) & after_sign & (before_digit | after_minus)
    position = np.arange(len(v))
    invalid |= digit & (position - np.maximum.accumulate(np.where(digit, -1, position)) > MAX_DIGITS)
    invalid_before = np.concatenate([[0], np.cumsum(invalid)])
    complete = 1 + weight_before[offsets[1:]] - weight_before[offsets[:-1]] == 0
    return np.asarray(
        (invalid_before[offsets[1:]] == invalid_before[offsets[:-1]])
        & complete
        & (sequences.lengths > 0)
        & (sequences.lengths <= MAX_DEPTH)
    )
