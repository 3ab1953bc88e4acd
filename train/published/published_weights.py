"""The weights of published models under our names: an ordinary configuration of ``Transformer``.

==========================  ==============================================  ==============================================
part of layer N             LAWT and Int2Int                                SymbolicMathematics
==========================  ==============================================  ==============================================
self-attention, its norm    ``layers.N.self_attention.*``, ``layer_norm1``  ``attentions.N.*``, ``layer_norm1.N``
cross-attention, its norm   ``layers.N.cross_attention.*``,                 ``encoder_attn.N.*``, ``layer_norm15.N``
                            ``layer_norm15``
feed-forward, its norm      ``layers.N.ffn.lin1``, ``lin2``,                ``ffns.N.lin1``, ``lin2``, ``layer_norm2.N``
                            ``layer_norm2``
queries of cross-attention  the input of the layer                          the output of self-attention
==========================  ==============================================  ==============================================

Each attention has ``q_lin``, ``k_lin``, ``v_lin`` and ``out_lin``. Both layouts have ``embeddings``, ``position_embeddings`` and
``layer_norm_emb`` on each side; ``proj`` is the output layer, whose weight is the decoder's embedding. Layers are post-norm with
eps 1e-12.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mathpipe.datasets.errors import UserError
from mathpipe.train.model.positions import SinusoidalPositions
from mathpipe.train.published.checkpoint_file import PublishedCheckpoint, Weights

Layout = Literal["layers", "lists"]
CROSS_QUERY: dict[Layout, str] = {"layers": "input", "lists": "attended"}
_PARTS: dict[Layout, dict[str, str]] = {
    "layers": {
        "attention": "layers.{}.self_attention",
        "attention_step.norm": "layers.{}.layer_norm1",
        "cross_attention": "layers.{}.cross_attention",
        "cross_step.norm": "layers.{}.layer_norm15",
        "feed_forward.inner": "layers.{}.ffn.lin1",
        "feed_forward.outer": "layers.{}.ffn.lin2",
        "feed_forward_step.norm": "layers.{}.layer_norm2",
    },
    "lists": {
        "attention": "attentions.{}",
        "attention_step.norm": "layer_norm1.{}",
        "cross_attention": "encoder_attn.{}",
        "cross_step.norm": "layer_norm15.{}",
        "feed_forward.inner": "ffns.{}.lin1",
        "feed_forward.outer": "ffns.{}.lin2",
        "feed_forward_step.norm": "layer_norm2.{}",
    },
}
_FIRST_NAME = {"layers": "layers.0.", "lists": "attentions.0."}
_SAME_TABLE = 1e-5  # largest difference of a table of sinusoids that was computed in float32


@dataclass(frozen=True)
class Side:
    """The sizes of one side, from the shapes of its weights."""

    vocabulary_size: int
    width: int
    layers: int
    positions: int
    feed_forward: int


class _Reader:
    """The weights of one side, each taken once, with its expected shape."""

    def __init__(self, path: Path, side: str, weights: Weights) -> None:
        self.path, self.side, self.weights = path, side, weights
        self.unused = set(weights)

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a weight; UserError if it is missing or has another number of dimensions."""
        if name not in self.weights:
            raise UserError(
                f"{self.path}: {self.side}.{name} is missing",
                expected="the weights of a published transformer",
                got=f"{len(self.weights)} weights, such as {sorted(self.weights)[0]}",
                cause="the file is incomplete, or of another architecture",
            )
        shape = tuple(self.weights[name].shape)
        if len(shape) != dimensions:
            raise self._wrong_shape(name, f"{dimensions} dimensions", shape)
        return shape

    def take(self, name: str, *shape: int) -> Tensor:
        """The weight of this name; UserError if it is missing or has another shape."""
        if self.shape(name, len(shape)) != shape:
            raise self._wrong_shape(name, shape, tuple(self.weights[name].shape))
        self.unused.discard(name)
        return self.weights[name]

    def _wrong_shape(self, name: str, expected: object, got: object) -> UserError:
        return UserError(f"{self.path}: {self.side}.{name} has the wrong shape", expected=expected, got=got)

    def linear(self, name: str, inputs: int, outputs: int) -> Weights:
        return {"weight": self.take(f"{name}.weight", outputs, inputs), "bias": self.take(f"{name}.bias", outputs)}

    def norm(self, name: str, width: int) -> Weights:
        return {part: self.take(f"{name}.{part}", width) for part in ("weight", "bias")}

    def attention(self, name: str, width: int, memory_width: int) -> Weights:
        """Keys and values share one matrix in our attention."""
        query, out = (self.linear(f"{name}.{part}_lin", width, width) for part in ("q", "out"))
        key, value = (self.linear(f"{name}.{part}_lin", memory_width, width) for part in ("k", "v"))
        key_value = {part: torch.cat([key[part], value[part]]) for part in ("weight", "bias")}
        return _prefixed({"query": query, "key_value": key_value, "out": out})

    def sizes(self, layout: Layout) -> Side:
        """The sizes of this side; UserError unless layers are numbered from 0 without gaps."""
        vocabulary_size, width = self.shape("embeddings.weight", 2)
        pattern = re.compile(_PARTS[layout]["attention_step.norm"].format(r"(\d{1,4})") + r"\.weight")
        numbers = sorted(int(match[1]) for name in self.weights if (match := pattern.fullmatch(name)))
        if not numbers or numbers != list(range(len(numbers))):
            raise UserError(
                f"{self.path}: layers of the {self.side} are missing",
                expected="layers 0, 1, ... without gaps",
                got=", ".join(map(str, numbers)) or "none",
                cause="the file is incomplete",
            )
        hidden = self.shape(f"{_PARTS[layout]['feed_forward.inner'].format(0)}.weight", 2)[0]
        if hidden % width:
            raise self._wrong_shape("feed-forward layer", f"a multiple of the width {width}", hidden)
        positions = self.shape("position_embeddings.weight", 2)[0]
        return Side(vocabulary_size, width, len(numbers), positions, hidden // width)

    def layer(self, layout: Layout, number: int, size: Side, memory_width: int | None) -> Weights:
        """One layer under our names; ``memory_width``: of the encoder, for a decoder."""
        names = {part: name.format(number) for part, name in _PARTS[layout].items()}
        width, hidden = size.width, size.feed_forward * size.width
        parts = {
            "attention": self.attention(names["attention"], width, width),
            "feed_forward.inner": self.linear(names["feed_forward.inner"], width, hidden),
            "feed_forward.outer": self.linear(names["feed_forward.outer"], hidden, width),
        }
        norms = ["attention_step.norm", "feed_forward_step.norm"]
        if memory_width is not None:
            parts["cross_attention"] = self.attention(names["cross_attention"], width, memory_width)
            norms.append("cross_step.norm")
        return _prefixed(parts | {norm: self.norm(names[norm], width) for norm in norms})


def _prefixed(parts: Mapping[str, Weights]) -> Weights:
    return {f"{part}.{name}": weight for part, weights in parts.items() for name, weight in weights.items()}


@dataclass(frozen=True)
class PublishedWeights:
    """A published model: its layout, sizes, whether its positions are sinusoids, and its weights under our names.

    Embeddings and the output bias have one row a token, in the order of the file.
    """

    layout: Layout
    encoder: Side
    decoder: Side
    sinusoidal: bool
    state: Weights

    def model_settings(self) -> dict[str, Any]:
        """The fields of ``ModelConfig`` that the weights determine."""
        return {
            "encoder_layers": self.encoder.layers,
            "decoder_layers": self.decoder.layers,
            "encoder_width": self.encoder.width,
            "decoder_width": self.decoder.width,
            "feed_forward": self.decoder.feed_forward,
            "activation": "relu",
            "norm": "post",
            "cross_query": CROSS_QUERY[self.layout],
            "positions": "sinusoidal" if self.sinusoidal else "learned",
            "max_positions": self.decoder.positions,
            "framed_source": True,
            "zeroed_padding": True,
            "vocabulary": "joint",
            "init": "published",
        }

    def ordered_state(self, ids: Iterable[int]) -> Weights:
        """The weights for a model in which the token of id i has the published id ``ids[i]``."""
        order = torch.tensor(tuple(ids))
        per_token = {"encoder.token_embedding.weight", "decoder.token_embedding.weight", "output_bias"}
        return {name: weight[order] if name in per_token else weight for name, weight in self.state.items()}


def read_published_weights(path: Path, checkpoint: PublishedCheckpoint) -> PublishedWeights:
    """The weights of a checkpoint; UserError for one that is incomplete, or is no published transformer."""
    layout = _layout(path, checkpoint.encoder)
    readers = _Reader(path, "encoder", checkpoint.encoder), _Reader(path, "decoder", checkpoint.decoder)
    encoder, decoder = (reader.sizes(layout) for reader in readers)
    for name in ("vocabulary_size", "positions", "feed_forward"):
        if getattr(encoder, name) != getattr(decoder, name):
            raise UserError(
                f"{path}: encoder and decoder differ in {name.replace('_', ' ')}",
                expected="the same on both sides, as in the published models",
                got=f"{getattr(encoder, name):,} and {getattr(decoder, name):,}",
            )
    state: Weights = {}
    for reader, size, memory_width in zip(readers, (encoder, decoder), (None, encoder.width), strict=True):
        side, width = reader.side, size.width
        state[f"{side}.token_embedding.weight"] = reader.take("embeddings.weight", size.vocabulary_size, width)
        state[f"{side}.positions.table.weight"] = reader.take("position_embeddings.weight", size.positions, width)
        state |= _prefixed({f"{side}.input_norm": reader.norm("layer_norm_emb", width)})
        for number in range(size.layers):
            state |= _prefixed({f"{side}_layers.{number}": reader.layer(layout, number, size, memory_width)})
    state["output_bias"] = _output_bias(readers[1], decoder)
    _reject_unused(readers)
    sinusoidal = _take_sinusoids(state, encoder, decoder)
    return PublishedWeights(layout, encoder, decoder, sinusoidal, state)


def _layout(path: Path, weights: Weights) -> Layout:
    for layout, start in _FIRST_NAME.items():
        if any(name.startswith(start) for name in weights):
            return layout  # type: ignore[return-value]
    raise UserError(
        f"{path} has weights of an unknown layout",
        expected="layers.0.self_attention... (LAWT, Int2Int) or attentions.0... (SymbolicMathematics)",
        got=", ".join(sorted(weights)[:3]),
        cause="the model is of another architecture",
    )


def _output_bias(decoder: _Reader, size: Side) -> Tensor:
    """The bias of the output layer, whose weight has to be the decoder's embedding."""
    output = decoder.linear("proj", size.width, size.vocabulary_size)
    if not torch.equal(output["weight"], decoder.weights["embeddings.weight"]):
        raise UserError(
            f"{decoder.path}: the output layer has weights of its own",
            expected="decoder.proj.weight equal to decoder.embeddings.weight, as in the published models",
            cause="the model was trained without sharing them",
        )
    return output["bias"]


def _reject_unused(readers: Iterable[_Reader]) -> None:
    for reader in readers:
        # an encoder may have an output layer that nothing uses
        unused = sorted(name for name in reader.unused if not (reader.side == "encoder" and name.startswith("proj.")))
        if unused:
            raise UserError(
                f"{reader.path}: the {reader.side} has weights that the published transformer lacks",
                expected="embeddings, positions, attention, feed-forward and norms",
                got=f"{len(unused)} more, such as {unused[0]}",
                cause="the model is of another architecture",
            )


def _take_sinusoids(state: Weights, *sides: Side) -> bool:
    """Whether both tables of positions are sinusoids, which are then removed: our model computes them."""
    names = [f"{side}.positions.table.weight" for side in ("encoder", "decoder")]
    for name, side in zip(names, sides, strict=True):
        formula = SinusoidalPositions(side.positions, side.width).table
        if (state[name] - formula).abs().max() > _SAME_TABLE:
            return False
    for name in names:
        del state[name]
    return True
