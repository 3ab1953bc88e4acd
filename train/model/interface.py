"""What training, decoding and evaluation ask of a model, whatever it is made of.

A model says what the logits of a target word are a linear function of (``states``), and that function (``output``): the loss is
taken from these two, in pieces. ``encode``, ``start`` and ``step`` feed one word at a time and give the same numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.example_formats import AnyRows
from mathpipe.train.runtime.fast_paths import fast_paths


class Model(nn.Module, ABC):
    """B problems, source (B, Ls) and target (B, Lt), padded with PAD after their ends; V words, W the width of a state."""

    @abstractmethod
    def states(self, source: Tensor, target: Tensor) -> Tensor:
        """(B, Lt, W): of every target word, given the problem and the target words before it."""

    @abstractmethod
    def output(self) -> tuple[Tensor, Tensor]:
        """Weight (V, W) and bias (V,): logits = states weight^T + bias."""

    def said(self, target: Tensor) -> Tensor:
        """The target words that the model has to say; PAD where there is nothing to be said."""
        return target

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits (B, Lt, V) float32 of every target word, given the words before it."""
        with self.arithmetic():
            return functional.linear(self.states(source, target), *self.output()).float()

    @abstractmethod
    def encode(self, source: Tensor) -> Any:
        """What is made of the problems, once."""

    @abstractmethod
    def start(self, memory: Any, max_length: int) -> Any:
        """A cache for up to ``max_length`` words a row, nothing generated yet."""

    @abstractmethod
    def step(self, tokens: Tensor, cache: Any) -> Tensor:
        """Feed one word a row, tokens (B,), END first: logits (B, V) float32 of the next. The cache grows in place."""

    @abstractmethod
    def arithmetic(self) -> torch.autocast:
        """The context in which matrix products run as configured."""

    def check(self, rows: AnyRows) -> None:
        """UserError for problems that this model would misread."""

    def tables_of_few_rows(self) -> list[nn.Embedding]:
        """Tables of which a batch reads few rows and that serve nothing else."""
        return []

    def layers(self) -> list[nn.Module]:
        """What is compiled, one by one."""
        return []


def autocast(kind: str, device: str) -> torch.autocast:
    """Autocast to bfloat16 where ``kind`` says so, or is ``auto`` and the device multiplies it natively."""
    enabled = kind == "bfloat16" or (kind == "auto" and fast_paths(device).products == torch.bfloat16)
    return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled)


def without_transformers(problem: ImportError) -> UserError:
    """What to tell where the package of pretrained bodies is not installed."""
    return UserError(
        "pretrained bodies need the package transformers",
        got=str(problem),
        next_step="pip install 'mathpipe[pretrained]'",
    )
