"""The model interface used by training, decoding and evaluation.

A model factors its logits as states W^T + b: ``states`` computes the states, ``output_layer`` gives W and b. The loss works on
these two in pieces, without all logits in memory. ``encode``, ``init_cache`` and ``step`` decode one token at a time and give
the same logits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.examples import Examples
from mathpipe.train.runtime.fast_paths import fast_paths


class Model(nn.Module, ABC):
    """B problems, source (B, Ls) and target (B, Lt), padded with PAD at the end; V tokens, W the width of a state."""

    @abstractmethod
    def states(self, source: Tensor, target: Tensor) -> Tensor:
        """States (B, Lt, W) of all target tokens, given the problem and the preceding target tokens."""

    @abstractmethod
    def output_layer(self) -> tuple[Tensor, Tensor]:
        """Weight (V, W) and bias (V,): logits = states weight^T + bias."""

    def target_tokens(self, target: Tensor) -> Tensor:
        """The targets (B, Lt) that enter the loss; PAD at positions that the model does not predict."""
        return target

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits (B, Lt, V) float32 of all target tokens, given the preceding ones."""
        with self.autocast():
            return functional.linear(self.states(source, target), *self.output_layer()).float()

    @abstractmethod
    def encode(self, source: Tensor) -> Any:
        """The encoding of the problems, computed once per batch."""

    @abstractmethod
    def init_cache(self, memory: Any, max_length: int) -> Any:
        """An empty cache for up to ``max_length`` tokens per row."""

    @abstractmethod
    def step(self, tokens: Tensor, cache: Any) -> Tensor:
        """Feed one token per row, tokens (B,), END first: logits (B, V) float32 of the next token. Updates the cache in place."""

    @abstractmethod
    def autocast(self) -> torch.autocast:
        """The autocast context of the configured dtype."""

    def check(self, rows: Examples) -> None:
        """Raise UserError for problems that this model would misread."""

    def sparse_embeddings(self) -> list[nn.Embedding]:
        """Embeddings of which a batch uses few rows and that no other layer shares."""
        return []

    def layers(self) -> list[nn.Module]:
        """The layers that are compiled, one by one."""
        return []


def autocast_context(dtype: str, device: str) -> torch.autocast:
    """Autocast to bfloat16 if ``dtype`` is bfloat16, or ``auto`` on a device with native bfloat16."""
    enabled = dtype == "bfloat16" or (dtype == "auto" and fast_paths(device).products == torch.bfloat16)
    return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled)


def missing_transformers(error: ImportError) -> UserError:
    """The error for a missing package ``transformers``."""
    return UserError(
        "pretrained backbones need the package transformers",
        got=str(error),
        next_step="pip install 'mathpipe[pretrained]'",
    )
