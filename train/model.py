"""The encoder-decoder transformer: p(target | source) = prod_t p(target_t | target_<t, source).

Shapes: B problems, Ls and Lt words, W the width of a side. The source is a written operand; the decoder reads END and then
the solution's words, and its output at t is the distribution of word t. One embedding of output words serves the decoder's
input and, tied, its output. ``forward`` sees whole targets (training); ``start`` and ``step`` feed one word at a time
through a cache and give the same numbers (generation).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.datasets.sequences import END, PAD, SequenceFormat
from mathpipe.train.config import ModelConfig
from mathpipe.train.layers import NORM_EPS, Attention, DecoderLayer, EncoderLayer, Keys
from mathpipe.train.positions import Learned, columns, positions


@dataclass(frozen=True)
class Memory:
    """What the encoder made of the sources: ``states`` (B, Ls, W); ``allowed`` (B, 1, 1, Ls) or None without padding."""

    states: Tensor
    allowed: Tensor | None


@dataclass
class Cache:
    """Everything the decoder needs of the words so far; ``select`` serves rows that are done.

    After ``widen(w)`` there are w rows a problem, in order, which share its memory; then ``fork`` and ``keep`` take the
    place of ``select``.
    """

    memory: list[Keys]  # per layer, (B, heads, Ls, d)
    allowed: Tensor | None  # (B, 1, 1, Ls)
    own: list[Keys]  # per layer, (B, heads, max_length, d), filled up to ``length``
    columns: Tensor  # (B,) as the second word said
    length: int  # words fed, END included

    def select(self, index: Tensor) -> Cache:
        """The rows at ``index`` (B',): kept, dropped, duplicated or reordered."""
        return Cache(
            memory=[(k[index], v[index]) for k, v in self.memory],
            allowed=None if self.allowed is None else self.allowed[index],
            own=[(k[index], v[index]) for k, v in self.own],
            columns=self.columns[index],
            length=self.length,
        )

    def widen(self, width: int) -> Cache:
        """``width`` rows for each one, before the first word; the memory stays one a problem."""
        own = [(k.repeat_interleave(width, 0), v.repeat_interleave(width, 0)) for k, v in self.own]
        return replace(self, own=own, columns=self.columns.repeat_interleave(width, 0))

    def fork(self, to: Tensor, source: Tensor) -> None:
        """Row ``to[i]`` becomes a copy of row ``source[i]``, of the same problem; in place."""
        for k, v in self.own:
            k[to, :, : self.length] = k[source, :, : self.length]
            v[to, :, : self.length] = v[source, :, : self.length]
        self.columns[to] = self.columns[source]

    def keep(self, problems: Tensor) -> Cache:
        """Only these problems, each with all its rows."""
        width = len(self.columns) // len(self.memory[0][0])
        rows = (problems.unsqueeze(1) * width + torch.arange(width, device=problems.device)).flatten()
        return Cache(
            memory=[(k[problems], v[problems]) for k, v in self.memory],
            allowed=None if self.allowed is None else self.allowed[problems],
            own=[(k[rows], v[rows]) for k, v in self.own],
            columns=self.columns[rows],
            length=self.length,
        )


class Side(nn.Module):
    """What encoder and decoder have in common: words and positions become vectors; norms stand where they belong."""

    def __init__(self, config: ModelConfig, form: SequenceFormat, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(form.vocabulary_size, width)
        self.positions = positions(config.positions, form, width, config.max_positions)
        nn.init.normal_(self.words.weight, std=width**-0.5)
        with torch.no_grad():
            self.words.weight[PAD] = 0
        post = config.norm == "post"
        self.first_norm = nn.LayerNorm(width, eps=NORM_EPS) if post else nn.Identity()
        self.last_norm = nn.Identity() if post else nn.LayerNorm(width, eps=NORM_EPS)
        self.dropout = config.dropout

    def embed(self, words: Tensor, index: Tensor, cols: Tensor) -> Tensor:
        """Vectors (B, L, W) of words (B, L) at places ``index`` (L,)."""
        x = self.first_norm(self.words(words) + self.positions(index, cols))
        return functional.dropout(x, self.dropout, self.training) if self.dropout else x

    def check(self, length: int) -> None:
        if isinstance(self.positions, Learned):
            self.positions.check(length)


class Transformer(nn.Module):
    """Weights are drawn from torch's default generator; ``config.dtype`` is the arithmetic of every call below."""

    def __init__(self, config: ModelConfig, source: SequenceFormat, target: SequenceFormat) -> None:
        super().__init__()
        c = self.config = config
        self.source_format, self.target_format = source, target
        self.encoder = Side(c, source, c.encoder_width)
        self.decoder = Side(c, target, c.decoder_width)
        self.encoder_layers = nn.ModuleList(
            EncoderLayer(c.encoder_width, c.encoder_heads, c.feed_forward, c.norm, c.dropout)
            for _ in range(c.encoder_layers)
        )
        self.decoder_layers = nn.ModuleList(
            DecoderLayer(
                c.decoder_width, c.decoder_heads, c.encoder_width, c.feed_forward, c.norm, c.cross_query, c.dropout
            )
            for _ in range(c.decoder_layers)
        )
        self.output_bias = nn.Parameter(torch.zeros(target.vocabulary_size))
        begin(self)

    @property
    def _decoding(self) -> list[DecoderLayer]:
        return cast(list[DecoderLayer], list(self.decoder_layers))

    @property
    def device(self) -> torch.device:
        return self.output_bias.device

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits (B, Lt, V) float32 of every target word, given the words before it. Source (B, Ls), target (B, Lt)."""
        with self.arithmetic():
            memory = self.encode(source)
            words = functional.pad(target[:, :-1], (1, 0), value=END)
            length = words.shape[1]
            self.decoder.check(length)
            index = torch.arange(length, device=words.device)
            h = self.target_format.header
            last = words[:, h] if length > h else words[:, 0]
            x = self.decoder.embed(words, index, columns(last, self.target_format))
            causal = index <= index.unsqueeze(1)
            for layer in self._decoding:
                keys = layer.cross_attention.keys(memory.states)
                x = layer(x, layer.own_keys(x), causal, keys, memory.allowed)
            return self._logits(x)

    def encode(self, source: Tensor) -> Memory:
        """What the encoder makes of sources (B, Ls), padded with PAD after their ends."""
        self.encoder.check(source.shape[1])
        with self.arithmetic():
            real = source != PAD
            # Without padding no mask is needed; asking costs a wait on a GPU, where the mask is cheap.
            allowed = None if not source.is_cuda and bool(real.all()) else real[:, None, None, :]
            index = torch.arange(source.shape[1], device=source.device)
            x = self.encoder.embed(source, index, columns(source[:, self.source_format.header - 1], self.source_format))
            for layer in self.encoder_layers:
                x = layer(x, allowed)
            return Memory(self.encoder.last_norm(x), allowed)

    def start(self, memory: Memory, max_length: int) -> Cache:
        """A cache for up to ``max_length`` words a row, nothing generated yet."""
        self.decoder.check(max_length)
        with self.arithmetic():
            keys = [layer.cross_attention.keys(memory.states) for layer in self._decoding]
        c, k = self.config, keys[0][0]
        shape = (len(k), c.decoder_heads, max_length, c.decoder_width // c.decoder_heads)
        own = [(k.new_zeros(shape), k.new_zeros(shape)) for _ in keys]
        return Cache(keys, memory.allowed, own, torch.ones(len(k), dtype=torch.int64, device=k.device), 0)

    def step(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Feed one word a row, tokens (B,), END first: logits (B, V) float32 of the next. The cache grows in place."""
        t = cache.length
        if t == self.target_format.header:
            cache.columns = columns(tokens, self.target_format)
        with self.arithmetic():
            index = torch.tensor([t], device=tokens.device)
            x = self.decoder.embed(tokens.unsqueeze(1), index, cache.columns)
            for layer, memory, (k, v) in zip(self._decoding, cache.memory, cache.own, strict=True):
                k[:, :, t : t + 1], v[:, :, t : t + 1] = layer.own_keys(x)
                x = layer(x, (k[:, :, : t + 1], v[:, :, : t + 1]), None, memory, cache.allowed)
            cache.length = t + 1
            return self._logits(x).squeeze(1)

    def _logits(self, x: Tensor) -> Tensor:
        x = self.decoder.last_norm(x)
        return functional.linear(x, self.decoder.words.weight, self.output_bias).float()

    def arithmetic(self) -> torch.autocast:
        """The context in which matrix products run as configured; one around many calls converts the weights once."""
        kind, device = self.config.dtype, self.device.type
        enabled = kind == "bfloat16" or (kind == "auto" and multiplies_bfloat16(device))
        return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled)


@functools.cache
def multiplies_bfloat16(device: str) -> bool:
    """Whether the processor ("cpu", "cuda") has instructions for products of bfloat16."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(has is True and "bf16" in name for name, has in torch.cpu.get_capabilities().items())


@torch.no_grad()
def begin(model: Transformer) -> None:
    """First weights of linear layers: uniform with variance 2 / (inputs + outputs), no bias; then aligned, if so configured."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    if model.config.start == "independent":
        return
    for module in model.modules():
        if isinstance(module, Attention) and module.query.in_features == module.key_value.in_features:
            module.key_value.weight[: module.query.out_features] = module.query.weight
    theirs = dict(model.encoder.positions.named_parameters())
    for name, table in model.decoder.positions.named_parameters():
        if table.shape == theirs[name].shape:  # places within a number differ where the encodings do
            table.copy_(theirs[name])
