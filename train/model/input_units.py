"""The input units of the encoder: one vector per token or per number, of all entries or of the upper triangle.

    token      v(i) = token(w_i) + row(i) + column(i) + offset(i)              h + k e vectors for e entries of k tokens
    number     v(e) = sum_j token_j(w_ej) + row(e) + column(e) + offset        h + e vectors; one table per offset j

The tokens of a number belong together: pooled, a 5x5 matrix in P10 takes 27 vectors instead of 127, and attention need not learn
first which digits form a number. A symmetric problem is determined by n (n + 1) / 2 of its n^2 entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.examples import Examples
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenFormat
from mathpipe.datasets.tokenizers.tokenizer import PAD, TokenizedFormat
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.positions import StructuredPositions, column_count


class NumberEmbedding(nn.Embedding):
    """One table of vectors per offset of a token within its number, stacked; the first table also embeds header tokens."""

    def __init__(self, form: MatrixTokenFormat, width: int) -> None:
        super().__init__(form.tokens_per_number * form.vocabulary_size, width)
        self.form = form
        nn.init.normal_(self.weight, std=(form.tokens_per_number * width) ** -0.5)
        with torch.no_grad():
            self.weight[PAD :: form.vocabulary_size] = 0

    def pool(self, entries: Tensor) -> Tensor:
        """Vectors (B, e, W) of entries (B, e, k) of k tokens each."""
        k, size = self.form.tokens_per_number, self.form.vocabulary_size
        vectors: Tensor = self(entries + torch.arange(k, device=entries.device) * size)
        return vectors.sum(dim=2)


class InputUnits(nn.Module):
    """From sources (B, Ls) to the vectors of the encoder, their positions and their mask.

    Has no weights of its own: ``table`` and ``positions`` are those of the encoder.
    """

    def __init__(self, config: ModelConfig, form: MatrixTokenFormat) -> None:
        super().__init__()
        self.form = form
        self.upper, self.pools_numbers = config.triangle == "upper", config.input_unit == "number"

    def build_table(self, vocabulary_size: int, width: int) -> nn.Embedding:
        """The embedding of the tokens, or of tokens by their offset within numbers."""
        return NumberEmbedding(self.form, width) if self.pools_numbers else token_embedding(vocabulary_size, width)

    def forward(
        self, source: Tensor, table: nn.Embedding, positions: StructuredPositions
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(vectors (B, L, W), their positions (1 or B, L, W), mask of real units (B, L))."""
        h, k = self.form.header, self.form.tokens_per_number
        header, entries = source[:, :h], source[:, h:].reshape(len(source), -1, k)
        cols = column_count(source[:, h - 1], self.form)
        number = torch.arange(entries.shape[1], device=source.device).unsqueeze(0)
        if self.upper:
            entries, number = self._upper(entries, number, cols)
        header_index = torch.arange(h, device=source.device).expand(len(number), h)
        real = entries[:, :, 0] != PAD
        if self.pools_numbers and isinstance(table, NumberEmbedding):
            vectors = torch.cat([table(header), table.pool(entries)], dim=1)
            index = torch.cat([header_index, h + k * number], dim=1)
        else:
            vectors = table(torch.cat([header, entries.flatten(1)], dim=1))
            token_index = h + k * number.unsqueeze(2) + torch.arange(k, device=source.device)
            index, real = torch.cat([header_index, token_index.flatten(1)], dim=1), real.repeat_interleave(k, dim=1)
        if not cols.is_cuda and bool((cols == cols[:1]).all()):  # equal shapes have equal positions
            index, cols = index[:1], cols[:1]
        return vectors, positions(index, cols), functional.pad(real, (h, 0), value=True)

    def _upper(self, entries: Tensor, number: Tensor, cols: Tensor) -> tuple[Tensor, Tensor]:
        """Entries on and above the diagonal and their indices, (B, n (n + 1) / 2) for the largest matrix, padded with PAD."""
        n = math.isqrt(entries.shape[1])
        cols = cols.unsqueeze(1)
        in_triangle = (number // cols <= number % cols) & (entries[:, :, 0] != PAD)
        order = torch.argsort(~in_triangle, dim=1, stable=True)[:, : n * (n + 1) // 2]
        upper = entries.gather(1, order.unsqueeze(2).expand(-1, -1, entries.shape[2]))
        return upper.where(in_triangle.gather(1, order).unsqueeze(2), PAD), order


def token_embedding(vocabulary_size: int, width: int) -> nn.Embedding:
    """A table of one vector per token, of standard deviation width^-0.5; zero for padding."""
    table = nn.Embedding(vocabulary_size, width)
    nn.init.normal_(table.weight, std=width**-0.5)
    with torch.no_grad():
        table.weight[PAD] = 0
    return table


INPUT_UNITS: dict[type[TokenizedFormat], Callable[[ModelConfig, Any], InputUnits]] = {MatrixTokenFormat: InputUnits}
"""The input units of each tokenized format that has others than tokens."""


def build_input_units(config: ModelConfig, form: TokenizedFormat) -> InputUnits | None:
    """The configured input units; None for one vector per token of the whole source. UserError if the format has no others."""
    if config.input_unit == "token" and config.triangle == "full":
        return None
    if type(form) not in INPUT_UNITS:
        raise UserError(
            "input_unit and triangle apply to matrices only",
            expected="model.input_unit: token, model.triangle: full, for other problems",
            got=f"model.input_unit: {config.input_unit}, model.triangle: {config.triangle}",
            next_step="leave both out for this task",
        )
    return INPUT_UNITS[type(form)](config, form)


def check_symmetric(rows: Examples) -> None:
    """Raise UserError unless all problems, which are matrices, are symmetric."""
    if all(a.shape[1] == a.shape[2] and np.array_equal(a, a.transpose(0, 2, 1)) for _, a in rows.problems.groups()):
        return
    raise UserError(
        "model.triangle: upper would drop half of each problem, but the problems are not symmetric",
        expected="A = A^T for every problem (eigenvalues, eigenvectors, symmetric-inverse)",
        got="asymmetric matrices",
        next_step="set model.triangle to full",
    )
