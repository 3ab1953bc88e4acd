"""The published transformer in torch's own modules, float32: the reference for the logits and the speed of this project's model.

Written from the papers' description (Lample and Charton 2020; Charton 2022): post-norm layers with eps 1e-12, ReLU, learned
positions, one joint vocabulary with an embedding for each side, the decoder's tied to the output. In LAWT's layer the queries of
cross-attention come from the layer's input, in the other from the output of self-attention.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

END, PAD, EPS = 0, 1, 1e-12


class Layer(nn.Module):
    """Self-attention, in a decoder cross-attention, feed-forward, each added to its input and normalised."""

    def __init__(self, width: int, heads: int, memory: int | None, lawt: bool) -> None:
        super().__init__()
        self.lawt = lawt
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm1 = nn.LayerNorm(width, EPS)
        if memory is not None:
            self.cross_attention = nn.MultiheadAttention(width, heads, kdim=memory, vdim=memory, batch_first=True)
            self.norm15 = nn.LayerNorm(width, EPS)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm2 = nn.LayerNorm(width, EPS)

    def forward(
        self, x: Tensor, padding: Tensor | None, memory: Tensor | None = None, causal_mask: Tensor | None = None
    ) -> Tensor:
        attended = self.self_attention(
            x, x, x, key_padding_mask=None if memory is not None else padding, attn_mask=causal_mask,
            is_causal=causal_mask is not None, need_weights=False,
        )  # fmt: skip
        h = self.norm1(x + attended[0])
        if memory is not None:
            query = x if self.lawt else h
            h = self.norm15(
                h + self.cross_attention(query, memory, memory, key_padding_mask=padding, need_weights=False)[0]
            )
        output: Tensor = self.norm2(h + self.outer(functional.relu(self.inner(h))))
        return output


class Published(nn.Module):
    """``tokens``: size of the joint vocabulary; two (width, heads, layers); sources begin and end with END."""

    def __init__(
        self,
        tokens: int,
        encoder: tuple[int, int, int],
        decoder: tuple[int, int, int],
        lawt: bool = True,
        positions: int = 4096,
    ) -> None:
        super().__init__()
        self.embeddings, self.positions, self.norms = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for width, _, _ in (encoder, decoder):
            self.embeddings.append(nn.Embedding(tokens, width, padding_idx=PAD))
            self.positions.append(nn.Embedding(positions, width))
            self.norms.append(nn.LayerNorm(width, EPS))
        for table in (*self.embeddings, *self.positions):
            nn.init.normal_(table.weight, std=table.embedding_dim**-0.5)
        (we, he, ne), (wd, hd, nd) = encoder, decoder
        self.encoder = nn.ModuleList(Layer(we, he, None, lawt) for _ in range(ne))
        self.decoder = nn.ModuleList(Layer(wd, hd, we, lawt) for _ in range(nd))
        self.output = nn.Linear(wd, tokens)
        self.output.weight = self.embeddings[1].weight

    def embed(self, side: int, tokens: Tensor) -> Tensor:
        index = torch.arange(tokens.shape[1], device=tokens.device)
        embedded: Tensor = self.norms[side](self.embeddings[side](tokens) + self.positions[side](index))
        return embedded

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits (B, Lt, V); source (B, Ls) and target (B, Lt) begin with END, padded with PAD."""
        logits: Tensor = self.output(self.states(source, target))
        return logits

    def states(self, source: Tensor, target: Tensor) -> Tensor:
        """The input (B, Lt, W) of the output layer."""
        padding = source == PAD
        x = self.embed(0, source)
        mask = padding if padding.any() else None
        for layer in self.encoder:
            x = layer(x, mask) * ~padding.unsqueeze(2)
        length = target.shape[1]
        causal_mask = torch.full((length, length), -math.inf, device=target.device).triu(1)
        y = self.embed(1, target)
        for layer in self.decoder:
            y = layer(y, mask, x, causal_mask) * (target != PAD).unsqueeze(2)
        return y
