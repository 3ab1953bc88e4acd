"""The vocabulary of each side: the tokens of its own encoding, or the published union of both encodings.

Published models give encoder and decoder one joint vocabulary, each with its own embedding, and a softmax over all of it. The
joint vocabulary here starts with the tokens of the target encoding in their own order, so that decoder ids do not change. Source
tokens that the target lacks follow, then the unused published framing tokens, which make the published size: 30,329 for FP15 in
and P1000 out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mathpipe.train.config import TrainConfig


@dataclass(frozen=True)
class JointVocabulary:
    """``size``: number of tokens; ``source_ids``: the joint id of each source id."""

    size: int
    source_ids: tuple[int, ...]


def joint_vocabulary(source: Sequence[str], target: Sequence[str], extras: Sequence[str] = ()) -> JointVocabulary:
    """The union of target tokens, source tokens and ``extras``, in this order."""
    ids: dict[str, int] = {token: i for i, token in enumerate(target)}
    for token in (*source, *extras):
        ids.setdefault(token, len(ids))
    return JointVocabulary(len(ids), tuple(ids[token] for token in source))


_SIGNS = {"+", "-", "INT+", "INT-"}
_MANTISSA, _EXPONENT = re.compile(r"N?-?\d+|FP.*"), re.compile(r"E-?\d+")


def token_weights(vocabulary: Sequence[str], size: int, config: TrainConfig) -> list[float] | None:
    """The weight of each of ``size`` tokens in the training loss, 1 beyond the vocabulary; None if all weights are 1."""
    c = config
    if c.sign_weight == c.mantissa_weight == c.exponent_weight == 1:
        return None
    weights = [1.0] * size
    for i, token in enumerate(vocabulary):
        if token in _SIGNS:
            weights[i] = c.sign_weight
        elif _EXPONENT.fullmatch(token):
            weights[i] = c.exponent_weight
        elif _MANTISSA.fullmatch(token):
            weights[i] = c.mantissa_weight
    return weights
