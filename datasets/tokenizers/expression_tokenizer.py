"""Tokenizer of expressions. Token ids are those stored in the shards and of the published vocabulary.

Id 0 begins and ends a sequence, id 1 pads. Encoded expressions have no framing; the loader and the model add it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError, nearest
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, TOKENS
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD, DecodeStatus, PrefixFormat, Tokens


@dataclass(frozen=True)
class ExpressionTokenizer:
    """Encodes and decodes expressions with the 91 published tokens; it has no options."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The token of each id."""
        return TOKENS

    @cached_property
    def format(self) -> PrefixFormat:
        arity = {**ARITY, "INT+": 0, "INT-": 0}
        return PrefixFormat(len(TOKENS), tuple(arity.get(token, -1) for token in TOKENS))

    def encode(self, sequences: Sequences) -> tuple[Tokens, NDArray[np.int64]]:
        """(token ids (n, longest) int32 padded with PAD, lengths (n,)), without framing."""
        return sequences.padded(PAD), sequences.lengths

    def decode(self, tokens: NDArray[np.integer]) -> tuple[Sequences, NDArray[np.int8]]:
        """Decode predictions (n, L) up to the first END; never raises, whatever the ids.

        UNTERMINATED without an END, MALFORMED with an unknown id; both give an empty sequence. Whether the tokens form an
        expression is checked by the task's verifier.
        """
        t = np.asarray(tokens, dtype=np.int64)
        n, width = t.shape
        is_end = t == END
        terminated = np.asarray(is_end.any(axis=1))
        lengths = np.where(terminated, is_end.argmax(axis=1), 0) if width else np.zeros(n, dtype=np.int64)
        inside = np.arange(width) < lengths[:, None]
        well_formed = np.asarray(~(inside & ((t < 0) | (t >= len(TOKENS)))).any(axis=1))
        selected = inside & well_formed[:, None]
        status = np.where(
            terminated, np.where(well_formed, DecodeStatus.OK, DecodeStatus.MALFORMED), DecodeStatus.UNTERMINATED
        )
        return Sequences(t[selected].astype(np.uint8), np.where(well_formed, lengths, 0)), status.astype(np.int8)

    def ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of these ids; an id outside the vocabulary shows as ``<id>``."""
        return [TOKENS[t] if 0 <= t < len(TOKENS) else f"<{t}>" for t in map(int, ids)]

    def tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """The ids of these tokens; UserError for an unknown one."""
        ids = []
        for token in tokens:
            if token not in IDS:
                suggestion = nearest(token, IDS)
                raise UserError(
                    f"{token!r} is not a token of expressions",
                    expected="tokens of the published vocabulary",
                    next_step=suggestion and f"did you mean {suggestion}?",
                )
            ids.append(IDS[token])
        return ids
