"""The encoder-decoder transformer: p(target | source) = prod_t p(target_t | target_<t, source).

Shapes: B problems, Ls and Lt words, W the width of a side. The source is a written problem; the decoder reads END and then
the solution's words, and its output at t is the distribution of word t. One embedding of output words serves the decoder's
input and, tied, its output. ``forward`` sees whole targets (training); ``start`` and ``step`` feed one word at a time
through a cache and give the same numbers (generation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.datasets.format.example_formats import AnyRows
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD, SequenceFormat
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.input_units import NumberTable, check_symmetric, reading
from mathpipe.train.model.interface import Model, autocast
from mathpipe.train.model.joint_vocabulary import Joint
from mathpipe.train.model.layers import Attention, DecoderLayer, EncoderLayer, Keys, Turn, angles, narrow, norm
from mathpipe.train.model.positions import Format, Learned, Places, positions

_ROOM = 128  # words a cache has room for at first


@dataclass(frozen=True)
class Memory:
    """What the encoder made of the sources: ``states`` (B, Ls, W); ``allowed`` (B, 1, 1, Ls) or None without padding."""

    states: Tensor
    allowed: Tensor | None


@dataclass
class Cache:
    """Everything the decoder needs of the words so far: B problems of w rows each, in order, which share the problem's memory.

    A row that becomes a copy of another is copied in place: in a beam most continuations stay in the row of their parent (88 % of
    a random model's), and rows are read where they lie.
    """

    memory: list[Keys]  # per layer, (B, heads, Ls, d)
    allowed: Tensor | None  # (B, 1, 1, Ls)
    own: list[Keys]  # per layer, (B w, room, heads, d), filled up to ``length``
    places: tuple[Tensor, ...]  # what the words so far say of positions, each (B w, ...)
    longest: int  # room is made up to here
    length: int = 0  # words fed, END included

    def widen(self, width: int) -> Cache:
        """``width`` rows for each one, before the first word."""
        own = [
            (k.new_empty((len(k) * width, *k.shape[1:])), v.new_empty((len(v) * width, *v.shape[1:])))
            for k, v in self.own
        ]
        places = tuple(place.repeat_interleave(width, 0) for place in self.places)
        return Cache(self.memory, self.allowed, own, places, self.longest)

    def fork(self, to: Tensor, source: Tensor, since: Tensor) -> None:
        """Row ``to[i]`` becomes a copy of row ``source[i]``, of the same problem; in place.

        ``since[i]``: so many words of theirs are the same; what follows from these alone is there already.
        """
        place = torch.arange(self.length, device=to.device)
        pair, place = (place > since.unsqueeze(1)).nonzero(as_tuple=True)  # END is fed before the first word
        for kept in (x for keys in self.own for x in keys):
            words, room = kept.flatten(0, 1), kept.shape[1]
            words.index_copy_(0, to[pair] * room + place, words.index_select(0, source[pair] * room + place))
        for kept in self.places:
            kept.index_copy_(0, to, kept.index_select(0, source))

    def select(self, problems: Tensor) -> Cache:
        """The problems at these places (B',), each with all its rows: kept, dropped, duplicated or reordered."""
        width = len(self.own[0][0]) // len(self.memory[0][0])
        rows = (problems.unsqueeze(1) * width + torch.arange(width, device=problems.device)).flatten()
        return Cache(
            memory=[(k[problems], v[problems]) for k, v in self.memory],
            allowed=None if self.allowed is None else self.allowed[problems],
            own=[(k[rows], v[rows]) for k, v in self.own],
            places=tuple(place[rows] for place in self.places),
            longest=self.longest,
            length=self.length,
        )

    def put(self, layer: int, k: Tensor, v: Tensor) -> Keys:
        """This step's keys and values (B w, heads, 1, d); all so far, (B w, heads, length + 1, d)."""
        t = self.length
        if t == self.own[layer][0].shape[1]:
            more = max(min(t, self.longest - t), 1)
            before, values = self.own[layer]
            self.own[layer] = (_lengthened(before, more), _lengthened(values, more))
        keys, values = self.own[layer]
        keys[:, t], values[:, t] = k.squeeze(2), v.squeeze(2)
        return keys[:, : t + 1].transpose(1, 2), values[:, : t + 1].transpose(1, 2)

    def close(self) -> None:
        """The step is over."""
        self.length += 1


def _lengthened(x: Tensor, more: int) -> Tensor:
    return torch.cat([x, x.new_empty((len(x), more, *x.shape[2:]))], dim=1)


class Side(nn.Module):
    """What encoder and decoder have in common: words and positions become vectors; norms stand where they belong."""

    def __init__(self, config: ModelConfig, form: Format, width: int, words: nn.Embedding) -> None:
        super().__init__()
        self.words = words
        self.positions = positions(config, form, width)
        post = config.norm == "post"
        self.first_norm = norm(config, width) if post else nn.Identity()
        self.last_norm = nn.Identity() if post else norm(config, width)
        self.dropout = config.dropout

    @property
    def places(self) -> Places:
        return cast(Places, self.positions)

    def embed(self, words: Tensor, places: Tensor) -> Tensor:
        """Vectors (B, L, W) of words (B, L) in places of these vectors."""
        return self.entered(self.words(words) + places)

    def entered(self, x: Tensor) -> Tensor:
        """Vectors (B, L, W) as the first layer takes them."""
        x = self.first_norm(x)
        return functional.dropout(x, self.dropout, self.training) if self.dropout else x


def _table(size: int, width: int, numbers: Format | None = None) -> nn.Embedding:
    """A table of vectors, zero for padding: of words, or of words in their places within numbers of this form."""
    if isinstance(numbers, SequenceFormat):
        return NumberTable(numbers, width)
    table = nn.Embedding(size, width)
    nn.init.normal_(table.weight, std=width**-0.5)
    with torch.no_grad():
        table.weight[PAD] = 0
    return table


class Transformer(Model):
    """Weights are drawn from torch's default generator; ``config.dtype`` is the arithmetic of every call below."""

    source_ids: Tensor

    def __init__(self, config: ModelConfig, source: Format, target: Format, joint: Joint | None = None) -> None:
        super().__init__()
        c = self.config = config
        self.source_format, self.target_format = source, target
        sizes = (source.vocabulary_size, target.vocabulary_size) if joint is None else (joint.size, joint.size)
        self.reading = reading(c, source)
        by_numbers = c.reads == "numbers"
        self.encoder = Side(
            c, source, c.encoder_width, _table(sizes[0], c.encoder_width, source if by_numbers else None)
        )
        self.decoder = Side(c, target, c.decoder_width, _table(sizes[1], c.decoder_width))
        own = range(source.vocabulary_size) if joint is None else joint.source_ids
        self.register_buffer("source_ids", torch.tensor(own), persistent=False)
        self.renamed = joint is not None
        self.encoder_layers = nn.ModuleList(EncoderLayer(c) for _ in range(c.encoder_layers))
        self.decoder_layers = nn.ModuleList(DecoderLayer(c) for _ in range(c.decoder_layers))
        self.output_bias = nn.Parameter(torch.zeros(sizes[1]))
        begin(self)

    @property
    def _decoding(self) -> list[DecoderLayer]:
        return cast(list[DecoderLayer], list(self.decoder_layers))

    @property
    def device(self) -> torch.device:
        return self.output_bias.device

    def check(self, rows: AnyRows) -> None:
        if self.config.entries == "upper":
            check_symmetric(rows)

    def tables_of_few_rows(self) -> list[nn.Embedding]:
        """Tables of which a batch reads few rows and that serve nothing else."""
        learned = [side.positions.table for side in (self.encoder, self.decoder) if isinstance(side.positions, Learned)]
        return [self.encoder.words, *learned]

    def layers(self) -> list[nn.Module]:
        return [*self.encoder_layers, *self.decoder_layers]

    def output(self) -> tuple[Tensor, Tensor]:
        return self.decoder.words.weight, self.output_bias

    def states(self, source: Tensor, target: Tensor) -> Tensor:
        """What the logits are a linear function of: (B, Lt, W)."""
        with self.arithmetic():
            memory = self.encode(source)
            fed = functional.pad(target[:, :-1], (1, 0), value=END)
            length = fed.shape[1]
            self.decoder.places.check(length)
            x = self.decoder.embed(fed, self.decoder.places.of_next(fed))
            real = (fed != PAD).unsqueeze(2) if self.config.zeroed_padding else None
            by = self._turn(torch.arange(length, device=fed.device), "decoder")
            states = narrow(memory.states)
            for layer in self._decoding:
                x = x if real is None else x * real
                reading = layer.reading(x)
                keys = layer.cross_attention.keys(states)
                x = layer(x, reading, layer.own_keys(reading, by), keys, memory.allowed, causal=True, by=by)
            return cast(Tensor, self.decoder.last_norm(x if real is None else x * real))

    def encode(self, source: Tensor) -> Memory:
        """What the encoder makes of sources (B, Ls), padded with PAD after their ends."""
        if self.config.framed_source:
            source = framed(source)
        self.encoder.places.check(source.shape[1])
        with self.arithmetic():
            vectors, real = self._read(source)
            x = self.encoder.entered(vectors)
            # Without padding no mask is needed; asking costs a wait on a GPU, where the mask is cheap.
            whole = not source.is_cuda and bool(real.all())
            allowed = None if whole else real[:, None, None, :]
            by = self._turn(torch.arange(source.shape[1], device=source.device), "encoder")
            zeroed = self.config.zeroed_padding and not whole
            for layer in self.encoder_layers:
                x = layer(x * real.unsqueeze(2) if zeroed else x, allowed, by)
            return Memory(self.encoder.last_norm(x * real.unsqueeze(2) if zeroed else x), allowed)

    def _read(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of the sources in their places (B, L, W), and which are no padding (B, L)."""
        side = self.encoder
        if self.reading is not None:
            vectors, places, real = self.reading(source, side.words, side.positions)
            return vectors + places, real
        vectors = side.words(self.source_ids[source] if self.renamed else source)
        return vectors + side.places.of_words(source), source != PAD

    def _turn(self, index: Tensor, side: str) -> Turn | None:
        """By what rotary attention turns the words at ``index`` (L,); None without it."""
        c = self.config
        if not c.rotary:
            return None
        encoder = side == "encoder"
        return angles(index, c.encoder_width // c.encoder_heads if encoder else c.decoder_width // c.decoder_heads)

    def start(self, memory: Memory, max_length: int) -> Cache:
        """A cache for up to ``max_length`` words a row, nothing generated yet."""
        self.decoder.places.check(max_length)
        with self.arithmetic():
            states = narrow(memory.states)
            found = [layer.cross_attention.keys(states) for layer in self._decoding]
        keys = [(k.contiguous(), v.contiguous()) for k, v in found]  # else every step would copy them
        c, k = self.config, keys[0][0]
        shape = (len(k), min(max_length, _ROOM), c.decoder_heads, c.decoder_width // c.decoder_heads)
        own = [(k.new_empty(shape), k.new_empty(shape)) for _ in keys]
        return Cache(keys, memory.allowed, own, self.decoder.places.begin(len(k), k.device), max_length)

    def step(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Feed one word a row, tokens (B,), END first: logits (B, V) float32 of the next. The cache grows in place."""
        t = cache.length
        with self.arithmetic():
            places, cache.places = self.decoder.places.advance(tokens, t, cache.places)
            x = self.decoder.embed(tokens.unsqueeze(1), places)
            by = self._turn(torch.tensor([t], device=tokens.device), "decoder")
            for k, (layer, memory) in enumerate(zip(self._decoding, cache.memory, strict=True)):
                reading = layer.reading(x)
                own = cache.put(k, *layer.own_keys(reading, by))
                x = layer(x, reading, own, memory, cache.allowed, by=by)
            cache.close()
            return self.logits(self.decoder.last_norm(x).squeeze(1))

    def logits(self, states: Tensor) -> Tensor:
        """Logits (B, V) float32 of states (B, W)."""
        with self.arithmetic():
            return functional.linear(states, *self.output()).float()

    def arithmetic(self) -> torch.autocast:
        """The context in which matrix products run as configured; one around many calls converts the weights once."""
        return autocast(self.config.dtype, self.device.type)


def framed(source: Tensor) -> Tensor:
    """Sources (B, L) with END before and after their words, (B, L + 2)."""
    ended = functional.pad(source, (1, 1), value=PAD)
    ended[:, 0] = END
    return ended.scatter(1, 1 + (source != PAD).sum(1, keepdim=True), END)


@torch.no_grad()
def begin(model: Transformer) -> None:
    """First weights of linear layers, as ``config.start`` says; unless published, uniform with variance 2 / (inputs + outputs)
    and no bias."""
    if model.config.start == "published":  # linear layers are already as torch begins them
        nn.init.uniform_(model.output_bias, -(model.config.decoder_width**-0.5), model.config.decoder_width**-0.5)
        return
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
