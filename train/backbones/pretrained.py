"""Pretrained backbones: loaded in Hugging Face format, or sampled at random in the same shape; frozen in part; saved in part.

A checkpoint contains the trainable weights and a digest of the frozen ones. The frozen weights are loaded from their source again;
if they have changed, loading fails instead of giving another model. Only the modules of this package import ``transformers``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from mathpipe.datasets.errors import UserError
from mathpipe.train.config import BackboneConfig
from mathpipe.train.model.interface import Model, autocast_context
from mathpipe.train.model.joint_vocabulary import JointVocabulary

Part = str  # "layer-norms", "positions", "attention", "feed-forward", "rest"
TRAINABLE_PARTS = {
    "layer-norms+positions": {"layer-norms", "positions"},
    "+attention": {"layer-norms", "positions", "attention"},
    "+feed-forward": {"layer-norms", "positions", "feed-forward"},
    "all": {"layer-norms", "positions", "attention", "feed-forward", "rest"},
    "none": set[str](),
}
_NAME_MARKS = (  # substrings of weight names that identify a part; the first match counts: a norm of attention is a norm
    ("layer-norms", ("ln_", "norm")),
    ("positions", ("wpe", "embed_positions", "relative_attention_bias")),
    ("attention", ("attn", "attention")),
    ("feed-forward", ("mlp", "fc1", "fc2", "dense")),
)


def part_of(name: str) -> Part:
    """The part of a backbone that a weight belongs to, by its name."""
    lower = name.lower()
    return next((part for part, marks in _NAME_MARKS if any(mark in lower for mark in marks)), "rest")


def set_trainable(backbone: nn.Module, trainable: str) -> None:
    """Freeze all but the named parts; weights that are fixed anyway (sinusoidal positions) stay fixed."""
    for name, weight in backbone.named_parameters():
        weight.requires_grad_(weight.requires_grad and part_of(name) in TRAINABLE_PARTS[trainable])


def load_backbone(config: BackboneConfig, model_class: Any, source: str, **changes: Any) -> Any:
    """A model of transformers' ``model_class``, pretrained or random in the same shape. Does not use torch's generator."""
    try:
        if config.pretrained:
            return model_class.from_pretrained(source, dtype=torch.float32, attn_implementation="sdpa", **changes)
        shape = transformers.AutoConfig.from_pretrained(source, **changes)
    except (OSError, ValueError, KeyError) as error:
        raise unreadable_backbone(source, error) from error
    return random_backbone(config, model_class, shape)


def random_backbone(config: BackboneConfig, model_class: Any, shape: Any) -> Any:
    """A model of this shape with the initialisation of transformers, sampled with ``config.seed``."""
    from_config = model_class.from_config if hasattr(model_class, "from_config") else model_class._from_config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return from_config(shape, attn_implementation="sdpa")


def unreadable_backbone(source: str, error: Exception) -> UserError:
    exists = Path(source).exists()
    return UserError(
        f"cannot read a backbone from {source}",
        expected="a directory with config.json and model.safetensors, or a model name on the hub",
        got=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
        cause="the directory contains no model, or one of another kind"
        if exists
        else "the directory does not exist, and the hub did not provide the model",
        next_step="`mathpipe import-model` downloads a model into a directory and checks it",
    )


def weights_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of named tensors."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Backbone(Model):
    """A model around ``self.backbone``; its state dict has the trainable weights and a digest of the frozen ones."""

    backbone: Any
    frozen_digest: Tensor
    source_ids: Tensor

    def __init__(self, config: BackboneConfig, vocabulary: JointVocabulary) -> None:
        super().__init__()
        self.config, self.size = config, vocabulary.size
        self.register_buffer("source_ids", torch.tensor(vocabulary.source_ids), persistent=False)

    def freeze(self, backbone: Any, trainable: str) -> None:
        """Set ``self.backbone`` and freeze all its weights that are not trainable."""
        set_trainable(backbone, trainable)
        self.backbone = backbone
        frozen = [(name, weight) for name, weight in backbone.named_parameters() if not weight.requires_grad]
        digest = bytes.fromhex(weights_digest(frozen))
        self.register_buffer("frozen_digest", torch.tensor(list(digest), dtype=torch.uint8))

    @property
    def device(self) -> torch.device:
        return self.source_ids.device

    def autocast(self) -> torch.autocast:
        return autocast_context(self.config.dtype, self.device.type)

    def trainable_names(self) -> set[str]:
        """The names of the trainable weights."""
        return {name for name, weight in self.named_parameters() if weight.requires_grad}

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The trainable weights and ``frozen_digest``."""
        state = super().state_dict(*args, **kwargs)
        prefix = kwargs.get("prefix", "")
        saved_names = {f"{prefix}{name}" for name in (*self.trainable_names(), "frozen_digest")}
        for name in [name for name in state if name not in saved_names]:
            del state[name]
        return state

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load the trainable weights; UserError if the frozen weights differ from those at the time of saving."""
        digest = state["frozen_digest"]
        if not torch.equal(digest.cpu(), self.frozen_digest.cpu()):
            raise UserError(
                "the backbone is not the one that this run was trained with",
                expected=f"frozen weights of digest {bytes(digest.tolist()).hex()[:16]}",
                got=f"{bytes(self.frozen_digest.tolist()).hex()[:16]} from {self.config.weights or 'the seed'}",
                cause="the files were replaced, or another version of torch samples a random backbone differently",
                next_step="restore the backbone",
            )
        result = super().load_state_dict(state, strict=False, assign=assign)
        missing = self.trainable_names() & set(result.missing_keys)
        if strict and (missing or result.unexpected_keys):
            raise RuntimeError(f"the state lacks {sorted(missing)} and has unexpected {result.unexpected_keys}")
        return result

    def check_length(self, length: int, max_positions: int) -> None:
        """Raise UserError for a sequence that is longer than the backbone's positions."""
        if length > max_positions:
            raise UserError(
                f"the backbone has {max_positions:,} positions",
                expected="a problem and a solution that fit together",
                got=f"{length:,} tokens",
                next_step="choose a backbone with more positions, or shorter problems",
            )


@torch.no_grad()
def init_layers(init: str, *layers: nn.Module) -> None:
    """Initialise the weights of new layers; biases are 0."""
    for layer in layers:
        weight: Tensor = layer.weight  # type: ignore[assignment]
        if init == "orthogonal":
            nn.init.orthogonal_(weight, gain=2**0.5)
        elif init == "signed-constant":
            # an embedding is a linear layer on one-hot vectors
            inputs = weight.shape[0] if isinstance(layer, nn.Embedding) else weight.shape[1]
            signs = torch.randint(0, 2, weight.shape, dtype=weight.dtype) * 2 - 1
            weight.copy_(signs * (2 / inputs) ** 0.5)
        else:
            nn.init.normal_(weight, std=0.02)
        bias = getattr(layer, "bias", None)
        if bias is not None:
            nn.init.zeros_(bias)
