"""The published transformer in torch's own modules, float32: what ours is compared with, in numbers and in speed.

Written from the papers' description (Lample and Charton 2020; Charton 2022): post-norm layers with eps 1e-12, ReLU, learned
positions, one joint vocabulary with an embedding for each side, the decoder's tied to the output. In LAWT's layer the queries of
cross-attention come from the layer's input, in the other from the outcome of self-attention.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

END, PAD, EPS = 0, 1, 1e-12


class Layer(nn.Module):
    """Self-attention, in a decoder cross-attention, feed-forward, each summed with its input and normed."""

    def __init__(self, width: int, heads: int, memory: int | None, lawt: bool) -> None:
        super().__init__()
        self.lawt = lawt
        self.own = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm1 = nn.LayerNorm(width, EPS)
        if memory is not None:
            self.cross = nn.MultiheadAttention(width, heads, kdim=memory, vdim=memory, batch_first=True)
            self.norm15 = nn.LayerNorm(width, EPS)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm2 = nn.LayerNorm(width, EPS)

    def forward(
        self, x: Tensor, padding: Tensor | None, memory: Tensor | None = None, hidden: Tensor | None = None
    ) -> Tensor:
        own = self.own(
            x, x, x, key_padding_mask=None if memory is not None else padding, attn_mask=hidden,
            is_causal=hidden is not None, need_weights=False,
        )  # fmt: skip
        h = self.norm1(x + own[0])
        if memory is not None:
            asking = x if self.lawt else h
            h = self.norm15(h + self.cross(asking, memory, memory, key_padding_mask=padding, need_weights=False)[0])
        found: Tensor = self.norm2(h + self.outer(functional.relu(self.inner(h))))
        return found


class Published(nn.Module):
    """``words`` in the joint vocabulary; two (width, heads, layers); sources begin and end with END."""

    def __init__(
        self,
        words: int,
        encoder: tuple[int, int, int],
        decoder: tuple[int, int, int],
        lawt: bool = True,
        positions: int = 4096,
    ) -> None:
        super().__init__()
        self.tables, self.places, self.norms = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for width, _, _ in (encoder, decoder):
            self.tables.append(nn.Embedding(words, width, padding_idx=PAD))
            self.places.append(nn.Embedding(positions, width))
            self.norms.append(nn.LayerNorm(width, EPS))
        for table in (*self.tables, *self.places):
            nn.init.normal_(table.weight, std=table.embedding_dim**-0.5)
        (we, he, ne), (wd, hd, nd) = encoder, decoder
        self.encoder = nn.ModuleList(Layer(we, he, None, lawt) for _ in range(ne))
        self.decoder = nn.ModuleList(Layer(wd, hd, we, lawt) for _ in range(nd))
        self.output = nn.Linear(wd, words)
        self.output.weight = self.tables[1].weight

    def embed(self, side: int, words: Tensor) -> Tensor:
        index = torch.arange(words.shape[1], device=words.device)
        found: Tensor = self.norms[side](self.tables[side](words) + self.places[side](index))
        return found

    def forward(self, source: Tensor, fed: Tensor) -> Tensor:
        """Logits (B, Lt, V); source (B, Ls) and fed (B, Lt) begin with END, padded with PAD."""
        logits: Tensor = self.output(self.states(source, fed))
        return logits

    def states(self, source: Tensor, fed: Tensor) -> Tensor:
        """The input (B, Lt, W) of the output layer."""
        padding = source == PAD
        x = self.embed(0, source)
        mask = padding if padding.any() else None
        for layer in self.encoder:
            x = layer(x, mask) * ~padding.unsqueeze(2)
        length = fed.shape[1]
        hidden = torch.full((length, length), -math.inf, device=fed.device).triu(1)
        y = self.embed(1, fed)
        for layer in self.decoder:
            y = layer(y, mask, x, hidden) * (fed != PAD).unsqueeze(2)
        return y
