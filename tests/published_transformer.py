"""The published models in plain matrix products, float32, from the formulas: logits and greedy answers of a state dictionary.

x_0 = LN(E[token] + P[position]); encoder h = LN1(x + A(x, x)), out = LN2(h + F(h)); decoder h = LN1(x + A(x, x)), then
h' = LN15(h + A(q, encoder)), out = LN2(h' + F(h')), with q = x (LAWT) or q = h (SymbolicMathematics). Padded positions are zero
after every layer. A(q, m) = softmax(Q K^T / sqrt(d)) V, a head at a time; F(h) = W2 relu(W1 h + b1) + b2; logits = y E^T + b.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

END, PAD, EPS = 0, 1, 1e-12
State = dict[str, Tensor]


@dataclass
class Names:
    """Names of the parts of layer n in one of the two layouts."""

    layers: bool  # layers.N.part, else part.N

    def attention(self, n: int) -> str:
        return f"layers.{n}.self_attention" if self.layers else f"attentions.{n}"

    def cross(self, n: int) -> str:
        return f"layers.{n}.cross_attention" if self.layers else f"encoder_attn.{n}"

    def norm(self, n: int, which: str) -> str:
        return f"layers.{n}.layer_norm{which}" if self.layers else f"layer_norm{which}.{n}"

    def feed_forward(self, n: int, which: int) -> str:
        return f"layers.{n}.ffn.lin{which}" if self.layers else f"ffns.{n}.lin{which}"


@dataclass
class PublishedModel:
    """Random weights under the authors' names. ``lawt``: the layout and the cross-attention of LAWT."""

    tokens: int
    encoder: tuple[int, int, int]  # width, heads, layers
    decoder: tuple[int, int, int]
    lawt: bool = True
    positions: int = 64
    sinusoidal: bool = False
    seed: int = 0
    cross_from_input: bool | None = None
    states: tuple[State, State] = field(init=False)

    def __post_init__(self) -> None:
        self.names = Names(self.lawt)
        generator = torch.Generator().manual_seed(self.seed)
        self.generator = generator
        self.states = (self._side(self.encoder, None), self._side(self.decoder, self.encoder[0]))

    def _random(self, *shape: int, scale: float) -> Tensor:
        return torch.randn(*shape, generator=self.generator) * scale

    def _linear(self, state: State, name: str, inputs: int, outputs: int) -> None:
        state[f"{name}.weight"] = self._random(outputs, inputs, scale=1.5 * inputs**-0.5)
        state[f"{name}.bias"] = self._random(outputs, scale=0.3)

    def _norm(self, state: State, name: str, width: int) -> None:
        state[f"{name}.weight"] = 1 + self._random(width, scale=0.2)
        state[f"{name}.bias"] = self._random(width, scale=0.2)

    def _side(self, shape: tuple[int, int, int], memory: int | None) -> State:
        width, _, layers = shape
        state: State = {"embeddings.weight": self._random(self.tokens, width, scale=width**-0.5)}
        state["embeddings.weight"][PAD] = 0
        state["position_embeddings.weight"] = (
            sinusoids(self.positions, width)
            if self.sinusoidal
            else self._random(self.positions, width, scale=width**-0.5)
        )
        self._norm(state, "layer_norm_emb", width)
        for n in range(layers):
            for part in "qkv":
                self._linear(state, f"{self.names.attention(n)}.{part}_lin", width, width)
            self._linear(state, f"{self.names.attention(n)}.out_lin", width, width)
            self._norm(state, self.names.norm(n, "1"), width)
            if memory is not None:
                for part, inputs in (("q", width), ("k", memory), ("v", memory), ("out", width)):
                    self._linear(state, f"{self.names.cross(n)}.{part}_lin", inputs, width)
                self._norm(state, self.names.norm(n, "15"), width)
            self._linear(state, self.names.feed_forward(n, 1), width, 4 * width)
            self._linear(state, self.names.feed_forward(n, 2), 4 * width, width)
            self._norm(state, self.names.norm(n, "2"), width)
        if memory is not None:
            state["proj.weight"] = state["embeddings.weight"]
            state["proj.bias"] = self._random(self.tokens, scale=0.3)
        return state

    def logits(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits (B, Lt, V) of the token after each of ``target`` (B, Lt), which begins with 0; source (B, Ls) framed by 0."""
        encoder, decoder = self.states
        x = self._embed(encoder, source)
        real = (source != PAD).unsqueeze(2)
        hidden = torch.where(source == PAD, -math.inf, 0.0)[:, None, :]
        for n in range(self.encoder[2]):
            h = norm(
                encoder,
                self.names.norm(n, "1"),
                x + attend(encoder, self.names.attention(n), x, x, self.encoder[1], hidden),
            )
            x = norm(encoder, self.names.norm(n, "2"), h + self._feed_forward(encoder, n, h)) * real
        y, length = self._embed(decoder, target), target.shape[1]
        future = torch.full((length, length), -math.inf).triu(1)
        from_input = self.lawt if self.cross_from_input is None else self.cross_from_input
        for n in range(self.decoder[2]):
            h = norm(
                decoder,
                self.names.norm(n, "1"),
                y + attend(decoder, self.names.attention(n), y, y, self.decoder[1], future),
            )
            query = y if from_input else h
            cross = attend(decoder, self.names.cross(n), query, x, self.decoder[1], hidden)
            h = norm(decoder, self.names.norm(n, "15"), h + cross)
            y = norm(decoder, self.names.norm(n, "2"), h + self._feed_forward(decoder, n, h)) * (
                target != PAD
            ).unsqueeze(2)
        return y @ decoder["proj.weight"].T + decoder["proj.bias"]

    def greedy(self, source: Tensor, longest: int) -> list[int]:
        """The most probable next token, again and again, of one problem (Ls,), up to the next 0."""
        answer = [END]
        while len(answer) <= longest:
            answer.append(int(self.logits(source[None], torch.tensor([answer]))[0, -1].argmax()))
            if answer[-1] == END:
                break
        return answer[1:]

    def checkpoint(self, params: object, module: bool = False) -> dict[str, object]:
        """What the programs save."""
        prefix = "module." if module else ""
        sides = [{f"{prefix}{name}": weight for name, weight in state.items()} for state in self.states]
        return {"epoch": 7, "n_total_iter": 1234, "encoder": sides[0], "decoder": sides[1], "params": params}

    def _embed(self, state: State, tokens: Tensor) -> Tensor:
        x = state["embeddings.weight"][tokens] + state["position_embeddings.weight"][: tokens.shape[1]]
        return norm(state, "layer_norm_emb", x)

    def _feed_forward(self, state: State, n: int, h: Tensor) -> Tensor:
        hidden = linear(state, self.names.feed_forward(n, 1), h).clamp(min=0)
        return linear(state, self.names.feed_forward(n, 2), hidden)


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def norm(state: State, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred / (centred.square().mean(-1, keepdim=True) + EPS).sqrt() * state[f"{name}.weight"]
        + state[f"{name}.bias"]
    )


def attend(state: State, name: str, x: Tensor, memory: Tensor, heads: int, mask: Tensor) -> Tensor:
    """``mask``, added to the scores: minus infinity where there is no attention."""
    query, key, value = (linear(state, f"{name}.{p}_lin", m) for p, m in (("q", x), ("k", memory), ("v", memory)))
    size = query.shape[-1] // heads
    mixed = []
    for head in range(heads):
        columns = slice(head * size, (head + 1) * size)
        scores = query[..., columns] @ key[..., columns].transpose(1, 2) / math.sqrt(size) + mask
        mixed.append(scores.softmax(-1) @ value[..., columns])
    return linear(state, f"{name}.out_lin", torch.cat(mixed, -1))


def sinusoids(rows: int, width: int) -> Tensor:
    """sin(i / 10000^(2j / width)) in columns 2j, cos in columns 2j + 1."""
    table = torch.zeros(rows, width, dtype=torch.float64)
    for i in range(rows):
        for j in range(width):
            angle = i / 10_000 ** (2 * (j // 2) / width)
            table[i, j] = math.sin(angle) if j % 2 == 0 else math.cos(angle)
    return table.float()
