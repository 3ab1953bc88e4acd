"""Tokenizer of matrices: ``V<rows> V<cols>``, then the entries row by row in a number encoding.

The vocabulary of a number encoding consists of two framing tokens, the task tokens of co-training, the dimensions V1..V100, and the
tokens of the encoding. Encoded matrices have no framing; the loader and the model add it. In co-training the task token comes
first, before the dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.array_types import Ints, Tokens
from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.number_encodings import P10, NumberEncoding, get_number_encoding
from mathpipe.datasets.tokenizers.tokenizer import END, PAD, DecodeStatus, TokenizedFormat, Tokenizer

TASK_TOKENS = "TADMEFI"
MAX_DIMENSION = 100

_FIRST_TASK_TOKEN = 2
_FIRST_DIMENSION = _FIRST_TASK_TOKEN + len(TASK_TOKENS)
_FIRST_NUMBER = _FIRST_DIMENSION + MAX_DIMENSION
_PUBLISHED_FRAMING = ("<s>", "</s>", "<pad>", "(", ")", *(f"<SPECIAL_{k}>" for k in range(10)))
_PUBLISHED_PUNCTUATION = ("+", "-", "10^", ".", "|")
HEADER_LENGTH = 2  # the two dimensions; in co-training the task token comes before them


@dataclass(frozen=True)
class MatrixTokenFormat(TokenizedFormat):
    """Tokenized matrices: sizes and positions of the structure.

    ``tokens_per_number``; ``first_dimension``: the id of ``V1``; ``max_dimension``: V1..V<max>; ``header``: number of tokens
    before the first entry, the two dimensions last (2, in co-training 3). With a header of h tokens, token i >= h is token
    (i - h) % tokens_per_number of entry (i - h) // tokens_per_number.
    """

    tokens_per_number: int
    header: int = HEADER_LENGTH
    first_dimension: int = _FIRST_DIMENSION
    max_dimension: int = MAX_DIMENSION


@dataclass(frozen=True)
class MatrixTokenizer(Tokenizer):
    """Encodes and decodes matrices in one number encoding. ``has_task_tokens``: sequences begin with their task token."""

    encoding: NumberEncoding
    has_task_tokens: bool = False

    @classmethod
    def named(cls, name: str, precision: int = 2, *, has_task_tokens: bool = False) -> MatrixTokenizer:
        return cls(get_number_encoding(name, precision), has_task_tokens)

    @property
    def name(self) -> str:
        return self.encoding.name

    @property
    def published_extras(self) -> tuple[str, ...]:
        """Framing and punctuation of the published vocabulary, which complete its size."""
        return tuple(token for token in self.published_start if token not in self.vocabulary)

    @property
    def published_start(self) -> tuple[str, ...]:
        return (*_PUBLISHED_FRAMING, *TASK_TOKENS, *_PUBLISHED_PUNCTUATION)

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
    def format(self) -> MatrixTokenFormat:
        return MatrixTokenFormat(len(self.vocabulary), self.encoding.tokens_per_number, self.header)

    def length(self, rows: int, cols: int) -> int:
        """Number of tokens of a matrix of this shape, without framing."""
        return self.header + rows * cols * self.encoding.tokens_per_number

    def encode(self, batch: Matrices) -> tuple[Tokens, Ints]:
        """(token ids (n, longest) int32 padded with PAD, lengths (n,)), without framing.

        UserError for a dimension above 100 or a value that the number encoding cannot represent.
        """
        if len(batch) and max(batch.rows.max(), batch.cols.max()) > MAX_DIMENSION:
            raise UserError(
                "a matrix is too large to tokenize",
                expected=f"at most {MAX_DIMENSION} rows and columns",
                got=int(max(batch.rows.max(), batch.cols.max())),
            )
        h = self.header
        lengths = h + batch.sizes * self.encoding.tokens_per_number
        tokens = np.full((len(batch), int(lengths.max(initial=0))), PAD, dtype=np.int32)
        if not len(batch):
            return tokens, lengths
        if self.has_task_tokens:
            if batch.task_ids is None:
                raise ValueError("with has_task_tokens, matrices need task_ids")
            tokens[:, 0] = batch.task_ids + np.int32(_FIRST_TASK_TOKEN)
        tokens[:, h - 2] = batch.rows + (_FIRST_DIMENSION - 1)
        tokens[:, h - 1] = batch.cols + (_FIRST_DIMENSION - 1)
        numbers = self.encoding.encode(batch.values).reshape(-1) + np.int32(_FIRST_NUMBER)
        if batch.shape is not None:
            tokens[:, h:] = numbers.reshape(len(batch), -1)
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


def _expand_short_zeros(tokens: Ints, digits: int) -> Ints:
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
