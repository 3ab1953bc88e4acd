"""Where a word stands: p(i) = one learned vector for place i, or row(i) + column(i) + place(i).

A written matrix is a header of h words, ``V<rows> V<cols>`` (in co-training the task's letter before them), and then its
entries row by row, k words a number. Word i >= h is word (i - h) mod k of entry e = (i - h) div k, which stands in row
e div cols and column e mod cols. The header's words have no row and no column; each has a place of its own. Structured
positions add one learned vector for each of the three, so that a model finds the entry (2, 3) of any problem without having
to learn the arithmetic of places.

In the decoder a position is that of the word *to be predicted*: the input at i is word i - 1. The columns are read from
the header's last word, which from i = h on the decoder has before it: nothing is known that has not been generated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.bit_tokenizer import BitFormat
from mathpipe.datasets.tokenizers.matrix_tokenizer import PrefixFormat, SequenceFormat
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.tree_positions import Tree

Format = SequenceFormat | PrefixFormat | BitFormat
State = tuple[Tensor, ...]  # what the words so far say of places, each (B, ...)


class Places(Protocol):
    """Gives the vectors of positions; shapes (B, L, width), or 1 for B where all problems agree."""

    def of_words(self, words: Tensor) -> Tensor:
        """Of the words (B, L) themselves: the encoder's."""
        ...

    def of_next(self, fed: Tensor) -> Tensor:
        """Of the words to be predicted after each of ``fed`` (B, L), END first: the decoder's."""
        ...

    def begin(self, rows: int, device: torch.device) -> State: ...

    def advance(self, tokens: Tensor, t: int, state: State) -> tuple[Tensor, State]:
        """As ``of_next``, a word at a time: the vector (B, 1, width) after ``tokens`` (B,), the t-th fed."""
        ...

    def check(self, length: int) -> None:
        """UserError for a sequence that is too long."""
        ...


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
        """Vectors (B, L, width) of places ``index`` (L,) or (B, L), matrices of ``cols`` (B,) columns; 1 for B if all agree."""
        if not cols.is_cuda and bool((cols == cols[:1]).all()):  # on a GPU, asking costs more than it saves
            cols = cols[:1]
        row, column, place = structure(index, cols.unsqueeze(1), self.form)
        total: Tensor = self.row(row) + self.column(column) + self.place(place)
        return total

    def of_words(self, words: Tensor) -> Tensor:
        index = torch.arange(words.shape[1], device=words.device)
        return self.forward(index, columns(words[:, self.form.header - 1], self.form))

    def of_next(self, fed: Tensor) -> Tensor:
        h = self.form.header
        last = fed[:, h] if fed.shape[1] > h else fed[:, 0]
        return self.forward(torch.arange(fed.shape[1], device=fed.device), columns(last, self.form))

    def begin(self, rows: int, device: torch.device) -> State:
        """The number of columns: unknown, one."""
        return (torch.ones(rows, dtype=torch.int64, device=device),)

    def advance(self, tokens: Tensor, t: int, state: State) -> tuple[Tensor, State]:
        if t == self.form.header:
            state = (columns(tokens, self.form),)
        return self(torch.tensor([t], device=tokens.device), state[0]), state

    def check(self, length: int) -> None:
        """Any length has its positions."""


class Absolute(nn.Module, ABC):
    """p(i) of the place i alone, for i < ``rows``."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows

    @abstractmethod
    def forward(self, index: Tensor) -> Tensor:
        """Vectors (1, L, width) of places ``index`` (L,)."""

    def of_words(self, words: Tensor) -> Tensor:
        vectors: Tensor = self(torch.arange(words.shape[1], device=words.device))
        return vectors

    def of_next(self, fed: Tensor) -> Tensor:
        return self.of_words(fed)

    def begin(self, rows: int, device: torch.device) -> State:
        """Nothing need be known."""
        return ()

    def advance(self, tokens: Tensor, t: int, state: State) -> tuple[Tensor, State]:
        return self(torch.tensor([t], device=tokens.device)), state

    def check(self, length: int) -> None:
        if length > self.rows:
            raise UserError(
                "a sequence is longer than the table of positions",
                expected=f"at most {self.rows} words",
                got=length,
                next_step="raise model.max_positions or choose structured positions",
            )


class Learned(Absolute):
    """p(i) = one learned vector for each place, as published; standard deviation width^-0.5 at the start."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__(rows)
        self.table = nn.Embedding(rows, width)
        nn.init.normal_(self.table.weight, std=width**-0.5)

    def forward(self, index: Tensor) -> Tensor:
        vectors: Tensor = self.table(index).unsqueeze(0)
        return vectors


class Sinusoidal(Absolute):
    """p(i)_2j = sin(i 10000^(-2j/width)), p(i)_2j+1 = cos of the same: fixed."""

    table: Tensor

    def __init__(self, rows: int, width: int) -> None:
        super().__init__(rows)
        place = torch.arange(rows, dtype=torch.float64).unsqueeze(1)
        angle = place * 10_000.0 ** (-2 * (torch.arange(width) // 2) / width)
        even = torch.arange(width) % 2 == 0
        self.register_buffer("table", torch.where(even, angle.sin(), angle.cos()).float(), persistent=False)

    def forward(self, index: Tensor) -> Tensor:
        return functional.embedding(index, self.table).unsqueeze(0)


class Nowhere(Absolute):
    """No positions: zeros."""

    def __init__(self, width: int) -> None:
        super().__init__(2**62)
        self.register_buffer("zero", torch.zeros(1, 1, width), persistent=False)

    zero: Tensor

    def forward(self, index: Tensor) -> Tensor:
        return self.zero.expand(1, len(index), -1)


def positions(config: ModelConfig, form: Format, width: int) -> Structured | Tree | Learned | Sinusoidal | Nowhere:
    """The configured positions: what is structured differs between matrices and expressions, and is told apart here alone."""
    if config.positions == "structured":
        if isinstance(form, BitFormat):  # bits stand in a row, and that is all the structure they have
            return Learned(config.max_positions, width)
        return Tree(form, width) if isinstance(form, PrefixFormat) else Structured(form, width)
    if config.positions == "none":
        return Nowhere(width)
    return (Learned if config.positions == "learned" else Sinusoidal)(config.max_positions, width)
