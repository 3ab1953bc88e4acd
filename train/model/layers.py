"""One layer of a transformer: attention and feed-forward, each added to its input.

FeedForward(x)     = W2 relu(W1 x), W2 gelu(W1 x), or gated W2 (silu(G x) * W1 x)
post-norm          x <- N(x + f(x))                   as published
pre-norm           x <- x + f(N(x))
rotary             query and key at place i are turned by the angles i theta_j, so that their product knows the distance
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.train.config import ModelConfig
from mathpipe.train.model.attention import attend

NORM_EPS = 1e-12  # as published
Keys = tuple[Tensor, Tensor]  # keys and values, each (B, heads, L, d)
Turn = tuple[Tensor, Tensor]  # cosines and sines of places, each (L, d / 2)


def norm(config: ModelConfig, width: int) -> nn.Module:
    """The configured norm; a root mean square needs a larger eps than the published one, since nothing centres its input."""
    return nn.RMSNorm(width, eps=1e-6) if config.norm_kind == "rms" else nn.LayerNorm(width, eps=NORM_EPS)


def narrow(x: Tensor) -> Tensor:
    """x in the arithmetic of matrix products: once here, instead of once in each product that reads it."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def angles(index: Tensor, size: int) -> Turn:
    """cos and sin of i 10000^(-2j/size) for places ``index`` (L,) and j < size / 2."""
    rates = 10_000.0 ** (-torch.arange(0, size, 2, device=index.device, dtype=torch.float32) / size)
    turned = index.to(torch.float32).unsqueeze(1) * rates
    return turned.cos(), turned.sin()


def turn(x: Tensor, by: Turn | None) -> Tensor:
    """Vectors (B, H, L, d) with their halves turned against each other; unchanged without ``by``."""
    if by is None:
        return x
    cos, sin = (t.to(x.dtype) for t in by)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Attention(nn.Module):
    """Multi-head attention from ``width`` to a memory of ``memory_width`` (the same width for self-attention)."""

    def __init__(self, width: int, heads: int, memory_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(memory_width, 2 * width)
        self.out = nn.Linear(width, width)

    def keys(self, memory: Tensor, by: Turn | None = None) -> Keys:
        """Keys and values of memory (B, L, memory_width)."""
        k, v = self.key_value(memory.flatten(0, 1)).view(*memory.shape[:2], -1).chunk(2, dim=-1)
        return turn(self._split(k), by), self._split(v)

    def forward(
        self, x: Tensor, keys: Keys, allowed: Tensor | None = None, causal: bool = False, by: Turn | None = None
    ) -> Tensor:
        """x (B, L, width) looks at the keys; (B, L, width)."""
        query = self.query(x.flatten(0, 1)).view(x.shape)
        mixed = attend(turn(self._split(query), by), *keys, allowed, causal)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(-1, x.shape[2])).view(x.shape)
        return result

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """Up to ``feed_forward`` x width, an activation, and back; gated with 2/3 of the hidden width, in multiples of 16."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.activation = config.activation
        hidden = config.feed_forward * width
        if self.activation == "swiglu":
            hidden = max(round(hidden * 2 / 3 / 16), 1) * 16
            self.gate = nn.Linear(width, hidden)
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, 1)  # with three dimensions each product would copy what it reads
        h = self.inner(rows)
        if self.activation == "swiglu":
            h = functional.silu(self.gate(rows)) * h
        else:
            h = functional.relu_(h) if self.activation == "relu" else functional.gelu(h)
        result: Tensor = self.outer(h).view(x.shape)
        return result


class Residual(nn.Module):
    """One residual step with its norm: ``before`` is applied to what a sub-layer reads, ``after`` adds what it found."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.pre = config.norm == "pre"
        self.norm = norm(config, width)
        self.dropout = config.dropout

    def before(self, x: Tensor) -> Tensor:
        return narrow(self.norm(x) if self.pre else x)

    def after(self, x: Tensor, found: Tensor) -> Tensor:
        if self.dropout:
            found = functional.dropout(found, self.dropout, self.training)
        total = x + found
        if self.pre:
            return total
        normed: Tensor = self.norm(total)
        return normed


class EncoderLayer(nn.Module):
    """x <- self-attention <- feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.encoder_width
        self.attention = Attention(width, config.encoder_heads, width)
        self.feed_forward = FeedForward(config, width)
        self.attention_step = Residual(config, width)
        self.feed_forward_step = Residual(config, width)

    def forward(self, x: Tensor, allowed: Tensor | None, by: Turn | None = None) -> Tensor:
        """x (B, L, width); ``allowed`` (B, 1, 1, L) the words that are no padding."""
        y = self.attention_step.before(x)
        x = self.attention_step.after(x, self.attention(y, self.attention.keys(y, by), allowed, by=by))
        found = self.feed_forward(self.feed_forward_step.before(x))
        return self.feed_forward_step.after(x, found)


class DecoderLayer(nn.Module):
    """x <- self-attention <- cross-attention <- feed-forward, over whatever keys the caller has gathered.

    ``cross_query="input"``: the cross-attention's queries come from the layer's input, not from the outcome of
    self-attention (LAWT's layer).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.decoder_width
        self.query_input = config.cross_query == "input"
        self.attention = Attention(width, config.decoder_heads, width)
        self.cross_attention = Attention(width, config.decoder_heads, config.encoder_width)
        self.feed_forward = FeedForward(config, width)
        self.attention_step = Residual(config, width)
        self.cross_step = Residual(config, width)
        self.feed_forward_step = Residual(config, width)

    def reading(self, x: Tensor) -> Tensor:
        """What self-attention reads of the layer's input x (B, L, width)."""
        return self.attention_step.before(x)

    def own_keys(self, reading: Tensor, by: Turn | None = None) -> Keys:
        """Keys and values of what self-attention reads."""
        return self.attention.keys(reading, by)

    def forward(
        self,
        x: Tensor,
        reading: Tensor,
        own: Keys,
        memory: Keys,
        allowed: Tensor | None,
        causal: bool = False,
        by: Turn | None = None,
    ) -> Tensor:
        """x (B, L, width) and what self-attention reads of it, its keys and those of the encoder's memory."""
        h = self.attention_step.after(x, self.attention(reading, own, causal=causal, by=by))
        asking = self.cross_step.before(x if self.query_input else h)
        h = self.cross_step.after(h, self.cross_attention(asking, memory, allowed))
        return self.feed_forward_step.after(h, self.feed_forward(self.feed_forward_step.before(h)))
