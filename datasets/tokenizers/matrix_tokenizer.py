"""Matrices as sequences of words: ``V<rows> V<cols>`` and then the entries row by row, each number as its encoding writes it.

One vocabulary serves one encoding: two framing words, the task tokens of co-training, the dimensions V1..V100,
and the encoding's own words. A written matrix carries no framing; the loader and the model add it. In co-training the
task_token of its task comes first, before the dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.number_encodings import P10, Encoding, encoding

END = 0  # begins and ends a sequence, as published
PAD = 1
TASK_TOKENS = "TADMEFI"
MAX_DIMENSION = 100

_FIRST_TASK_TOKEN = 2
_FIRST_DIMENSION = _FIRST_TASK_TOKEN + len(TASK_TOKENS)
_FIRST_NUMBER = _FIRST_DIMENSION + MAX_DIMENSION
HEADER = 2  # the two dimension words; in co-training the task's task_token stands before them

Tokens = NDArray[np.int32]


class Reading(IntEnum):
    """What came of reading a predicted sequence. Whether its shape is the right one, the reference decides."""

    OK = 0
    MALFORMED = 1
    UNTERMINATED = 2


@dataclass(frozen=True)
class SequenceFormat:
    """What a model needs to know of written matrices: sizes and where the structure lies.

    ``vocabulary_size``; ``words_per_number``; ``first_dimension``: the id of ``V1``; ``max_dimension``: V1..V<max>;
    ``header``: words before the first number, the two dimensions last (2, in co-training 3). With h words of header, token
    i >= h is word (i - h) % words_per_number of entry (i - h) // words_per_number.
    """

    vocabulary_size: int
    words_per_number: int
    header: int = HEADER
    first_dimension: int = _FIRST_DIMENSION
    max_dimension: int = MAX_DIMENSION


@dataclass(frozen=True)
class PrefixFormat:
    """What a model needs to know of written expressions: prefix sequences of the fixed vocabulary, without a header.

    ``arity`` (vocabulary_size,): problems of each word that begins a node; -1 for words that begin none (digits continue
    the integer before them). A node's place in its tree follows from the words before it alone.
    """

    vocabulary_size: int
    arity: tuple[int, ...]


@dataclass(frozen=True)
class MatrixTokenizer:
    """Writes and reads matrices in one encoding. ``has_task_tokens``: each begins with its task's task_token (its label)."""

    encoding: Encoding
    has_task_tokens: bool = False

    @classmethod
    def named(cls, name: str, precision: int = 2, *, has_task_tokens: bool = False) -> MatrixTokenizer:
        return cls(encoding(name, precision), has_task_tokens)

    @property
    def header(self) -> int:
        """Words before the first number."""
        return HEADER + self.has_task_tokens

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The word of each token id; 0 is the framing word, 1 padding."""
        dimensions = (f"V{d}" for d in range(1, MAX_DIMENSION + 1))
        return ("<s>", "<pad>", *TASK_TOKENS, *dimensions, *self.encoding.words)

    @cached_property
    def format(self) -> SequenceFormat:
        return SequenceFormat(len(self.vocabulary), self.encoding.words_per_number, self.header)

    def length(self, rows: int, cols: int) -> int:
        """Words of a written matrix, without framing."""
        return self.header + rows * cols * self.encoding.words_per_number

    def encode(self, matrices: Matrices) -> tuple[Tokens, NDArray[np.int64]]:
        """(tokens (n, longest) int32 padded with PAD, lengths (n,)), without framing.

        UserError for a dimension above 100 or a value the encoding cannot write.
        """
        if len(matrices) and max(matrices.rows.max(), matrices.cols.max()) > MAX_DIMENSION:
            raise UserError(
                "a matrix is too large to write",
                expected=f"at most {MAX_DIMENSION} rows and columns",
                got=int(max(matrices.rows.max(), matrices.cols.max())),
            )
        h = self.header
        lengths = h + matrices.sizes * self.encoding.words_per_number
        tokens = np.full((len(matrices), int(lengths.max(initial=0))), PAD, dtype=np.int32)
        if not len(matrices):
            return tokens, lengths
        if self.has_task_tokens:
            if matrices.task_ids is None:
                raise ValueError("a has_task_tokens tokenizer needs the matrices' task_ids")
            tokens[:, 0] = matrices.task_ids + np.int32(_FIRST_TASK_TOKEN)
        tokens[:, h - 2] = matrices.rows + (_FIRST_DIMENSION - 1)
        tokens[:, h - 1] = matrices.cols + (_FIRST_DIMENSION - 1)
        numbers = self.encoding.encode(matrices.values).reshape(-1) + np.int32(_FIRST_NUMBER)
        if matrices.shape is not None:
            tokens[:, h:] = numbers.reshape(len(matrices), -1)
        else:
            place = np.arange(tokens.shape[1])
            tokens[(place >= h) & (place < lengths[:, None])] = numbers
        return tokens, lengths

    def decode(self, tokens: NDArray[np.integer]) -> tuple[Matrices, NDArray[np.int8]]:
        """Read predictions (n, L): each row is everything that was generated, up to and with the first END.

        Returns the matrices (0 x 0 where unreadable) and a ``Reading`` for each: without an END a row is UNTERMINATED;
        anything but two dimensions and exactly their numbers is MALFORMED. No tokens whatever raise.
        """
        t = np.asarray(tokens, dtype=np.int64)
        if isinstance(self.encoding, P10) and t.size:
            t = _spell_out_short_zeros(t, self.encoding.digits)
        n, width = t.shape
        ended = np.zeros(n, dtype=bool)
        lengths = np.full(n, width)
        if width:
            ends = t == END
            ended = ends.any(axis=1)
            lengths = np.where(ended, ends.argmax(axis=1), width)
        rows, cols = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        h = self.header
        if width >= h:
            rows, cols = t[:, h - 2] - (_FIRST_DIMENSION - 1), t[:, h - 1] - (_FIRST_DIMENSION - 1)
        task_ids = t[:, 0] - _FIRST_TASK_TOKEN if self.has_task_tokens and width else np.zeros(n, dtype=np.int64)
        has_task_tokens = (task_ids >= 0) & (task_ids < len(TASK_TOKENS))
        shaped = has_task_tokens & (rows >= 1) & (rows <= MAX_DIMENSION) & (cols >= 1) & (cols <= MAX_DIMENSION)
        rows, cols = np.where(shaped, rows, 0), np.where(shaped, cols, 0)
        k = self.encoding.words_per_number
        good = ended & shaped & (lengths == h + rows * cols * k)
        place = np.arange(width)
        inside = good[:, None] & (place >= h) & (place < lengths[:, None])
        values, readable = self.encoding.decode(t[inside].reshape(-1, k) - _FIRST_NUMBER)
        candidates = Matrices(values, np.where(good, rows, 0), np.where(good, cols, 0))
        unreadable = np.bincount(np.repeat(np.arange(n), candidates.sizes)[~readable], minlength=n) > 0
        good &= ~unreadable
        kept = np.repeat(good, candidates.sizes)
        named = np.where(good, task_ids, 0).astype(np.uint8) if self.has_task_tokens else None
        matrices = Matrices(values[kept], np.where(good, rows, 0), np.where(good, cols, 0), named)
        status = np.where(ended, np.where(good, Reading.OK, Reading.MALFORMED), Reading.UNTERMINATED)
        return matrices, status.astype(np.int8)

    def to_words(self, tokens: Iterable[int]) -> list[str]:
        """The words of token ids; an id outside the vocabulary shows as ``<id>``."""
        return [self.vocabulary[t] if 0 <= t < len(self.vocabulary) else f"<{t}>" for t in map(int, tokens)]

    def to_tokens(self, words: Iterable[str]) -> list[int]:
        """The token ids of words; UserError for an unknown one."""
        try:
            return [self._ids[word] for word in words]
        except KeyError as unknown:
            raise UserError(f"{unknown.args[0]!r} is no word of {self.encoding.name}") from None

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.vocabulary)}


def _spell_out_short_zeros(tokens: NDArray[np.int64], digits: int) -> NDArray[np.int64]:
    """Published P10 files write zero as ``+ 0 E0``: give it all its digits, so that every number has one length."""
    sign, zero, exponent = _FIRST_NUMBER, _FIRST_NUMBER + 2, _FIRST_NUMBER + 12
    short = (
        ((tokens[:, :-2] == sign) | (tokens[:, :-2] == sign + 1))
        & (tokens[:, 1:-1] == zero)
        & (tokens[:, 2:] >= exponent)
        & (tokens[:, 2:] <= exponent + 200)
    )
    affected = np.flatnonzero(short.any(axis=1))
    if not len(affected):
        return tokens
    width = tokens.shape[1] + (digits - 1) * int(short.sum(axis=1).max())
    wide = np.full((len(tokens), width), PAD, dtype=np.int64)
    wide[:, : tokens.shape[1]] = tokens
    wide[:, tokens.shape[1] :] = np.where((tokens == END).any(axis=1), PAD, -1)[:, None]
    for i in affected:
        places = np.flatnonzero(short[i])
        spelled = np.insert(tokens[i], np.repeat(places + 2, digits - 1), zero)
        wide[i, : len(spelled)] = spelled
    return wide
