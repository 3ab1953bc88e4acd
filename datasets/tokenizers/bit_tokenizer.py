"""Tokenizer of bit sequences: stored values 0, 1 and 2 (masked) become the tokens ``0``, ``1`` and ``?``.

As in all vocabularies of this package, id 0 begins and ends a sequence and id 1 pads. All solutions of a dataset have one length.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD, DecodeStatus, Tokens

MASKED = 2
BIT_TOKENS = ("0", "1", "?")  # tokens of the stored values 0, 1 and MASKED
VOCABULARY = ("<s>", "<pad>", *BIT_TOKENS)
FIRST_BIT = 2  # the token id of ``0``


@dataclass(frozen=True)
class BitFormat:
    """What a model needs to know about tokenized bits. ``answer_length``: bits of every solution, without END."""

    answer_length: int
    vocabulary_size: int = len(VOCABULARY)


@dataclass(frozen=True)
class BitTokenizer:
    """Encodes and decodes bit sequences. ``answer_length``: bits of every solution."""

    answer_length: int

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> BitTokenizer:
        """The tokenizer of a dataset with this spec (as stored in a manifest)."""
        return cls(int(spec["problems"]["bits"]))

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The token of each id."""
        return VOCABULARY

    @property
    def format(self) -> BitFormat:
        return BitFormat(self.answer_length)

    def encode(self, sequences: Sequences) -> tuple[Tokens, NDArray[np.int64]]:
        """(token ids (n, longest) int32 padded with PAD, lengths (n,)), without framing."""
        width = int(sequences.lengths.max(initial=0))
        shifted = sequences.padded(0) + np.int32(FIRST_BIT)
        return np.where(np.arange(width) < sequences.lengths[:, None], shifted, np.int32(PAD)), sequences.lengths

    def decode(self, tokens: NDArray[np.integer]) -> tuple[Sequences, NDArray[np.int8]]:
        """Decode predictions (n, L) up to the first END; never raises, whatever the ids.

        UNTERMINATED without an END, MALFORMED with any token other than the three bits; both give an empty sequence. The number of
        bits is checked by the task's verifier.
        """
        t = np.asarray(tokens, dtype=np.int64)
        n, width = t.shape
        is_end = t == END
        terminated = np.asarray(is_end.any(axis=1))
        lengths = np.where(terminated, is_end.argmax(axis=1), 0) if width else np.zeros(n, dtype=np.int64)
        inside = np.arange(width) < lengths[:, None]
        well_formed = np.asarray(~(inside & ((t < FIRST_BIT) | (t >= len(VOCABULARY)))).any(axis=1))
        selected = inside & well_formed[:, None]
        status = np.where(
            terminated, np.where(well_formed, DecodeStatus.OK, DecodeStatus.MALFORMED), DecodeStatus.UNTERMINATED
        )
        return Sequences((t[selected] - FIRST_BIT).astype(np.uint8), np.where(well_formed, lengths, 0)), status.astype(
            np.int8
        )

    def ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of these ids; an id outside the vocabulary shows as ``<id>``."""
        return [VOCABULARY[t] if 0 <= t < len(VOCABULARY) else f"<{t}>" for t in map(int, ids)]

    def tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """The ids of these tokens; UserError for an unknown one."""
        ids = []
        for token in tokens:
            if token not in VOCABULARY:
                raise UserError(f"{token!r} is not a token of bits", expected=" ".join(VOCABULARY), got=repr(token))
            ids.append(VOCABULARY.index(token))
        return ids


def bits_to_text(values: bytes) -> str:
    """Stored values as text, such as ``0110?1``."""
    return "".join(BIT_TOKENS[v] if v < len(BIT_TOKENS) else f"<{v}>" for v in values)
