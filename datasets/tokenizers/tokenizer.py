"""The interface of tokenizers, and what models need to know about tokenized sequences."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.array_types import Ints, Tokens
from mathpipe.datasets.errors import UserError, did_you_mean

END = 0  # begins and ends a sequence, as in the published vocabulary
PAD = 1


class DecodeStatus(IntEnum):
    """Outcome of decoding a predicted sequence. OK does not mean that the solution has the right shape or length."""

    OK = 0
    MALFORMED = 1
    UNTERMINATED = 2


@dataclass(frozen=True)
class TokenizedFormat:
    """What a model needs to know about tokenized problems or solutions; of itself a row of tokens without further structure.

    ``solution_length``: tokens of every solution without END, if all have the same number; else None.
    """

    vocabulary_size: int
    solution_length: int | None = field(default=None, kw_only=True)


class Tokenizer(ABC):
    """Encodes the problems or solutions of one problem type as token ids, and decodes predictions.

    Id 0 begins and ends a sequence, id 1 pads. Encoded sequences have no framing; the loader and the model add it.
    """

    @property
    @abstractmethod
    def vocabulary(self) -> tuple[str, ...]:
        """The token of each id."""

    @property
    @abstractmethod
    def format(self) -> TokenizedFormat:
        """What a model needs to know about the sequences."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the vocabulary in messages."""

    @property
    def published_extras(self) -> tuple[str, ...]:
        """Tokens of the published vocabulary that this one lacks."""
        return ()

    @property
    def published_start(self) -> tuple[str, ...]:
        """The first tokens of the published vocabulary; all others follow in string order. Empty if none was published."""
        return ()

    @abstractmethod
    def encode(self, batch: Any) -> tuple[Tokens, Ints]:
        """(token ids (n, longest) int32 padded with PAD, lengths (n,)) of n matrices or sequences, without framing."""

    @abstractmethod
    def decode(self, tokens: NDArray[np.integer]) -> tuple[Any, NDArray[np.int8]]:
        """Decode predictions (n, L) up to the first END: (n matrices or sequences, a ``DecodeStatus`` each); never raises."""

    def ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of these ids; an id outside the vocabulary shows as ``<id>``."""
        vocabulary = self.vocabulary
        return [vocabulary[t] if 0 <= t < len(vocabulary) else f"<{t}>" for t in map(int, ids)]

    def tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """The ids of these tokens; UserError for an unknown one."""
        try:
            return [self._ids[token] for token in tokens]
        except KeyError as error:
            raise UserError(
                f"{error.args[0]!r} is not a token of {self.name}",
                expected=f"one of the {len(self.vocabulary):,} tokens of the vocabulary, such as {self.vocabulary[-1]}",
                next_step=did_you_mean(error.args[0], self.vocabulary),
            ) from None

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.vocabulary)}
