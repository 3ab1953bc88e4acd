"""Pretrained bodies: fetched in Hugging Face's format, or drawn at random in the same shape; what of them trains; what is saved.

A checkpoint holds what trains and a digest of the rest: the frozen weights come from where they came from, and if they are no
longer the same, that is an error and not another model. The package ``transformers`` is imported here and in two modules beside.
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
from mathpipe.datasets.tokenizers.bit_tokenizer import BitTokenizer
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.train.config import BodyConfig
from mathpipe.train.model.interface import Model, autocast
from mathpipe.train.model.joint_vocabulary import Joint

Writer = MatrixTokenizer | ExpressionTokenizer | BitTokenizer
Part = str  # "layer-norms", "positions", "attention", "feed-forward", "rest"
TRAINS = {
    "layer-norms+positions": {"layer-norms", "positions"},
    "+attention": {"layer-norms", "positions", "attention"},
    "+feed-forward": {"layer-norms", "positions", "feed-forward"},
    "everything": {"layer-norms", "positions", "attention", "feed-forward", "rest"},
    "nothing": set[str](),
}
_WORDS_OF = (  # words in a weight's name that tell its part, in this order: a norm of attention is a norm
    ("layer-norms", ("ln_", "norm")),
    ("positions", ("wpe", "embed_positions", "relative_attention_bias")),
    ("attention", ("attn", "attention")),
    ("feed-forward", ("mlp", "fc1", "fc2", "dense")),
)


def part_of(name: str) -> Part:
    """Which part of a body a weight belongs to, by its name."""
    lower = name.lower()
    return next((part for part, marks in _WORDS_OF if any(mark in lower for mark in marks)), "rest")


def let_train(body: nn.Module, what: str) -> None:
    """Only the named parts train; what a body itself holds fixed (sinusoidal positions) stays so."""
    for name, weight in body.named_parameters():
        weight.requires_grad_(weight.requires_grad and part_of(name) in TRAINS[what])


def fetched(config: BodyConfig, kind: Any, named: str, **changes: Any) -> Any:
    """A body of transformers' class ``kind``: pretrained, or random in the same shape. Torch's generator stays as it was."""
    try:
        if config.pretrained:
            body: Any = kind.from_pretrained(named, dtype=torch.float32, attn_implementation="sdpa", **changes)
            return body
        shape = transformers.AutoConfig.from_pretrained(named, **changes)
    except (OSError, ValueError, KeyError) as error:
        raise unreadable(named, error) from error
    return random_body(config, kind, shape)


def random_body(config: BodyConfig, kind: Any, shape: Any) -> Any:
    """A body of this shape as transformers begins it, drawn by ``config.seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        auto = hasattr(kind, "from_config")
        return (
            kind.from_config(shape, attn_implementation="sdpa")
            if auto
            else kind._from_config(shape, attn_implementation="sdpa")
        )


def unreadable(named: str, problem: Exception) -> UserError:
    here = Path(named).exists()
    return UserError(
        f"no body can be read from {named}",
        expected="a directory with config.json and model.safetensors, or a name on the hub",
        got=str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__,
        cause="the directory is no model, or not of this kind"
        if here
        else "there is no such directory, and the hub gave none",
        next_step="`mathpipe import-model` fetches one into a directory and checks it",
    )


def digest_of(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of named tensors."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Body(Model):
    """A model around ``self.body``; its state is what trains and the digest of what does not."""

    body: Any
    frozen_digest: Tensor
    source_ids: Tensor

    def __init__(self, config: BodyConfig, words: Joint) -> None:
        super().__init__()
        self.config, self.size = config, words.size
        self.register_buffer("source_ids", torch.tensor(words.source_ids), persistent=False)

    def hold(self, body: Any, trains: str) -> None:
        """Take the body in, and fix what does not train."""
        let_train(body, trains)
        self.body = body
        frozen = [(name, weight) for name, weight in body.named_parameters() if not weight.requires_grad]
        digest = bytes.fromhex(digest_of(frozen))
        self.register_buffer("frozen_digest", torch.tensor(list(digest), dtype=torch.uint8))

    @property
    def device(self) -> torch.device:
        return self.source_ids.device

    def arithmetic(self) -> torch.autocast:
        return autocast(self.config.dtype, self.device.type)

    def trained(self) -> set[str]:
        """The names of weights that train."""
        return {name for name, weight in self.named_parameters() if weight.requires_grad}

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """What trains, and ``frozen_digest``."""
        state = super().state_dict(*args, **kwargs)
        prefix = kwargs.get("prefix", "")
        kept = {f"{prefix}{name}" for name in (*self.trained(), "frozen_digest")}
        for name in [name for name in state if name not in kept]:
            del state[name]
        return state

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        """The opposite; UserError where the frozen weights are not those that the state was trained beside."""
        digest = state["frozen_digest"]
        if not torch.equal(digest.cpu(), self.frozen_digest.cpu()):
            raise UserError(
                "the body is not the one this run was trained with",
                expected=f"frozen weights of digest {bytes(digest.tolist()).hex()[:16]}",
                got=f"{bytes(self.frozen_digest.tolist()).hex()[:16]} from {self.config.weights or 'the seed'}",
                cause="other weights lie there now, or another version of torch draws a random body otherwise",
                next_step="put the body back where it was",
            )
        found = super().load_state_dict(state, strict=False, assign=assign)
        lacking = self.trained() & set(found.missing_keys)
        if strict and (lacking or found.unexpected_keys):
            raise RuntimeError(f"the state lacks {sorted(lacking)} and brings {found.unexpected_keys}")
        return found

    def room(self, length: int, places: int) -> None:
        """UserError where a body has fewer places than a sequence needs."""
        if length > places:
            raise UserError(
                f"the body has {places:,} places",
                expected="problem and solution that fit together",
                got=f"{length:,} words",
                next_step="choose a body with more positions, or shorter problems",
            )


@torch.no_grad()
def begin_new(how: str, *layers: nn.Module) -> None:
    """First weights of new layers; biases begin at 0."""
    for layer in layers:
        weight: Tensor = layer.weight  # type: ignore[assignment]
        if how == "orthogonal":
            nn.init.orthogonal_(weight, gain=2**0.5)
        elif how == "signed-constant":
            inputs = (
                weight.shape[0] if isinstance(layer, nn.Embedding) else weight.shape[1]
            )  # a word is a one among zeros
            signs = torch.randint(0, 2, weight.shape, dtype=weight.dtype) * 2 - 1
            weight.copy_(signs * (2 / inputs) ** 0.5)
        else:
            nn.init.normal_(weight, std=0.02)
        bias = getattr(layer, "bias", None)
        if bias is not None:
            nn.init.zeros_(bias)
