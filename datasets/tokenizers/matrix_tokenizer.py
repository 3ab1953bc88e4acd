"""Tokenizer of matrices: ``V<rows> V<cols>``, then the entries row by row in a number encoding.

The vocabulary of a number encoding consists of two framing tokens, the task tokens of co-training, the dimensions V1..V100, and the
tokens of the encoding. Encoded matrices have no framing; the loader and the model add it. In co-training the task token comes
first, before the dimensions.
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
from mathpipe.datasets.tokenizers.number_encodings import P10, NumberEncoding, get_number_encoding

END = 0  # begins and ends a sequence, as in the published vocabulary
PAD = 1
TASK_TOKENS = "TADMEFI"
MAX_DIMENSION = 100

_FIRST_TASK_TOKEN = 2
_FIRST_DIMENSION = _FIRST_TASK_TOKEN + len(TASK_TOKENS)
_FIRST_NUMBER = _FIRST_DIMENSION + MAX_DIMENSION
HEADER_LENGTH = 2  # the two dimensions; in co-training the task token comes before them

Tokens = NDArray[np.int32]


class DecodeStatus(IntEnum):
    """Outcome of decoding a predicted sequence. OK does not mean that the shape is that of the solution."""

    OK = 0
    MALFORMED = 1
    UNTERMINATED = 2


@dataclass(frozen=True)
class SequenceFormat:
    """What a model needs to know about tokenized matrices: sizes and positions of the structure.

    ``vocabulary_size``; ``tokens_per_number``; ``first_dimension``: the id of ``V1``; ``max_dimension``: V1..V<max>;
    ``header``: number of tokens before the first entry, the two dimensions last (2, in co-training 3). With a header of h tokens,
    token i >= h is token (i - h) % tokens_per_number of entry (i - h) // tokens_per_number.
    """

    vocabulary_size: int
    tokens_per_number: int
    header: int = HEADER_LENGTH
    first_dimension: int = _FIRST_DIMENSION
    max_dimension: int = MAX_DIMENSION


@dataclass(frozen=True)
class PrefixFormat:
    """What a model needs to know about tokenized expressions: prefix sequences of the fixed vocabulary, without a header.

    ``arity`` (vocabulary_size,): number of operands of each token that begins a node; -1 for all others (digits continue the
    integer before them). A node's position in its tree follows from the preceding tokens alone.
    """

    vocabulary_size: int
    arity: tuple[int, ...]


@dataclass(frozen=True)
class MatrixTokenizer:
    """Encodes and decodes matrices in one number encoding. ``has_task_tokens``: sequences begin with their task token."""

    encoding: NumberEncoding
    has_task_tokens: bool = False

    @classmethod
    def named(cls, name: str, precision: int = 2, *, has_task_tokens: bool = False) -> MatrixTokenizer:
        return cls(get_number_encoding(name, precision), has_task_tokens)

    @property
    def header(self) -> int:
        """Number of tokens before the first entry."""
        return HEADER_LENGTH + self.has_task_tokens

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The token of each id; 0 is the framing token, 1 is padding."""
        dimensions = (f"V{d}" for d in range(1, MAX_DIMENSION + 1))
        return ("<s>", "<pad>", *TASK_TOKENS, *dimensions, *self.encoding.vocabulary)

    @cached_property
    def format(self) -> SequenceFormat:
        return SequenceFormat(len(self.vocabulary), self.encoding.tokens_per_number, self.header)

    def length(self, rows: int, cols: int) -> int:
        """Number of tokens of a matrix of this shape, without framing."""
        return self.header + rows * cols * self.encoding.tokens_per_number

    def encode(self, matrices: Matrices) -> tuple[Tokens, NDArray[np.int64]]:
        """(token ids (n, longest) int32 padded with PAD, lengths (n,)), without framing.

        UserError for a dimension above 100 or a value that the number encoding cannot represent.
        """
        if len(matrices) and max(matrices.rows.max(), matrices.cols.max()) > MAX_DIMENSION:
            raise UserError(
                "a matrix is too large to tokenize",
                expected=f"at most {MAX_DIMENSION} rows and columns",
                got=int(max(matrices.rows.max(), matrices.cols.max())),
            )
        h = self.header
        lengths = h + matrices.sizes * self.encoding.tokens_per_number
        tokens = np.full((len(matrices), int(lengths.max(initial=0))), PAD, dtype=np.int32)
        if not len(matrices):
            return tokens, lengths
        if self.has_task_tokens:
            if matrices.task_ids is None:
                raise ValueError("with has_task_tokens, matrices need task_ids")
            tokens[:, 0] = matrices.task_ids + np.int32(_FIRST_TASK_TOKEN)
        tokens[:, h - 2] = matrices.rows + (_FIRST_DIMENSION - 1)
        tokens[:, h - 1] = matrices.cols + (_FIRST_DIMENSION - 1)
        numbers = self.encoding.encode(matrices.values).reshape(-1) + np.int32(_FIRST_NUMBER)
        if matrices.shape is not None:
            tokens[:, h:] = numbers.reshape(len(matrices), -1)
        else:
            position = np.arange(tokens.shape[1])
            tokens[(position >= h) & (position < lengths[:, None])] = numbers
        return tokens, lengths

    def decode(self, tokens: NDArray[np.integer]) -> tuple[Matrices, NDArray[np.int8]]:
        """Decode predictions (n, L) up to the first END; never raises, whatever the ids.

        Returns the matrices (0 x 0 if they cannot be decoded) and a ``DecodeStatus`` each: UNTERMINATED without an END, MALFORMED
        if the sequence is not two dimensions and exactly their entries.
        """
        t = np.asarray(tokens, dtype=np.int64)
        if isinstance(self.encoding, P10) and t.size:
            t = _expand_short_zeros(t, self.encoding.digits)
        n, width = t.shape
        terminated = np.zeros(n, dtype=bool)
        lengths = np.full(n, width)
        if width:
            is_end = t == END
            terminated = is_end.any(axis=1)
            lengths = np.where(terminated, is_end.argmax(axis=1), width)
        rows, cols = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        h = self.header
        if width >= h:
            rows, cols = t[:, h - 2] - (_FIRST_DIMENSION - 1), t[:, h - 1] - (_FIRST_DIMENSION - 1)
        task_ids = t[:, 0] - _FIRST_TASK_TOKEN if self.has_task_tokens and width else np.zeros(n, dtype=np.int64)
        valid_task = (task_ids >= 0) & (task_ids < len(TASK_TOKENS))
        valid_shape = valid_task & (rows >= 1) & (rows <= MAX_DIMENSION) & (cols >= 1) & (cols <= MAX_DIMENSION)
        rows, cols = np.where(valid_shape, rows, 0), np.where(valid_shape, cols, 0)
        k = self.encoding.tokens_per_number
        ok = terminated & valid_shape & (lengths == h + rows * cols * k)
        position = np.arange(width)
        is_entry = ok[:, None] & (position >= h) & (position < lengths[:, None])
        values, decodable = self.encoding.decode(t[is_entry].reshape(-1, k) - _FIRST_NUMBER)
        candidates = Matrices(values, np.where(ok, rows, 0), np.where(ok, cols, 0))
        has_bad_entry = np.bincount(np.repeat(np.arange(n), candidates.sizes)[~decodable], minlength=n) > 0
        ok &= ~has_bad_entry
        selected = np.repeat(ok, candidates.sizes)
        decoded_tasks = np.where(ok, task_ids, 0).astype(np.uint8) if self.has_task_tokens else None
        matrices = Matrices(values[selected], np.where(ok, rows, 0), np.where(ok, cols, 0), decoded_tasks)
        status = np.where(terminated, np.where(ok, DecodeStatus.OK, DecodeStatus.MALFORMED), DecodeStatus.UNTERMINATED)
        return matrices, status.astype(np.int8)

    def ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of these ids; an id outside the vocabulary shows as ``<id>``."""
        return [self.vocabulary[t] if 0 <= t < len(self.vocabulary) else f"<{t}>" for t in map(int, ids)]

    def tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """The ids of these tokens; UserError for an unknown one."""
        try:
            return [self._ids[token] for token in tokens]
        except KeyError as error:
            raise UserError(
                f"{error.args[0]!r} is not a token of {self.encoding.name}",
                expected="task tokens, V1..V100, or tokens of the number encoding",
            ) from None

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.vocabulary)}


def _expand_short_zeros(tokens: NDArray[np.int64], digits: int) -> NDArray[np.int64]:
    """Expand zeros written as ``+ 0 E0``, as published P10 files do, to all digits, so that numbers have equal lengths."""
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
    expanded = np.full((len(tokens), width), PAD, dtype=np.int64)
    expanded[:, : tokens.shape[1]] = tokens
    expanded[:, tokens.shape[1] :] = np.where((tokens == END).any(axis=1), PAD, -1)[:, None]
    for i in affected:
        starts = np.flatnonzero(short[i])
        row = np.insert(tokens[i], np.repeat(starts + 2, digits - 1), zero)
        expanded[i, : len(row)] = row
    return expanded
