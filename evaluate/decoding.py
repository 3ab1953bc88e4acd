"""Decoding: from written problems to predicted words. It exists once, here; training and every analysis use it.

Greedy: word_t = argmax p(word | words before t, problem), until END or ``max_length`` words, with
log_probability = sum_t log p(word_t | ...), END included.

The model is asked one word a row at a time through its key/value cache; rows that are done leave the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mathpipe.datasets.sequences import END, PAD

# Copying a cache without its finished rows costs about as much as a step, so it waits until this share of them is done.
_LEAVE_SHARE = 1 / 16


class Cache(Protocol):
    """What a model keeps of the words so far, one row a sequence."""

    def select(self, index: Tensor, /) -> Self:
        """The rows at ``index`` (B',): kept, dropped, duplicated or reordered."""
        ...


MemoryT = TypeVar("MemoryT")
CacheT = TypeVar("CacheT", bound=Cache)


class Decodable(Protocol[MemoryT, CacheT]):
    """What decoding asks of a model, whether a ``mathpipe.train.model.Transformer`` or a scripted double of a test."""

    def encode(self, source: Tensor, /) -> MemoryT: ...

    def start(self, memory: MemoryT, max_length: int, /) -> CacheT: ...

    def step(self, tokens: Tensor, cache: CacheT, /) -> Tensor:
        """Feed one word a row, tokens (B,), END first: logits (B, V) of the next. The cache grows in place."""
        ...


@dataclass(frozen=True)
class Decoded:
    """``tokens`` (n, L) int64: everything generated, END included, then PAD; ``log_probability`` (n,) float64."""

    tokens: NDArray[np.int64]
    log_probability: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.tokens)


def greedy(model: Decodable[MemoryT, CacheT], source: Tensor, max_length: int) -> Decoded:
    """The most likely next word, again and again, for each row of ``source`` (B, Ls), PAD after its end.

    ``max_length``: words a row may have, END included. A row that has no END by then is returned as it stands.
    """
    if max_length < 1:
        raise ValueError(f"expected room for END at least, got max_length {max_length}")
    n, device = len(source), source.device
    tokens = torch.full((n, max_length), PAD, dtype=torch.int64, device=device)
    log_probability = torch.zeros(n, dtype=torch.float64, device=device)
    if not n:
        return _on_host(tokens[:, :0], log_probability)
    with torch.inference_mode():
        cache = model.start(model.encode(source), max_length)
        rows = torch.arange(n, device=device)  # which sequence each row of the cache belongs to
        running = torch.ones(n, dtype=torch.bool, device=device)
        words = torch.full((n,), END, dtype=torch.int64, device=device)
        for place in range(max_length):
            logits = model.step(words, cache)
            likely, words = logits.max(dim=-1)
            gained = (likely - logits.logsumexp(dim=-1)).double()
            tokens[rows[running], place] = words[running]
            log_probability[rows[running]] += gained[running]
            running &= words != END
            left = int(running.sum())
            if not left:
                return _on_host(tokens[:, : place + 1], log_probability)
            if len(rows) - left >= _LEAVE_SHARE * len(rows):
                kept = running.nonzero().squeeze(1)
                cache, rows, words, running = cache.select(kept), rows[kept], words[kept], running[kept]
    return _on_host(tokens, log_probability)


@contextmanager
def decoding_mode(model: nn.Module) -> Iterator[torch.device]:
    """The model without dropout, on its device, in training's arithmetic; as it was before afterwards.

    One autocast around all steps lets PyTorch keep the weights it has converted instead of converting them at each.
    """
    was_training = model.training
    device = next(model.parameters()).device
    arithmetic = getattr(model, "arithmetic", nullcontext)
    model.eval()
    try:
        with arithmetic():
            yield device
    finally:
        model.train(was_training)


def _on_host(tokens: Tensor, log_probability: Tensor) -> Decoded:
    return Decoded(tokens.cpu().numpy(), log_probability.cpu().numpy())
