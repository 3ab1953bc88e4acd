"""What the encoder reads of a written problem: every word, or one vector a number; every entry, or those on and above the
diagonal.

    by words      v(i) = word(w_i) + row(i) + column(i) + place(i)              h + k e vectors for e entries of k words
    by numbers    v(e) = sum_j word_j(w_ej) + row(e) + column(e) + place        h + e vectors; a table for each place j

A number's words are read together anyway: the encoder of a 5x5 matrix in P10 then has 27 vectors instead of 127, and attention
need not find out first which digits belong together. A symmetric problem is told by n (n + 1) / 2 of its n^2 entries.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.example_formats import AnyRows
from mathpipe.datasets.format.matrix_columns import Rows
from mathpipe.datasets.tokenizers.matrix_tokenizer import PAD, SequenceFormat
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.positions import Format, Structured, columns


class NumberTable(nn.Embedding):
    """A table of vectors for each of the k places of a word within its number, one below the other; the first reads headers too."""

    def __init__(self, form: SequenceFormat, width: int) -> None:
        super().__init__(form.words_per_number * form.vocabulary_size, width)
        self.form = form
        nn.init.normal_(self.weight, std=(form.words_per_number * width) ** -0.5)
        with torch.no_grad():
            self.weight[PAD :: form.vocabulary_size] = 0

    def numbers(self, entries: Tensor) -> Tensor:
        """Vectors (B, e, W) of entries (B, e, k) of k words each."""
        k, size = self.form.words_per_number, self.form.vocabulary_size
        vectors: Tensor = self(entries + torch.arange(k, device=entries.device) * size)
        return vectors.sum(dim=2)


class Reading(nn.Module):
    """From sources (B, Ls) to what the encoder's layers work on: vectors, where they stand, and which are no padding.

    Holds no weights of its own: ``table`` and ``places`` are those of the encoder's side.
    """

    def __init__(self, config: ModelConfig, form: SequenceFormat) -> None:
        super().__init__()
        self.form, self.upper, self.numbers = form, config.entries == "upper", config.reads == "numbers"

    def forward(self, source: Tensor, table: nn.Embedding, places: Structured) -> tuple[Tensor, Tensor, Tensor]:
        """(vectors (B, L, W), their positions (1 or B, L, W), real (B, L))."""
        h, k = self.form.header, self.form.words_per_number
        header, entries = source[:, :h], source[:, h:].reshape(len(source), -1, k)
        cols = columns(source[:, h - 1], self.form)
        number = torch.arange(entries.shape[1], device=source.device).unsqueeze(0)
        if self.upper:
            entries, number = self._upper(entries, number, cols)
        begins = torch.arange(h, device=source.device).expand(len(number), h)
        real = entries[:, :, 0] != PAD
        if self.numbers and isinstance(table, NumberTable):
            vectors = torch.cat([table(header), table.numbers(entries)], dim=1)
            index = torch.cat([begins, h + k * number], dim=1)
        else:
            vectors = table(torch.cat([header, entries.flatten(1)], dim=1))
            within = h + k * number.unsqueeze(2) + torch.arange(k, device=source.device)
            index, real = torch.cat([begins, within.flatten(1)], dim=1), real.repeat_interleave(k, dim=1)
        if not cols.is_cuda and bool((cols == cols[:1]).all()):  # all shapes agree, and so do all places
            index, cols = index[:1], cols[:1]
        return vectors, places(index, cols), functional.pad(real, (h, 0), value=True)

    def _upper(self, entries: Tensor, number: Tensor, cols: Tensor) -> tuple[Tensor, Tensor]:
        """Entries on and above the diagonal and their numbers, (B, n (n + 1) / 2) for the largest matrix; PAD after their ends."""
        n = math.isqrt(entries.shape[1])
        cols = cols.unsqueeze(1)
        kept = (number // cols <= number % cols) & (entries[:, :, 0] != PAD)
        order = torch.argsort(~kept, dim=1, stable=True)[:, : n * (n + 1) // 2]
        taken = entries.gather(1, order.unsqueeze(2).expand(-1, -1, entries.shape[2]))
        return taken.where(kept.gather(1, order).unsqueeze(2), PAD), order


def reading(config: ModelConfig, form: Format) -> Reading | None:
    """The configured reading; None for every word as it comes. UserError for what is no matrix."""
    if config.reads == "words" and config.entries == "all":
        return None
    if not isinstance(form, SequenceFormat):
        raise UserError(
            "expressions and bits are read word by word",
            expected="model.reads: words, model.entries: all",
            got=f"model.reads: {config.reads}, model.entries: {config.entries}",
            next_step="leave both out for this task",
        )
    return Reading(config, form)


def check_symmetric(rows: AnyRows) -> None:
    """UserError unless the problems are symmetric matrices."""
    if isinstance(rows, Rows) and all(
        a.shape[1] == a.shape[2] and np.array_equal(a, a.transpose(0, 2, 1)) for _, a in rows.problems.groups()
    ):
        return
    raise UserError(
        "half of each problem would be read, but problems are not symmetric",
        expected="A = A^T for every problem (eigenvalues, eigenvectors, symmetric-inverse)",
        got="others among them" if isinstance(rows, Rows) else "problems that are no matrices",
        next_step="set model.entries to all",
    )
