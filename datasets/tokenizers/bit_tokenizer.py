"""Bits as sequences of tokens: stored as 0, 1 and 2 (masked), written as the words ``0``, ``1`` and ``?`` after the framing ones.

As in all vocabularies here id 0 begins and ends a sequence and id 1 pads. Every answer of a dataset has the same length.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD, Reading, Tokens

MASKED = 2
BIT_WORDS = ("0", "1", "?")  # of the stored values 0, 1 and MASKED
VOCABULARY = ("<s>", "<pad>", *BIT_WORDS)
FIRST_BIT = 2  # the token id of ``0``


@dataclass(frozen=True)
class BitFormat:
    """What a model needs to know of written bits: ``answer``, how many bits every answer has, END not counted."""

    answer: int
    vocabulary_size: int = len(VOCABULARY)


@dataclass(frozen=True)
class BitTokenizer:
    """Writes and reads bits; ``answer``: bits of every answer."""

    answer: int

    @classmethod
    def of_spec(cls, spec: dict[str, Any]) -> BitTokenizer:
        """For the datasets of a spec (as a manifest holds it)."""
        return cls(int(spec["problems"]["bits"]))

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The word of each token id."""
        return VOCABULARY

    @property
    def format(self) -> BitFormat:
        return BitFormat(self.answer)

    def encode(self, sequences: Sequences) -> tuple[Tokens, NDArray[np.int64]]:
        """(tokens (n, longest) int32 padded with PAD, lengths (n,)), without framing."""
        width = int(sequences.lengths.max(initial=0))
        shifted = sequences.padded(0) + np.int32(FIRST_BIT)
        return np.where(np.arange(width) < sequences.lengths[:, None], shifted, np.int32(PAD)), sequences.lengths

    def decode(self, tokens: NDArray[np.integer]) -> tuple[Sequences, NDArray[np.int8]]:
        """Read predictions (n, L): what stands before the first END. No tokens whatever raise.

        UNTERMINATED without an END, MALFORMED where a token is none of the three words (both give an empty sequence); whether
        there are as many bits as are asked for, a task's judge tells.
        """
        t = np.asarray(tokens, dtype=np.int64)
        n, width = t.shape
        ends = t == END
        ended = np.asarray(ends.any(axis=1))
        lengths = np.where(ended, ends.argmax(axis=1), 0) if width else np.zeros(n, dtype=np.int64)
        inside = np.arange(width) < lengths[:, None]
        known = np.asarray(~(inside & ((t < FIRST_BIT) | (t >= len(VOCABULARY)))).any(axis=1))
        kept = inside & known[:, None]
        status = np.where(ended, np.where(known, Reading.OK, Reading.MALFORMED), Reading.UNTERMINATED)
        return Sequences((t[kept] - FIRST_BIT).astype(np.uint8), np.where(known, lengths, 0)), status.astype(np.int8)

    def to_words(self, tokens: Iterable[int]) -> list[str]:
        """The words of token ids; an id outside the vocabulary shows as ``<id>``."""
        return [VOCABULARY[t] if 0 <= t < len(VOCABULARY) else f"<{t}>" for t in map(int, tokens)]

    def to_tokens(self, words: Iterable[str]) -> list[int]:
        """The token ids of words; UserError for an unknown one."""
        found = []
        for word in words:
            if word not in VOCABULARY:
                raise UserError(f"{word!r} is no word of bits", expected=" ".join(VOCABULARY), got=repr(word))
            found.append(VOCABULARY.index(word))
        return found


def bits_text(values: bytes) -> str:
    """Stored values as people read them: ``0110?1``."""
    return "".join(BIT_WORDS[v] if v < len(BIT_WORDS) else f"<{v}>" for v in values)
