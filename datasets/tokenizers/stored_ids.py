"""Tokenizers of problem types whose shards store token ids: encoding shifts the ids, decoding shifts them back."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.array_types import Ints, Tokens
from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.tokenizers.tokenizer import END, PAD, DecodeStatus, Tokenizer


class StoredIdTokenizer(Tokenizer):
    """A tokenizer in which the stored id k has the token id k + ``first_id``."""

    @property
    @abstractmethod
    def first_id(self) -> int:
        """The token id of the stored id 0."""

    def encode(self, batch: Sequences) -> tuple[Tokens, Ints]:
        """(token ids (n, longest) int32 padded with PAD, lengths (n,)), without framing."""
        tokens = batch.padded(PAD - self.first_id)
        tokens += self.first_id
        return tokens, batch.lengths

    def decode(self, tokens: NDArray[np.integer]) -> tuple[Sequences, NDArray[np.int8]]:
        """Decode predictions (n, L) up to the first END; never raises, whatever the ids.

        UNTERMINATED without an END, MALFORMED with an id that is not stored; both give an empty sequence. Whether the tokens form
        a valid solution is checked by the task's verifier.
        """
        t = np.asarray(tokens, dtype=np.int64)
        n, width = t.shape
        is_end = t == END
        terminated = np.asarray(is_end.any(axis=1))
        lengths = np.where(terminated, is_end.argmax(axis=1), 0) if width else np.zeros(n, dtype=np.int64)
        inside = np.arange(width) < lengths[:, None]
        invalid = (t < self.first_id) | (t >= len(self.vocabulary))
        well_formed = np.asarray(~(inside & invalid).any(axis=1))
        selected = inside & well_formed[:, None]
        status = np.where(
            terminated, np.where(well_formed, DecodeStatus.OK, DecodeStatus.MALFORMED), DecodeStatus.UNTERMINATED
        )
        sequences = Sequences((t[selected] - self.first_id).astype(np.uint8), np.where(well_formed, lengths, 0))
        return sequences, status.astype(np.int8)
