"""The encoder-decoder transformer: p(target | source) = prod_t p(target_t | target_<t, source).

Shapes: B problems, Ls and Lt tokens, W the width of a side. The source is an encoded problem. The decoder input is END followed by
the solution, and its output at t is the distribution of token t. One embedding serves as the decoder's input and, tied, as its
output layer. ``forward`` computes whole targets (training). ``init_cache`` and ``step`` decode one token at a time through a cache
and give the same logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.datasets.format.examples import Examples
from mathpipe.datasets.tokenizers.tokenizer import END, PAD, TokenizedFormat
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.input_units import build_input_units, check_symmetric, token_embedding
from mathpipe.train.model.interface import Model, autocast_context
from mathpipe.train.model.joint_vocabulary import JointVocabulary
from mathpipe.train.model.layers import (
    Attention,
    DecoderLayer,
    EncoderLayer,
    Keys,
    Rotation,
    norm,
    rotary_angles,
    to_autocast_dtype,
)
from mathpipe.train.model.positions import LearnedPositions, Positions, build_positions

_INITIAL_CAPACITY = 128  # tokens that fit into a new cache


@dataclass(frozen=True)
class Memory:
    """The encoder's output: ``states`` (B, Ls, W); ``allowed`` (B, 1, 1, Ls), or None without padding."""

    states: Tensor
    allowed: Tensor | None


@dataclass
class Cache:
    """The decoder's state after ``length`` tokens: B problems of w rows each, in order, which share the memory of their problem.

    ``fork`` copies rows in place: in beam search most continuations stay in the row of their parent (88 % with a random model),
    and rows are read where they lie.
    """

    memory: list[Keys]  # per layer, (B, heads, Ls, d)
    allowed: Tensor | None  # (B, 1, 1, Ls)
    self_keys: list[Keys]  # per layer, (B w, capacity, heads, d), filled up to ``length``
    position_state: tuple[Tensor, ...]  # each (B w, ...)
    max_length: int  # limit of the capacity
    length: int = 0  # input tokens so far, END included

    def widen(self, width: int) -> Cache:
        """``width`` rows for each row, before the first token."""
        self_keys = [
            (k.new_empty((len(k) * width, *k.shape[1:])), v.new_empty((len(v) * width, *v.shape[1:])))
            for k, v in self.self_keys
        ]
        position_state = tuple(state.repeat_interleave(width, 0) for state in self.position_state)
        return Cache(self.memory, self.allowed, self_keys, position_state, self.max_length)

    def fork(self, to: Tensor, source: Tensor, since: Tensor) -> None:
        """Overwrite row ``to[i]`` with row ``source[i]`` of the same problem, in place.

        ``since[i]``: the number of leading tokens that both rows share; their keys need no copy.
        """
        position = torch.arange(self.length, device=to.device)
        pair, position = (position > since.unsqueeze(1)).nonzero(as_tuple=True)  # END precedes the first token
        for tensor in (x for keys in self.self_keys for x in keys):
            tokens, capacity = tensor.flatten(0, 1), tensor.shape[1]
            copies = tokens.index_select(0, source[pair] * capacity + position)
            tokens.index_copy_(0, to[pair] * capacity + position, copies)
        for state in self.position_state:
            state.index_copy_(0, to, state.index_select(0, source))

    def select(self, problems: Tensor) -> Cache:
        """The problems at these indices (B',), each with all its rows; indices may repeat and come in any order."""
        width = len(self.self_keys[0][0]) // len(self.memory[0][0])
        rows = (problems.unsqueeze(1) * width + torch.arange(width, device=problems.device)).flatten()
        return Cache(
            memory=[(k[problems], v[problems]) for k, v in self.memory],
            allowed=None if self.allowed is None else self.allowed[problems],
            self_keys=[(k[rows], v[rows]) for k, v in self.self_keys],
            position_state=tuple(state[rows] for state in self.position_state),
            max_length=self.max_length,
            length=self.length,
        )

    def append(self, layer: int, k: Tensor, v: Tensor) -> Keys:
        """Store this step's keys and values (B w, heads, 1, d); return all so far, (B w, heads, length + 1, d)."""
        t = self.length
        if t == self.self_keys[layer][0].shape[1]:
            more = max(min(t, self.max_length - t), 1)
            full_keys, full_values = self.self_keys[layer]
            self.self_keys[layer] = (_lengthened(full_keys, more), _lengthened(full_values, more))
        keys, values = self.self_keys[layer]
        keys[:, t], values[:, t] = k.squeeze(2), v.squeeze(2)
        return keys[:, : t + 1].transpose(1, 2), values[:, : t + 1].transpose(1, 2)

    def advance(self) -> None:
        """End the step: all layers have stored their keys."""
        self.length += 1


def _lengthened(x: Tensor, more: int) -> Tensor:
    return torch.cat([x, x.new_empty((len(x), more, *x.shape[2:]))], dim=1)


class SequenceEmbedding(nn.Module):
    """The parts that encoder and decoder have in common: token embedding, positions, and the norms outside the layers."""

    def __init__(self, config: ModelConfig, form: TokenizedFormat, width: int, token_embedding: nn.Embedding) -> None:
        super().__init__()
        self.token_embedding = token_embedding
        self.positions = build_positions(config, form, width)
        post = config.norm == "post"
        self.input_norm = norm(config, width) if post else nn.Identity()
        self.output_norm = nn.Identity() if post else norm(config, width)
        self.dropout = config.dropout

    @property
    def position_vectors(self) -> Positions:
        """``positions``, as its interface."""
        return cast(Positions, self.positions)

    def embed(self, tokens: Tensor, position_vectors: Tensor) -> Tensor:
        """The input (B, L, W) of the first layer, for tokens (B, L) at these positions."""
        return self.normalise_input(self.token_embedding(tokens) + position_vectors)

    def normalise_input(self, x: Tensor) -> Tensor:
        """Norm and dropout of vectors (B, L, W) before the first layer."""
        x = self.input_norm(x)
        return functional.dropout(x, self.dropout, self.training) if self.dropout else x


class Transformer(Model):
    """Weights are sampled from torch's default generator; ``config.dtype`` applies to every call below."""

    source_ids: Tensor

    def __init__(
        self,
        config: ModelConfig,
        source: TokenizedFormat,
        target: TokenizedFormat,
        joint: JointVocabulary | None = None,
    ) -> None:
        super().__init__()
        c = self.config = config
        self.source_format, self.target_format = source, target
        sizes = (source.vocabulary_size, target.vocabulary_size) if joint is None else (joint.size, joint.size)
        self.input_units = build_input_units(c, source)
        build_table = token_embedding if self.input_units is None else self.input_units.build_table
        self.encoder = SequenceEmbedding(c, source, c.encoder_width, build_table(sizes[0], c.encoder_width))
        self.decoder = SequenceEmbedding(c, target, c.decoder_width, token_embedding(sizes[1], c.decoder_width))
        source_ids = range(source.vocabulary_size) if joint is None else joint.source_ids
        self.register_buffer("source_ids", torch.tensor(source_ids), persistent=False)
        self.has_joint_vocabulary = joint is not None
        self.encoder_layers = nn.ModuleList(EncoderLayer(c) for _ in range(c.encoder_layers))
        self.decoder_layers = nn.ModuleList(DecoderLayer(c) for _ in range(c.decoder_layers))
        self.output_bias = nn.Parameter(torch.zeros(sizes[1]))
        init_weights(self)

    @property
    def _decoder_layers(self) -> list[DecoderLayer]:
        return cast(list[DecoderLayer], list(self.decoder_layers))

    @property
    def device(self) -> torch.device:
        return self.output_bias.device

    def check(self, rows: Examples) -> None:
        if self.config.triangle == "upper":
            check_symmetric(rows)

    def sparse_embeddings(self) -> list[nn.Embedding]:
        """The encoder's token embedding and tables of learned positions."""
        sides = (self.encoder, self.decoder)
        tables = [side.positions.table for side in sides if isinstance(side.positions, LearnedPositions)]
        return [self.encoder.token_embedding, *tables]

    def layers(self) -> list[nn.Module]:
        return [*self.encoder_layers, *self.decoder_layers]

    def output_layer(self) -> tuple[Tensor, Tensor]:
        return self.decoder.token_embedding.weight, self.output_bias

    def states(self, source: Tensor, target: Tensor) -> Tensor:
        """States (B, Lt, W) of all target tokens."""
        return self.decode(self.encode(source), functional.pad(target[:, :-1], (1, 0), value=END))

    def decode(self, memory: Memory, inputs: Tensor) -> Tensor:
        """States (B, Lt, W) after each of the input tokens (B, Lt), END first."""
        with self.autocast():
            length = inputs.shape[1]
            positions = self.decoder.position_vectors
            positions.check(length)
            x = self.decoder.embed(inputs, positions.for_target(inputs))
            real = (inputs != PAD).unsqueeze(2) if self.config.zeroed_padding else None
            rotary = self._rotary(torch.arange(length, device=inputs.device), "decoder")
            states = to_autocast_dtype(memory.states)
            for layer in self._decoder_layers:
                x = x if real is None else x * real
                attention_input = layer.attention_input(x)
                memory_keys = layer.cross_attention.keys(states)
                self_keys = layer.self_attention_keys(attention_input, rotary)
                x = layer(x, attention_input, self_keys, memory_keys, memory.allowed, causal=True, rotary=rotary)
            return cast(Tensor, self.decoder.output_norm(x if real is None else x * real))

    def encode(self, source: Tensor) -> Memory:
        """The encoder's output for sources (B, Ls), padded with PAD at the end."""
        if self.config.framed_source:
            source = framed(source)
        return self.encode_rows(self.source_ids[source] if self.has_joint_vocabulary else source)

    def encode_rows(self, source: Tensor) -> Memory:
        """The encoder's output for rows (B, Ls) of its embedding: joint ids if the vocabulary is joint, END in front and behind."""
        self.encoder.position_vectors.check(source.shape[1])
        with self.autocast():
            vectors, real = self._embed_source(source)
            x = self.encoder.normalise_input(vectors)
            # Without padding no mask is needed. On a GPU the test would synchronise, and the mask is cheap.
            unpadded = not source.is_cuda and bool(real.all())
            allowed = None if unpadded else real[:, None, None, :]
            rotary = self._rotary(torch.arange(source.shape[1], device=source.device), "encoder")
            zeroed = self.config.zeroed_padding and not unpadded
            for layer in self.encoder_layers:
                x = layer(x * real.unsqueeze(2) if zeroed else x, allowed, rotary)
            return Memory(self.encoder.output_norm(x * real.unsqueeze(2) if zeroed else x), allowed)

    def _embed_source(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors with positions (B, L, W) and the mask of real units (B, L)."""
        side = self.encoder
        if self.input_units is not None:
            vectors, positions, real = self.input_units(source, side.token_embedding, side.positions)
            return vectors + positions, real
        return side.token_embedding(source) + side.position_vectors.for_source(source), source != PAD

    def _rotary(self, index: Tensor, side: str) -> Rotation | None:
        """Rotary angles of positions ``index`` (L,); None without rotary attention."""
        c = self.config
        if not c.rotary:
            return None
        head_size = c.encoder_width // c.encoder_heads if side == "encoder" else c.decoder_width // c.decoder_heads
        return rotary_angles(index, head_size)

    def init_cache(self, memory: Memory, max_length: int) -> Cache:
        """An empty cache for up to ``max_length`` tokens per row."""
        self.decoder.position_vectors.check(max_length)
        with self.autocast():
            states = to_autocast_dtype(memory.states)
            views = [layer.cross_attention.keys(states) for layer in self._decoder_layers]
        memory_keys = [(k.contiguous(), v.contiguous()) for k, v in views]  # otherwise every step would copy them
        c, k = self.config, memory_keys[0][0]
        shape = (len(k), min(max_length, _INITIAL_CAPACITY), c.decoder_heads, c.decoder_width // c.decoder_heads)
        self_keys = [(k.new_empty(shape), k.new_empty(shape)) for _ in memory_keys]
        position_state = self.decoder.position_vectors.init_state(len(k), k.device)
        return Cache(memory_keys, memory.allowed, self_keys, position_state, max_length)

    def step(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Feed one token per row, tokens (B,), END first: logits (B, V) float32 of the next token. Updates the cache in place."""
        t = cache.length
        with self.autocast():
            positions, cache.position_state = self.decoder.position_vectors.advance(tokens, t, cache.position_state)
            x = self.decoder.embed(tokens.unsqueeze(1), positions)
            rotary = self._rotary(torch.tensor([t], device=tokens.device), "decoder")
            for k, (layer, memory_keys) in enumerate(zip(self._decoder_layers, cache.memory, strict=True)):
                attention_input = layer.attention_input(x)
                self_keys = cache.append(k, *layer.self_attention_keys(attention_input, rotary))
                x = layer(x, attention_input, self_keys, memory_keys, cache.allowed, rotary=rotary)
            cache.advance()
            return self.logits(self.decoder.output_norm(x).squeeze(1))

    def logits(self, states: Tensor) -> Tensor:
        """Logits (B, V) float32 of states (B, W)."""
        with self.autocast():
            return functional.linear(states, *self.output_layer()).float()

    def autocast(self) -> torch.autocast:
        """The autocast context of the configured dtype; one context around many calls converts the weights once."""
        return autocast_context(self.config.dtype, self.device.type)


def framed(source: Tensor) -> Tensor:
    """Sources (B, L) with END before and after their tokens, (B, L + 2)."""
    padded = functional.pad(source, (1, 1), value=PAD)
    padded[:, 0] = END
    return padded.scatter(1, 1 + (source != PAD).sum(1, keepdim=True), END)


@torch.no_grad()
def init_weights(model: Transformer) -> None:
    """Initialise linear layers as ``config.init`` says; unless published, uniform with variance 2 / (inputs + outputs) and zero
    bias."""
    if model.config.init == "published":  # linear layers keep torch's default
        nn.init.uniform_(model.output_bias, -(model.config.decoder_width**-0.5), model.config.decoder_width**-0.5)
        return
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    if model.config.init == "independent":
        return
    for module in model.modules():
        if isinstance(module, Attention) and module.query.in_features == module.key_value.in_features:
            module.key_value.weight[: module.query.out_features] = module.query.weight
    encoder_tables = dict(model.encoder.positions.named_parameters())
    for name, table in model.decoder.positions.named_parameters():
        if table.shape == encoder_tables[name].shape:  # offsets within a number differ if the encodings do
            table.copy_(encoder_tables[name])
