"""Tokenizer of nested integers: each integer in an integer encoding, lists by their lengths or in brackets.

``base1000`` writes a list as its length, then its elements; ``base1000+brackets`` as ``[`` elements ``]``, without the brackets
where the whole value is one list, which ends with the sequence. ``symbol`` and ``symbols:...`` always use brackets, since a length
need not be among their integers. Tuples have a fixed length and are not marked.

[[1], [], [2, 3]] in base10 is ``+ 3 + 1 + 1 + 0 + 2 + 2 + 3``, with brackets ``[ + 1 ] [ ] [ + 2 + 3 ]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.array_types import Ints, Mask, Tokens
from mathpipe.datasets.containers.integer_layout import (
    CLOSE,
    NUMBER,
    OPEN,
    ListLayout,
    has_layout,
    parse_layout,
    rows_from_brackets,
    scan_rows,
)
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.integer_encodings import IntegerEncoding, Range, SymbolEncoding, get_integer_encoding
from mathpipe.datasets.tokenizers.tokenizer import END, PAD, DecodeStatus, TokenizedFormat, Tokenizer

FRAMING = ("<s>", "<pad>")
BRACKETS = ("[", "]")
SUFFIX = "+brackets"


@dataclass(frozen=True)
class IntegerTokenizer(Tokenizer):
    """Encodes and decodes values of ``layout`` in one integer encoding. ``brackets``: lists in brackets, not with lengths."""

    encoding: IntegerEncoding
    layout: str
    brackets: bool = False

    @classmethod
    def named(cls, name: str, layout: str, value_range: Range | None = None) -> IntegerTokenizer:
        """The tokenizer of an encoding's name, such as ``base10`` or ``base10+brackets``; UserError for an unknown one."""
        encoding = get_integer_encoding(name.removesuffix(SUFFIX), value_range)
        return cls(encoding, layout, name.endswith(SUFFIX) or isinstance(encoding, SymbolEncoding))

    @property
    def name(self) -> str:
        return self.encoding.name + (SUFFIX if self.brackets and not isinstance(self.encoding, SymbolEncoding) else "")

    @cached_property
    def _is_list(self) -> bool:
        """Whether a value is one list, so that the sequence ends with it."""
        return isinstance(parse_layout(self.layout), ListLayout)

    @cached_property
    def _framing(self) -> tuple[str, ...]:
        has_inner_lists = "[" in self.layout[1:]
        return (*FRAMING, *BRACKETS) if self.brackets and has_inner_lists else FRAMING

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        return (*self._framing, *self.encoding.vocabulary)

    @cached_property
    def format(self) -> TokenizedFormat:
        return TokenizedFormat(len(self.vocabulary))

    def encode(self, batch: IntegerSequences) -> tuple[Tokens, Ints]:
        """(token ids (n, longest) int32 padded with PAD, lengths (n,)) of n flat rows, without framing.

        UserError for an integer that the encoding cannot represent, and for a row without the layout.
        """
        if self.brackets:
            flat, lengths = self._encode_brackets(batch)
        else:
            ids, counts = self.encoding.encode(batch.values.astype(np.int64, copy=False))
            flat = ids + len(self._framing)
            total = np.concatenate([[0], np.cumsum(counts)])
            lengths = total[batch.offsets[1:]] - total[batch.offsets[:-1]]
        return IntegerSequences(flat, lengths).padded(PAD), lengths

    def _encode_brackets(self, batch: IntegerSequences) -> tuple[Ints, Ints]:
        """(tokens of all rows (t,), lengths (n,)): opening brackets at lengths of lists, closing ones where lists end."""
        scan = scan_rows(self.layout, batch)
        if not scan.valid.all():
            raise UserError(
                "a row of integers does not have its layout",
                expected=self.layout,
                got=str(batch[int(scan.valid.argmin())])[:80],
            )
        n, offsets = len(batch), batch.offsets
        is_number, row_closes = ~scan.is_length, scan.closes_row
        ids, number_counts = self.encoding.encode(scan.values[is_number])
        counts = np.ones(len(scan.values), dtype=np.int64)
        counts[is_number] = number_counts
        opens = scan.is_length.copy()
        if self._is_list:
            counts[offsets[:-1]], opens[offsets[:-1]], row_closes = 0, False, row_closes - 1
        closes = scan.closes[:-1]
        total = np.concatenate([[0], np.cumsum(closes + counts)])
        lengths = total[offsets[1:]] - total[offsets[:-1]] + row_closes
        first = np.cumsum(lengths) - lengths
        row = np.repeat(np.arange(n), batch.lengths)
        start = total[:-1] - total[offsets[:-1]][row] + first[row] + closes
        flat = np.full(int(lengths.sum()), len(FRAMING) + 1, dtype=np.int64)  # closing brackets, unless written below
        flat[start[opens]] = len(FRAMING)
        within = np.arange(len(ids)) - np.repeat(np.cumsum(number_counts) - number_counts, number_counts)
        flat[np.repeat(start[is_number], number_counts) + within] = ids + len(self._framing)
        return flat, lengths

    def decode(self, tokens: NDArray[np.integer]) -> tuple[IntegerSequences, NDArray[np.int8]]:
        """Decode predictions (n, L) up to the first END; never raises, whatever the ids.

        UNTERMINATED without an END; MALFORMED with an unknown id, an integer that is not written as ``encode`` writes it, or
        another layout; both give an empty row.
        """
        t = np.asarray(tokens, dtype=np.int64)
        n, width = t.shape
        is_end = t == END
        terminated = np.asarray(is_end.any(axis=1))
        lengths = np.where(terminated, is_end.argmax(axis=1), 0) if width else np.zeros(n, dtype=np.int64)
        inside = np.arange(width) < lengths[:, None]
        well_formed = np.asarray(~(inside & ((t < len(FRAMING)) | (t >= len(self.vocabulary)))).any(axis=1))
        row = np.nonzero(inside & well_formed[:, None])[0]
        rows, valid = self._decode_rows(t[inside & well_formed[:, None]], row, n)
        well_formed &= valid & terminated
        status = np.where(
            terminated, np.where(well_formed, DecodeStatus.OK, DecodeStatus.MALFORMED), DecodeStatus.UNTERMINATED
        )
        empty = IntegerSequences(rows.take(well_formed).values, np.where(well_formed, rows.lengths, 0))
        return empty, status.astype(np.int8)

    def _decode_rows(self, flat: Ints, row: Ints, n: int) -> tuple[IntegerSequences, Mask]:
        """(flat rows, which of them are values of the layout (n,)) of the tokens of all rows (t,), in the rows ``row`` (t,)."""
        is_bracket = flat < len(self._framing)
        position = _positions_in_runs(row, is_bracket)
        ids = flat[~is_bracket] - len(self._framing)
        starts = self.encoding.starts(ids, position[~is_bracket])
        first = np.flatnonzero(starts)
        counts = np.diff(np.append(first, len(ids)))
        numbers, readable = self.encoding.decode(ids, counts)
        valid = np.ones(n, dtype=np.bool_)
        valid[row[~is_bracket][first[~readable]]] = False
        if not self.brackets:
            lengths = np.bincount(row[first], minlength=n).astype(np.int64)
            rows = IntegerSequences(numbers, lengths)
            return rows, valid & has_layout(self.layout, rows)
        is_item = is_bracket.copy()
        is_item[np.flatnonzero(~is_bracket)[first]] = True
        kind = np.where(is_bracket, np.where(flat == len(FRAMING), OPEN, CLOSE), NUMBER).astype(np.int8)[is_item]
        values = np.zeros(len(kind), dtype=np.int64)
        values[kind == NUMBER] = numbers
        lengths = np.bincount(row[is_item], minlength=n).astype(np.int64)
        if self._is_list:  # the brackets that are not written
            kind, values = _with_outer_brackets(kind, values, lengths)
            lengths = lengths + 2
        rows, has = rows_from_brackets(self.layout, kind, values, lengths)
        return rows, valid & has


def _positions_in_runs(row: Ints, is_bracket: Mask) -> Ints:
    """The position of each token among those since the last bracket or the start of its row, (t,)."""
    index = np.arange(len(row))
    begins = np.ones(len(row), dtype=np.bool_)
    begins[1:] = (row[1:] != row[:-1]) | is_bracket[:-1]
    return np.asarray(index - np.maximum.accumulate(np.where(begins, index, 0)))


def _with_outer_brackets(kind: NDArray[np.int8], values: Ints, lengths: Ints) -> tuple[NDArray[np.int8], Ints]:
    """The items of each row between an opening and a closing bracket."""
    end = np.cumsum(lengths + 2)
    inner = np.ones(len(kind) + 2 * len(lengths), dtype=np.bool_)
    inner[end - 1] = inner[end - lengths - 2] = False
    all_kinds, all_values = np.full(len(inner), CLOSE, dtype=np.int8), np.zeros(len(inner), dtype=np.int64)
    all_kinds[end - lengths - 2] = OPEN
    all_kinds[inner], all_values[inner] = kind, values
    return all_kinds, all_values
