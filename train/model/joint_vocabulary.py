"""Which words a side of the model knows: those of its own encoding, or the published union of both encodings' words.

Published models give encoder and decoder one joint vocabulary, each with an embedding of its own, and a softmax over all of it,
whatever the answer's encoding can write. Here the joint one begins with the answer's own words in their own order, so that the
decoder's ids are the same either way; words of the problem that the answer lacks follow, then the published framing words that
neither uses, so that the number of words is the published one: 30,329 for FP15 in and P1000 out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mathpipe.train.config import TrainConfig

PUBLISHED_EXTRAS = ("</s>", "(", ")", *(f"<SPECIAL_{k}>" for k in range(10)), "+", "-", "10^", ".", "|")


@dataclass(frozen=True)
class Joint:
    """``size`` words in all; ``source_ids``: the joint id of each of the problem's own ids."""

    size: int
    source_ids: tuple[int, ...]


def joint_vocabulary(source: Sequence[str], target: Sequence[str], extras: Sequence[str] = PUBLISHED_EXTRAS) -> Joint:
    """The union of both sides' words and the published framing ones, the target's first."""
    ids: dict[str, int] = {word: i for i, word in enumerate(target)}
    for word in (*source, *extras):
        ids.setdefault(word, len(ids))
    return Joint(len(ids), tuple(ids[word] for word in source))


_SIGNS = {"+", "-", "INT+", "INT-"}
_MANTISSA, _EXPONENT = re.compile(r"N?-?\d+|FP.*"), re.compile(r"E-?\d+")


def word_weights(vocabulary: Sequence[str], size: int, config: TrainConfig) -> list[float] | None:
    """The weight of each of ``size`` words in the training loss; None where all are 1. Words beyond the vocabulary weigh 1."""
    c = config
    if c.sign_weight == c.mantissa_weight == c.exponent_weight == 1:
        return None
    weights = [1.0] * size
    for i, word in enumerate(vocabulary):
        if word in _SIGNS:
            weights[i] = c.sign_weight
        elif _EXPONENT.fullmatch(word):
            weights[i] = c.exponent_weight
        elif _MANTISSA.fullmatch(word):
            weights[i] = c.mantissa_weight
    return weights
