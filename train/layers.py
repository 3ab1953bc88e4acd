"""One layer of a transformer: attention and feed-forward, each added to its input.

Attention(q, k, v) = softmax(q k^T / sqrt(d)) v        d the width of a head
FeedForward(x)     = W2 relu(W1 x)
post-norm          x <- LN(x + f(x))                   as published
pre-norm           x <- x + f(LN(x))
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

NORM_EPS = 1e-12  # as published
Keys = tuple[Tensor, Tensor]  # keys and values, each (B, heads, L, d)


def attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for q (B, H, Lq, d), k and v (B, H, Lk, d); ``allowed`` broadcasts to (B, H, Lq, Lk).

    Where q has w rows for each of k, (B w, H, Lq, d), those of one problem ask its keys together.
    """
    if len(q) != len(k):
        width = len(q) // len(k)
        asked = q.unflatten(0, (len(k), width)).transpose(1, 2).flatten(2, 3)
        return attend(asked, k, v, allowed).unflatten(2, (width, -1)).transpose(1, 2).flatten(0, 1)
    if q.is_cuda:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    mixed: Tensor = scores.softmax(dim=-1) @ v
    return mixed


class Attention(nn.Module):
    """Multi-head attention from ``width`` to a memory of ``memory_width`` (the same width for self-attention)."""

    def __init__(self, width: int, heads: int, memory_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(memory_width, 2 * width)
        self.out = nn.Linear(width, width)

    def keys(self, memory: Tensor) -> Keys:
        """Keys and values of memory (B, L, memory_width)."""
        k, v = self.key_value(memory).chunk(2, dim=-1)
        return self._split(k), self._split(v)

    def forward(self, x: Tensor, keys: Keys, allowed: Tensor | None) -> Tensor:
        """x (B, L, width) looks at the keys; (B, L, width)."""
        mixed = attend(self._split(self.query(x)), *keys, allowed)
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Sequential):
    def __init__(self, width: int, multiple: int) -> None:
        super().__init__(nn.Linear(width, multiple * width), nn.ReLU(), nn.Linear(multiple * width, width))


class Residual(nn.Module):
    """One residual step with its norm: ``before`` is applied to what a sub-layer reads, ``after`` adds what it found."""

    def __init__(self, width: int, norm: Literal["pre", "post"], dropout: float) -> None:
        super().__init__()
        self.pre = norm == "pre"
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.dropout = dropout

    def before(self, x: Tensor) -> Tensor:
        return self.norm(x) if self.pre else x

    def after(self, x: Tensor, found: Tensor) -> Tensor:
        if self.dropout:
            found = functional.dropout(found, self.dropout, self.training)
        return x + found if self.pre else self.norm(x + found)


class EncoderLayer(nn.Module):
    """x <- self-attention <- feed-forward."""

    def __init__(self, width: int, heads: int, multiple: int, norm: Literal["pre", "post"], dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, width)
        self.feed_forward = FeedForward(width, multiple)
        self.attention_step = Residual(width, norm, dropout)
        self.feed_forward_step = Residual(width, norm, dropout)

    def forward(self, x: Tensor, allowed: Tensor | None) -> Tensor:
        """x (B, L, width); ``allowed`` (B, 1, 1, L) the words that are no padding."""
        y = self.attention_step.before(x)
        x = self.attention_step.after(x, self.attention(y, self.attention.keys(y), allowed))
        found = self.feed_forward(self.feed_forward_step.before(x))
        return self.feed_forward_step.after(x, found)


class DecoderLayer(nn.Module):
    """x <- self-attention <- cross-attention <- feed-forward, over whatever keys the caller has gathered.

    ``cross_query="input"``: the cross-attention's queries come from the layer's input, not from the outcome of
    self-attention (LAWT's layer).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        memory_width: int,
        multiple: int,
        norm: Literal["pre", "post"],
        cross_query: Literal["attended", "input"],
        dropout: float,
    ) -> None:
        super().__init__()
        self.query_input = cross_query == "input"
        self.attention = Attention(width, heads, width)
        self.cross_attention = Attention(width, heads, memory_width)
        self.feed_forward = FeedForward(width, multiple)
        self.attention_step = Residual(width, norm, dropout)
        self.cross_step = Residual(width, norm, dropout)
        self.feed_forward_step = Residual(width, norm, dropout)

    def own_keys(self, x: Tensor) -> Keys:
        """Keys and values that self-attention sees of x (B, L, width)."""
        return self.attention.keys(self.attention_step.before(x))

    def forward(self, x: Tensor, own: Keys, causal: Tensor | None, memory: Keys, allowed: Tensor | None) -> Tensor:
        """x (B, L, width), its keys and those of the encoder's memory."""
        h = self.attention_step.after(x, self.attention(self.attention_step.before(x), own, causal))
        asking = self.cross_step.before(x if self.query_input else h)
        h = self.cross_step.after(h, self.cross_attention(asking, memory, allowed))
        return self.feed_forward_step.after(h, self.feed_forward(self.feed_forward_step.before(h)))
