"""Position vectors: p(i) = one learned vector per position i, or row(i) + column(i) + offset(i).

An encoded matrix is a header of h tokens, ``V<rows> V<cols>`` (in co-training preceded by the task token), followed by its
entries row by row, k tokens per number. Token i >= h is token (i - h) mod k of entry e = (i - h) div k, in row e div cols and
column e mod cols. Header tokens have no row and no column, and one offset each. Structured positions add one learned vector for
each of the three: the model locates entry (2, 3) of any problem without learning index arithmetic.

``build_positions`` chooses: none, learned, sinusoidal, structured (matrices, here) or tree (expressions, ``tree_positions``).
``SequenceEmbedding`` in ``transformer.py`` adds the vectors to the embeddings, ``input_units.py`` where numbers are pooled; rotary
positions act in attention instead, see ``layers.py``.

In the decoder, a position is that of the token *to be predicted*: the input at i is token i - 1. The number of columns comes from
the last header token, which the decoder has generated before i = h.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.expression_tokenizer import PrefixFormat
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenFormat
from mathpipe.datasets.tokenizers.tokenizer import TokenizedFormat
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.tree_positions import TreePositions

State = tuple[Tensor, ...]  # what determines the next position in decoding, each (B, ...)


class Positions(Protocol):
    """Position vectors (B, L, width), or (1, L, width) if they are equal for all problems."""

    def for_source(self, tokens: Tensor) -> Tensor:
        """Positions of the tokens (B, L) themselves: for the encoder."""
        ...

    def for_target(self, inputs: Tensor) -> Tensor:
        """Positions of the tokens predicted after each of ``inputs`` (B, L), END first: for the decoder."""
        ...

    def init_state(self, rows: int, device: torch.device) -> State:
        """The state before the first token."""
        ...

    def advance(self, tokens: Tensor, t: int, state: State) -> tuple[Tensor, State]:
        """One step of ``for_target``: the vector (B, 1, width) after ``tokens`` (B,), the t-th inputs, and the new state."""
        ...

    def check(self, length: int) -> None:
        """Raise UserError for a sequence that is too long."""
        ...


def column_count(tokens: Tensor, form: MatrixTokenFormat) -> Tensor:
    """The number of columns that the last header token encodes, shape of ``tokens``; clamped to 1..max_dimension."""
    return (tokens - (form.first_dimension - 1)).clamp(1, form.max_dimension)


def matrix_coordinates(index: Tensor, cols: Tensor, form: MatrixTokenFormat) -> tuple[Tensor, Tensor, Tensor]:
    """(row, column, offset) of the tokens at ``index`` (L,) of matrices with ``cols`` (B, 1) columns, each (B, L).

    Rows and columns count from 1 and are 0 for header tokens. Offsets are 0..h-1 in the header and h..h+k-1 within a number.
    Tokens beyond the largest matrix get its last row.
    """
    k = form.tokens_per_number
    h = form.header
    in_header = index < h
    entry = (index - h).clamp(min=0) // k
    row = torch.where(in_header, 0, 1 + (entry // cols).clamp(max=form.max_dimension - 1))
    column = torch.where(in_header, 0, 1 + entry % cols)
    offset = torch.where(in_header, index, h + (index - h) % k).expand_as(row)
    return row, column, offset


class StructuredPositions(nn.Module):
    """p(i) = row(i) + column(i) + offset(i), three embeddings; initial standard deviation width^-0.5."""

    def __init__(self, form: MatrixTokenFormat, width: int) -> None:
        super().__init__()
        self.form = form
        self.row = nn.Embedding(form.max_dimension + 1, width)
        self.column = nn.Embedding(form.max_dimension + 1, width)
        self.offset = nn.Embedding(form.header + form.tokens_per_number, width)
        for table in (self.row, self.column, self.offset):
            nn.init.normal_(table.weight, std=width**-0.5)

    def forward(self, index: Tensor, cols: Tensor) -> Tensor:
        """Vectors (B, L, width) of positions ``index`` (L,) or (B, L) in matrices of ``cols`` (B,) columns; (1, L, width) if all
        matrices have the same number of columns."""
        if not cols.is_cuda and bool((cols == cols[:1]).all()):  # on a GPU the synchronisation costs more than it saves
            cols = cols[:1]
        row, column, offset = matrix_coordinates(index, cols.unsqueeze(1), self.form)
        total: Tensor = self.row(row) + self.column(column) + self.offset(offset)
        return total

    def for_source(self, tokens: Tensor) -> Tensor:
        index = torch.arange(tokens.shape[1], device=tokens.device)
        return self.forward(index, column_count(tokens[:, self.form.header - 1], self.form))

    def for_target(self, inputs: Tensor) -> Tensor:
        h = self.form.header
        last_header = inputs[:, h] if inputs.shape[1] > h else inputs[:, 0]
        return self.forward(torch.arange(inputs.shape[1], device=inputs.device), column_count(last_header, self.form))

    def init_state(self, rows: int, device: torch.device) -> State:
        """The number of columns, 1 until it is known."""
        return (torch.ones(rows, dtype=torch.int64, device=device),)

    def advance(self, tokens: Tensor, t: int, state: State) -> tuple[Tensor, State]:
        if t == self.form.header:
            state = (column_count(tokens, self.form),)
        return self(torch.tensor([t], device=tokens.device), state[0]), state

    def check(self, length: int) -> None:
        """Every length is valid."""


class AbsolutePositions(nn.Module, ABC):
    """p(i) as a function of i alone, for i < ``rows``."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows

    @abstractmethod
    def forward(self, index: Tensor) -> Tensor:
        """Vectors (1, L, width) of positions ``index`` (L,)."""

    def for_source(self, tokens: Tensor) -> Tensor:
        vectors: Tensor = self(torch.arange(tokens.shape[1], device=tokens.device))
        return vectors

    def for_target(self, inputs: Tensor) -> Tensor:
        return self.for_source(inputs)

    def init_state(self, rows: int, device: torch.device) -> State:
        """No state."""
        return ()

    def advance(self, tokens: Tensor, t: int, state: State) -> tuple[Tensor, State]:
        return self(torch.tensor([t], device=tokens.device)), state

    def check(self, length: int) -> None:
        if length > self.rows:
            raise UserError(
                "a sequence is longer than the table of positions",
                expected=f"at most {self.rows} tokens",
                got=length,
                next_step="raise model.max_positions or use structured positions",
            )


class LearnedPositions(AbsolutePositions):
    """p(i) = one learned vector per position, as published; initial standard deviation width^-0.5."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__(rows)
        self.table = nn.Embedding(rows, width)
        nn.init.normal_(self.table.weight, std=width**-0.5)

    def forward(self, index: Tensor) -> Tensor:
        vectors: Tensor = self.table(index).unsqueeze(0)
        return vectors


class SinusoidalPositions(AbsolutePositions):
    """p(i)_2j = sin(i 10000^(-2j/width)), p(i)_2j+1 = cos of the same: fixed."""

    table: Tensor

    def __init__(self, rows: int, width: int) -> None:
        super().__init__(rows)
        position = torch.arange(rows, dtype=torch.float64).unsqueeze(1)
        angle = position * 10_000.0 ** (-2 * (torch.arange(width) // 2) / width)
        even = torch.arange(width) % 2 == 0
        self.register_buffer("table", torch.where(even, angle.sin(), angle.cos()).float(), persistent=False)

    def forward(self, index: Tensor) -> Tensor:
        return functional.embedding(index, self.table).unsqueeze(0)


class NoPositions(AbsolutePositions):
    """No position vectors: zeros."""

    def __init__(self, width: int) -> None:
        super().__init__(2**62)
        self.register_buffer("zero", torch.zeros(1, 1, width), persistent=False)

    zero: Tensor

    def forward(self, index: Tensor) -> Tensor:
        return self.zero.expand(1, len(index), -1)


AnyPositions = StructuredPositions | TreePositions | LearnedPositions | SinusoidalPositions | NoPositions


STRUCTURED_POSITIONS: dict[type[TokenizedFormat], Callable[[Any, int], AnyPositions]] = {
    MatrixTokenFormat: StructuredPositions,
    PrefixFormat: TreePositions,
}
"""The structured positions of each tokenized format; a format without structure has learned positions."""


def build_positions(config: ModelConfig, form: TokenizedFormat, width: int) -> AnyPositions:
    """The configured positions of sequences in this format."""
    structured = STRUCTURED_POSITIONS.get(type(form))
    if config.positions == "structured" and structured is not None:
        return structured(form, width)
    if config.positions == "none":
        return NoPositions(width)
    return (SinusoidalPositions if config.positions == "sinusoidal" else LearnedPositions)(config.max_positions, width)
