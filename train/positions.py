"""Where a word stands: p(i) = one learned vector for place i, or row(i) + column(i) + place(i).

A written matrix is a header of h words, ``V<rows> V<cols>`` (in co-training the task's letter before them), and then its
entries row by row, k words a number. Word i >= h is word (i - h) mod k of entry e = (i - h) div k, which stands in row
e div cols and column e mod cols. The header's words have no row and no column; each has a place of its own. Structured
positions add one learned vector for each of the three, so that a model finds the entry (2, 3) of any operand without having
to learn the arithmetic of places.

In the decoder a position is that of the word *to be predicted*: the input at i is word i - 1. The columns are read from
the header's last word, which from i = h on the decoder has before it: nothing is known that has not been generated.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.sequences import SequenceFormat


def columns(words: Tensor, form: SequenceFormat) -> Tensor:
    """The number of columns the header's last word names, shape of ``words``; 1..max_dimension whatever the word."""
    return (words - (form.first_dimension - 1)).clamp(1, form.max_dimension)


def structure(index: Tensor, cols: Tensor, form: SequenceFormat) -> tuple[Tensor, Tensor, Tensor]:
    """(row, column, place) of the words at ``index`` (L,) of matrices with ``cols`` (B, 1) columns, each (B, L).

    Rows and columns count from 1, 0 for header words; places are 0..h-1 in the header, then h..h+k-1 within a number.
    Words beyond the largest matrix stay in its last row.
    """
    k = form.words_per_number
    h = form.header
    header = index < h
    entry = (index - h).clamp(min=0) // k
    row = torch.where(header, 0, 1 + (entry // cols).clamp(max=form.max_dimension - 1))
    column = torch.where(header, 0, 1 + entry % cols)
    place = torch.where(header, index, h + (index - h) % k).expand_as(row)
    return row, column, place


class Structured(nn.Module):
    """p(i) = row(i) + column(i) + place(i), three tables of ``width``; standard deviation width^-0.5 at the start."""

    def __init__(self, form: SequenceFormat, width: int) -> None:
        super().__init__()
        self.form = form
        self.row = nn.Embedding(form.max_dimension + 1, width)
        self.column = nn.Embedding(form.max_dimension + 1, width)
        self.place = nn.Embedding(form.header + form.words_per_number, width)
        for table in (self.row, self.column, self.place):
            nn.init.normal_(table.weight, std=width**-0.5)

    def forward(self, index: Tensor, cols: Tensor) -> Tensor:
        """Vectors (B, L, width) of places ``index`` (L,) in matrices of ``cols`` (B,) columns; (1, L, width) if all agree."""
        if not cols.is_cuda and bool((cols == cols[:1]).all()):  # on a GPU, asking costs more than it saves
            cols = cols[:1]
        row, column, place = structure(index, cols.unsqueeze(1), self.form)
        total: Tensor = self.row(row) + self.column(column) + self.place(place)
        return total


class Learned(nn.Module):
    """p(i) = one learned vector for each i < ``rows``, as published; standard deviation width^-0.5 at the start."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.rows = rows
        self.table = nn.Embedding(rows, width)
        nn.init.normal_(self.table.weight, std=width**-0.5)

    def forward(self, index: Tensor, cols: Tensor) -> Tensor:
        """Vectors (1, L, width) of places ``index`` (L,); ``cols`` is not needed."""
        del cols
        vectors: Tensor = self.table(index).unsqueeze(0)
        return vectors

    def check(self, length: int) -> None:
        """UserError for a sequence longer than the table."""
        if length > self.rows:
            raise UserError(
                "a sequence is longer than the table of learned positions",
                expected=f"at most {self.rows} words",
                got=length,
                next_step="raise model.max_positions or choose structured positions",
            )


def positions(
    kind: Literal["structured", "learned"], form: SequenceFormat, width: int, rows: int
) -> Structured | Learned:
    """The module that gives positions of this kind."""
    return Structured(form, width) if kind == "structured" else Learned(rows, width)
