"""Tuples of integers as Int2Int writes them: ``V<n>``, then the n integers. The encoding ``base1000+size`` of (1024, 16) is
``V2 + 1 24 + 16``; a single integer has no size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.array_types import Ints, Tokens
from mathpipe.datasets.containers.integer_layout import IntegerLayout, TupleLayout, parse_layout
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.integer_encodings import Range
from mathpipe.datasets.tokenizers.integer_tokenizer import IntegerTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, DecodeStatus, TokenizedFormat, Tokenizer

SUFFIX = "+size"


@dataclass(frozen=True)
class SizedTupleTokenizer(Tokenizer):
    """Writes ``V<size>`` before what ``integers`` writes; a prediction without it is malformed."""

    integers: IntegerTokenizer
    size: int

    @property
    def name(self) -> str:
        return f"{self.integers.name}{SUFFIX}"

    @property
    def layout(self) -> str:
        return self.integers.layout

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        return (*self.integers.vocabulary, f"V{self.size}")

    @cached_property
    def format(self) -> TokenizedFormat:
        return TokenizedFormat(len(self.vocabulary))

    @property
    def _size_token(self) -> int:
        return len(self.integers.vocabulary)

    def encode(self, batch: IntegerSequences) -> tuple[Tokens, Ints]:
        tokens, lengths = self.integers.encode(batch)
        size = np.full((len(tokens), 1), self._size_token, dtype=tokens.dtype)
        return np.concatenate([size, tokens], axis=1), lengths + 1

    def decode(self, tokens: NDArray[np.integer]) -> tuple[IntegerSequences, NDArray[np.int8]]:
        t = np.asarray(tokens, dtype=np.int64)
        rows, status = self.integers.decode(t[:, 1:])
        has_size = (t[:, :1] == self._size_token).any(axis=1)
        terminated = (t == END).any(axis=1)
        without_size = np.where(terminated, DecodeStatus.MALFORMED, DecodeStatus.UNTERMINATED)
        status = np.where(has_size, status, without_size).astype(np.int8)
        return IntegerSequences(rows.take(has_size).values, np.where(has_size, rows.lengths, 0)), status


def sized_tuples(name: str, layout: str, value_range: Range | None = None) -> Tokenizer:
    """The tokenizer of an encoding such as ``base1000+size``; UserError for a layout with lists or nested tuples."""
    integers = IntegerTokenizer.named(name.removesuffix(SUFFIX), layout, value_range)
    parsed = parse_layout(layout)
    if isinstance(parsed, IntegerLayout):
        return integers
    if not isinstance(parsed, TupleLayout) or not all(isinstance(item, IntegerLayout) for item in parsed.parts):
        raise UserError(
            f"the encoding {name} is for integers and tuples of integers",
            expected="a layout such as int or (int, int)",
            got=layout,
            next_step=f"use {integers.name}",
        )
    return SizedTupleTokenizer(integers, len(parsed.parts))
