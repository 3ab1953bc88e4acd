"""A model for others: weights in safetensors, and what they mean in JSON.

model.safetensors    the weights, by the names of ``Transformer``
config.json          the record of the run (task, spec, encodings, all settings) and the token of every row of the embeddings
README.md            the model card
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.atomic_directories import new_directory, require_free
from mathpipe.datasets.io.atomic_files import write_atomically, write_json
from mathpipe.train.model.interface import Model
from mathpipe.train.published.checkpoint_file import Weights
from mathpipe.train.run.checkpoint import vocabulary_of
from mathpipe.train.run.run_record import RunRecord, tokenizers

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FORMAT = "mathpipe-model-1"


def write_exported(model: Model, record: RunRecord, directory: Path, card: str) -> int:
    """Write a model to ``directory`` with its model card; return the number of weights. UserError if it holds files."""
    require_free(directory)
    weights = {name: weight.detach().clone().contiguous() for name, weight in model.state_dict().items()}
    content = save(weights, {"format": "pt"})
    with new_directory(directory) as temporary:
        write_atomically(temporary / WEIGHTS, [content])
        write_json(temporary / CONFIG, _config(record, hashlib.sha256(content).hexdigest()))
        write_atomically(temporary / CARD, [card.encode()])
    return sum(weight.numel() for weight in weights.values())


def _config(record: RunRecord, sha256: str) -> dict[str, Any]:
    source, target = tokenizers(record)
    joint = vocabulary_of(record, source, target) if record.config.backbone is None else None
    return {
        "format": FORMAT,
        "mathpipe_version": version("mathpipe"),
        "weights_sha256": sha256,
        "record": record.to_dict(),
        "source_tokens": source.vocabulary if joint is None else joint.tokens,
        "target_tokens": target.vocabulary if joint is None else joint.tokens,
    }


def is_exported(directory: Path) -> bool:
    """Whether ``mathpipe export-model`` wrote this directory."""
    try:
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and str(config.get("format", "")).startswith("mathpipe-model")


def read_exported(directory: Path) -> tuple[RunRecord, Weights]:
    """The record and the weights of an exported model; UserError if it is damaged or of another format."""
    config = json.loads((directory / CONFIG).read_text(encoding="utf-8-sig"))
    if config.get("format") != FORMAT or not isinstance(config.get("record"), dict):
        raise UserError(
            f"{directory / CONFIG} is of another format",
            expected=FORMAT,
            got=config.get("format"),
            cause="written by another version of mathpipe",
        )
    record = RunRecord.from_dict(config["record"], directory / CONFIG)
    sha256, weights = _read_weights(directory / WEIGHTS)
    if sha256 != config.get("weights_sha256"):
        raise UserError(
            f"{directory / WEIGHTS} is not the file of its {CONFIG}",
            expected=f"sha256 {str(config.get('weights_sha256'))[:16]}",
            got=sha256[:16],
            cause="the file is damaged, or was replaced",
            next_step="export the model again",
        )
    return replace(record, imported_from=f"{directory.name}/{WEIGHTS}, sha256 {sha256[:16]}"), weights


def _read_weights(path: Path) -> tuple[str, Weights]:
    try:
        content = path.read_bytes()
        return hashlib.sha256(content).hexdigest(), load(content)
    except OSError as error:
        raise UserError(f"{path} cannot be read", got=error.strerror, next_step="export the model again") from None
    except SafetensorError as error:
        raise UserError(
            f"{path} is damaged", expected="safetensors", got=str(error)[:160], next_step="export the model again"
        ) from None
