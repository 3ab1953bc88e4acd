"""The directory of a backbone: downloaded from the hub or copied, loaded once as a check, and recorded.

config.json, model.safetensors      in Hugging Face format
mathpipe-backbone.json              kind, shape, number of parameters, digest of the weights
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
from mathpipe.datasets.io.atomic_directories import new_directory, require_free
from mathpipe.datasets.io.atomic_files import write_json
from mathpipe.train.backbones.pretrained import unreadable_backbone, weights_digest

RECORD = "mathpipe-backbone.json"
_SHAPE = ("n_layer", "n_embd", "n_head", "n_positions", "encoder_layers", "decoder_layers", "d_model", "num_layers")


@dataclass(frozen=True)
class BackboneRecord:
    """Description of a backbone. ``model``: its value of ``train.backbone.model``; ``digest``: SHA-256 of its weights."""

    source: str
    kind: str
    model: str
    shape: dict[str, int]
    parameters: int
    digest: str


def inspect_backbone(source: str) -> tuple[Any, BackboneRecord]:
    """Load a backbone and describe it; UserError if it cannot be loaded or is of an unsupported kind."""
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        encoder_decoder = bool(getattr(config, "is_encoder_decoder", False))
        if not encoder_decoder and config.model_type != "gpt2":
            raise UserError(
                f"{source} holds a {config.model_type} model, which is not supported",
                expected="a GPT-2, or an encoder-decoder such as mBART, Marian or T5",
                got=config.model_type,
            )
        model_class: Any = transformers.AutoModelForSeq2SeqLM if encoder_decoder else transformers.GPT2LMHeadModel
        backbone = model_class.from_pretrained(source, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise unreadable_backbone(source, error) from error
    weights = list(backbone.named_parameters())
    shape = {name: int(value) for name in _SHAPE if isinstance(value := getattr(config, name, None), int)}
    model = "encoder-decoder" if encoder_decoder else "frozen-gpt2"
    parameters = sum(weight.numel() for _, weight in weights)
    return backbone, BackboneRecord(source, config.model_type, model, shape, parameters, weights_digest(weights))


def import_backbone(source: str, out: str | Path) -> BackboneRecord:
    """Write the backbone, its tokenizer if it has one, and its record to ``out``; UserError if ``out`` holds anything else."""
    backbone, record = inspect_backbone(source)
    out = Path(out)
    record_file = out / RECORD
    if record_file.exists():
        existing = json.loads(record_file.read_text(encoding="utf-8-sig"))
        if existing.get("digest") != record.digest:
            raise UserError(
                f"{out} holds another backbone",
                expected=f"an empty directory, or weights of digest {record.digest[:16]}",
                got=str(existing.get("digest"))[:16],
                next_step="choose another --out",
            )
        return record
    require_free(out)
    with new_directory(out) as temporary:
        backbone.save_pretrained(temporary)
        # without a tokenizer the embeddings of our tokens are sampled at random
        with contextlib.suppress(OSError, ValueError, KeyError, ImportError, TypeError, AttributeError):
            transformers.AutoTokenizer.from_pretrained(source).save_pretrained(temporary)
        write_json(temporary / RECORD, asdict(record))
    return record
