"""The vocabulary of each side: the tokens of its own encoding, or the published union of both encodings.

Published models give encoder and decoder one joint vocabulary, each with its own embedding, and a softmax over all of it. The
joint vocabulary here starts with the tokens of the target encoding in their own order, so that decoder ids do not change. Source
tokens that the target lacks follow, then the unused published framing tokens, which make the published size: 30,329 for FP15 in
and P1000 out. ``published_tokens`` and ``published_ids`` translate to the order of ids in published models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.sequence_tokenizer import FIRST_TOKEN
from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.train.config import TrainConfig


@dataclass(frozen=True)
class JointVocabulary:
    """``tokens``: the token of each joint id; ``source_ids``: the joint id of each source id."""

    tokens: tuple[str, ...]
    source_ids: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.tokens)


def joint_vocabulary(source: Sequence[str], target: Sequence[str], extras: Sequence[str] = ()) -> JointVocabulary:
    """The union of target tokens, source tokens and ``extras``, in this order."""
    ids: dict[str, int] = {token: i for i, token in enumerate(target)}
    for token in (*source, *extras):
        ids.setdefault(token, len(ids))
    return JointVocabulary(tuple(ids), tuple(ids[token] for token in source))


def listed_vocabulary(source: Sequence[str], target: Sequence[str], tokens: Sequence[str]) -> JointVocabulary:
    """The joint vocabulary of exactly these tokens, of which the first two begin and pad a sequence under any name.

    UserError if a token of a side is not among them.
    """
    names = dict(zip(target[:FIRST_TOKEN], tokens[:FIRST_TOKEN], strict=True))
    extras = [names.get(token, token) for token in tokens[FIRST_TOKEN:]]
    missing = sorted({*source, *target} - {*target[:FIRST_TOKEN]} - {*extras})
    if missing:
        raise UserError(
            "the vocabulary lacks tokens of the encodings",
            expected=f"all tokens of both encodings among the {len(tokens):,} of the vocabulary",
            got=f"{len(missing):,} missing, such as {' '.join(missing[:5])}",
            next_step="choose the encodings with which the model was trained",
        )
    return joint_vocabulary(source, target, extras)


def published_tokens(joint: JointVocabulary, start: Sequence[str]) -> tuple[str, ...]:
    """The joint tokens in the order of published ids: ``start``, then all others in string order."""
    return (*start, *sorted({*joint.tokens} - {*start})) if start else joint.tokens


def published_ids(tokens: Sequence[str], published: Sequence[str]) -> tuple[int, ...]:
    """The published id of each joint id; ``tokens`` and ``published`` list the same tokens in two orders.

    Ids 0 and 1 begin and pad a sequence in both orders, whatever they are called: published vocabularies pad with ``</s>`` and
    list an unused ``<pad>``.
    """
    ids = {token: i for i, token in enumerate(published)}
    for i in (END, PAD):
        if published[i] != tokens[i] and tokens[i] in ids:
            ids[published[i]] = ids[tokens[i]]
        ids[tokens[i]] = i
    return tuple(ids[token] for token in tokens)


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
