"""A body's directory: fetched from the hub or copied from elsewhere, read once to see that it can be, and recorded.

config.json, model.safetensors      as Hugging Face writes them
mathpipe-body.json                  what it is: kind, shape, parameters, digest of the weights
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.atomic_files import write_json
from mathpipe.train.backbones.pretrained import digest_of, unreadable

RECORD = "mathpipe-body.json"
_SHAPE = ("n_layer", "n_embd", "n_head", "n_positions", "encoder_layers", "decoder_layers", "d_model", "num_layers")


@dataclass(frozen=True)
class BodyRecord:
    """What a body is. ``model``: the value of ``train.body.model`` that takes it; ``digest``: SHA-256 of its weights."""

    source: str
    kind: str
    model: str
    shape: dict[str, int]
    parameters: int
    digest: str


def examined(named: str) -> tuple[Any, BodyRecord]:
    """The body and what it is; UserError where none can be read, or one of no kind that trains here."""
    try:
        config = transformers.AutoConfig.from_pretrained(named)
        pair = bool(getattr(config, "is_encoder_decoder", False))
        if not pair and config.model_type != "gpt2":
            raise UserError(
                f"{named} holds a {config.model_type}",
                expected="a GPT-2, or an encoder-decoder such as mBART, Marian or T5",
                got=config.model_type,
            )
        kind: Any = transformers.AutoModelForSeq2SeqLM if pair else transformers.GPT2LMHeadModel
        body = kind.from_pretrained(named, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise unreadable(named, error) from error
    weights = [(name, weight) for name, weight in body.named_parameters()]
    shape = {name: int(value) for name in _SHAPE if isinstance(value := getattr(config, name, None), int)}
    model = "encoder-decoder" if pair else "frozen-gpt2"
    count = sum(weight.numel() for _, weight in weights)
    return body, BodyRecord(named, config.model_type, model, shape, count, digest_of(weights))


def import_body(named: str, out: str | Path) -> BodyRecord:
    """Write the body, its tokenizer where it brings one, and its record into ``out``; a directory that holds another is refused."""
    body, record = examined(named)
    out = Path(out)
    found = out / RECORD
    if found.exists():
        there = json.loads(found.read_text(encoding="utf-8"))
        if there.get("digest") != record.digest:
            raise UserError(
                f"{out} holds another body",
                expected=f"an empty directory, or weights of digest {record.digest[:16]}",
                got=str(there.get("digest"))[:16],
                next_step="choose another --out",
            )
        return record
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} holds other files", expected="an empty directory", next_step="choose another --out")
    body.save_pretrained(out)
    # one may bring no tokenizer: then our words begin at random
    with contextlib.suppress(OSError, ValueError, KeyError, ImportError, TypeError, AttributeError):
        transformers.AutoTokenizer.from_pretrained(named).save_pretrained(out)
    write_json(found, asdict(record))
    return record
