"""One layer of a transformer: attention and feed-forward sub-layers, each added to its input.

FeedForward(x)     = W2 relu(W1 x), W2 gelu(W1 x), or gated W2 (silu(G x) * W1 x)
post-norm          x <- N(x + f(x))                   as published
pre-norm           x <- x + f(N(x))
rotary             query and key at position i are rotated by the angles i theta_j: their product depends on the distance
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.train.config import ModelConfig
from mathpipe.train.model.attention import attend

NORM_EPS = 1e-12  # as published
Keys = tuple[Tensor, Tensor]  # keys and values, each (B, heads, L, d)
Rotation = tuple[Tensor, Tensor]  # cosines and sines of rotary angles, each (L, d / 2)


def norm(config: ModelConfig, width: int) -> nn.Module:
    """The configured norm. RMSNorm needs a larger eps than the published one because its input is not centred."""
    return nn.RMSNorm(width, eps=1e-6) if config.norm_kind == "rms" else nn.LayerNorm(width, eps=NORM_EPS)


def to_autocast_dtype(x: Tensor) -> Tensor:
    """x in the autocast dtype: converted once here instead of once in each product that uses it."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def rotary_angles(index: Tensor, size: int) -> Rotation:
    """cos and sin of i 10000^(-2j/size) for positions ``index`` (L,) and j < size / 2."""
    rates = 10_000.0 ** (-torch.arange(0, size, 2, device=index.device, dtype=torch.float32) / size)
    angles = index.to(torch.float32).unsqueeze(1) * rates
    return angles.cos(), angles.sin()


def apply_rotary(x: Tensor, rotary: Rotation | None) -> Tensor:
    """Rotate vectors (B, H, L, d) in the planes of their two halves; unchanged if ``rotary`` is None."""
    if rotary is None:
        return x
    cos, sin = (t.to(x.dtype) for t in rotary)
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

    def keys(self, memory: Tensor, rotary: Rotation | None = None) -> Keys:
        """Keys and values of memory (B, L, memory_width)."""
        k, v = self.key_value(memory.flatten(0, 1)).view(*memory.shape[:2], -1).chunk(2, dim=-1)
        return apply_rotary(self._split(k), rotary), self._split(v)

    def forward(
        self,
        x: Tensor,
        keys: Keys,
        allowed: Tensor | None = None,
        causal: bool = False,
        rotary: Rotation | None = None,
    ) -> Tensor:
        """Attention of x (B, L, width) to the keys: (B, L, width)."""
        query = self.query(x.flatten(0, 1)).view(x.shape)
        mixed = attend(apply_rotary(self._split(query), rotary), *keys, allowed, causal)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(-1, x.shape[2])).view(x.shape)
        return result

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """A hidden layer of ``feed_forward`` x width; gated with 2/3 of that, rounded to a multiple of 16."""

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
        rows = x.flatten(0, 1)  # with three dimensions each product would copy its input
        h = self.inner(rows)
        if self.activation == "swiglu":
            h = functional.silu(self.gate(rows)) * h
        else:
            h = functional.relu_(h) if self.activation == "relu" else functional.gelu(h)
        result: Tensor = self.outer(h).view(x.shape)
        return result


class Residual(nn.Module):
    """One residual connection with its norm: ``before`` prepares the input of a sub-layer, ``after`` adds its output."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.pre = config.norm == "pre"
        self.norm = norm(config, width)
        self.dropout = config.dropout

    def before(self, x: Tensor) -> Tensor:
        return to_autocast_dtype(self.norm(x) if self.pre else x)

    def after(self, x: Tensor, update: Tensor) -> Tensor:
        if self.dropout:
            update = functional.dropout(update, self.dropout, self.training)
        total = x + update
        if self.pre:
            return total
        normalised: Tensor = self.norm(total)
        return normalised


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.encoder_width
        self.attention = Attention(width, config.encoder_heads, width)
        self.feed_forward = FeedForward(config, width)
        self.attention_step = Residual(config, width)
        self.feed_forward_step = Residual(config, width)

    def forward(self, x: Tensor, allowed: Tensor | None, rotary: Rotation | None = None) -> Tensor:
        """x (B, L, width); ``allowed`` (B, 1, 1, L): the tokens that are not padding."""
        y = self.attention_step.before(x)
        x = self.attention_step.after(x, self.attention(y, self.attention.keys(y, rotary), allowed, rotary=rotary))
        update = self.feed_forward(self.feed_forward_step.before(x))
        return self.feed_forward_step.after(x, update)


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention, then feed-forward, with keys supplied by the caller.

    ``cross_query="input"``: the queries of cross-attention come from the layer's input instead of the output of self-attention
    (as in LAWT).
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

    def attention_input(self, x: Tensor) -> Tensor:
        """The input of self-attention, from the layer's input x (B, L, width)."""
        return self.attention_step.before(x)

    def self_attention_keys(self, attention_input: Tensor, rotary: Rotation | None = None) -> Keys:
        """Keys and values of self-attention."""
        return self.attention.keys(attention_input, rotary)

    def forward(
        self,
        x: Tensor,
        attention_input: Tensor,
        self_keys: Keys,
        memory: Keys,
        allowed: Tensor | None,
        causal: bool = False,
        rotary: Rotation | None = None,
    ) -> Tensor:
        """x (B, L, width), the input and keys of self-attention, and the keys of the encoder's memory."""
        h = self.attention_step.after(x, self.attention(attention_input, self_keys, causal=causal, rotary=rotary))
        query_input = self.cross_step.before(x if self.query_input else h)
        h = self.cross_step.after(h, self.cross_attention(query_input, memory, allowed))
        return self.feed_forward_step.after(h, self.feed_forward(self.feed_forward_step.before(h)))
