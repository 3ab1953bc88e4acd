"""Expressions as sequences of tokens: the words as they are stored, and the same ids, so that published models can be read.

Id 0 begins and ends a sequence, id 1 pads. A written expression carries no framing; the loader and the model add it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError, nearest
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, WORDS
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD, PrefixFormat, Reading, Tokens


@dataclass(frozen=True)
class ExpressionTokenizer:
    """Writes and reads expressions in the 91 words; there is nothing to choose."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The word of each token id."""
        return WORDS

    @cached_property
    def format(self) -> PrefixFormat:
        leaves = {**ARITY, "INT+": 0, "INT-": 0}
        return PrefixFormat(len(WORDS), tuple(leaves.get(word, -1) for word in WORDS))

    def encode(self, sequences: Sequences) -> tuple[Tokens, NDArray[np.int64]]:
        """(tokens (n, longest) int32 padded with PAD, lengths (n,)), without framing."""
        return sequences.padded(PAD), sequences.lengths

    def decode(self, tokens: NDArray[np.integer]) -> tuple[Sequences, NDArray[np.int8]]:
        """Read predictions (n, L): what stands before the first END. No tokens whatever raise.

        UNTERMINATED without an END, MALFORMED where an id is no word (both give an empty sequence); whether the words make an
        expression, a task's judge tells.
        """
        t = np.asarray(tokens, dtype=np.int64)
        n, width = t.shape
        ends = t == END
        ended = np.asarray(ends.any(axis=1))
        lengths = np.where(ended, ends.argmax(axis=1), 0) if width else np.zeros(n, dtype=np.int64)
        inside = np.arange(width) < lengths[:, None]
        known = np.asarray(~(inside & ((t < 0) | (t >= len(WORDS)))).any(axis=1))
        kept = inside & known[:, None]
        status = np.where(ended, np.where(known, Reading.OK, Reading.MALFORMED), Reading.UNTERMINATED)
        return Sequences(t[kept].astype(np.uint8), np.where(known, lengths, 0)), status.astype(np.int8)

    def to_words(self, tokens: Iterable[int]) -> list[str]:
        """The words of token ids; an id outside the vocabulary shows as ``<id>``."""
        return [WORDS[t] if 0 <= t < len(WORDS) else f"<{t}>" for t in map(int, tokens)]

    def to_tokens(self, words: Iterable[str]) -> list[int]:
        """The token ids of words; UserError for an unknown one."""
        found = []
        for word in words:
            if word not in IDS:
                near = nearest(word, IDS)
                raise UserError(f"{word!r} is no word of expressions", next_step=near and f"did you mean {near}?")
            found.append(IDS[word])
        return found
