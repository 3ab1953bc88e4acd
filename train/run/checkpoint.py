"""The files of a run, and atomic checkpoints: a failed write leaves the previous checkpoint in place.

A checkpoint is written to a temporary name, synced and renamed. It ends with the SHA-256 of its content, so that damage is always
detected. It is loaded with ``weights_only=True``, so that loading runs no code.

    run.json          the record of the run: data, digest, task, encodings, configuration
    checkpoint.pt     model, optimiser, random generators, position in the data, step; the record
    checkpoints/      permanent: step-<s>.pt every ``keep_every`` steps, and best.pt, the best weights by ``best_metric``
                      with their step and metrics; the record
    curves.jsonl      metrics log, one line per logged step
    learning_curve.png
    summary.json      the last metrics, written when the run is finished
    continue.yaml     of an imported model only: parameters that train it further, in another directory
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.datasets.io.atomic_files import write_atomically
from mathpipe.datasets.io.locations import local_path
from mathpipe.datasets.io.similar_directories import similar_directories, suggest
from mathpipe.datasets.problem_types.type_registry import problem_type_of
from mathpipe.datasets.tokenizers.tokenizer import Tokenizer
from mathpipe.train.config import TrainConfig
from mathpipe.train.model.interface import Model, missing_transformers
from mathpipe.train.model.joint_vocabulary import JointVocabulary, joint_vocabulary, listed_vocabulary
from mathpipe.train.model.transformer import Transformer

RECORD, CHECKPOINT, CURVES, SUMMARY = "run.json", "checkpoint.pt", "curves.jsonl", "summary.json"
CHECKPOINTS, PLOT = "checkpoints", "learning_curve.png"
PARAMS = "continue.yaml"
BEST = f"{CHECKPOINTS}/best.pt"
FORMAT = 2
_DIGEST_BYTES = 32


@dataclass(frozen=True)
class RunRecord:
    """Description of a run. ``data``: the dataset, relative to the directory of the run, or its URL; ``step``: steps taken.

    In run.json ``step`` is 0.
    ``imported_from``: the file of an imported model, whose ``data`` and ``dataset_digest`` are empty where no dataset was named.
    """

    data: str
    dataset_digest: str
    task: str
    spec: dict[str, Any]
    input_encoding: str
    output_encoding: str
    precision: int
    config: TrainConfig
    step: int = 0
    imported_from: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the configuration as a nested dict."""
        return asdict(replace(self, config=None)) | {"config": self.config.model_dump(mode="json")}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: Path) -> RunRecord:
        """The record; UserError that names ``where`` if this version cannot parse it."""
        try:
            return cls(**(values | {"config": TrainConfig.model_validate(values["config"])}))
        except (KeyError, TypeError, ValidationError) as error:
            cause = str(error.errors()[0]["loc"]) if isinstance(error, ValidationError) else repr(error)
            raise UserError(
                f"{where} has a record that this version cannot read",
                got=cause,
                cause="written by another version of mathpipe",
                next_step="use that version, or train again in another directory",
            ) from None


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values atomically; a failure leaves the previous checkpoint in place."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    content = buffer.getbuffer()
    write_atomically(path, [content, hashlib.sha256(content).digest()])


def read_checkpoint(path: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """The saved state; UserError for a file that is damaged, truncated or of another format."""
    content = memoryview(path.read_bytes())
    payload, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        raise UserError(
            f"{path} is damaged",
            expected="a checkpoint that ends with its own SHA-256",
            got=f"{len(content):,} bytes with another SHA-256",
            cause="the file was truncated or changed after it was written",
            next_step="restore it from a backup, or train again in another directory",
        )
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except Exception as error:  # a pickle of another program may fail in any way; weights_only runs none of its code
        raise UserError(
            f"{path} cannot be read as a checkpoint, and none of its code was run",
            expected="tensors and plain values",
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:160]}",
            cause="another program wrote it, or it was made to run code when it is opened",
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(
            f"{path} is a checkpoint of another format",
            expected=FORMAT,
            got=state.get("format") if isinstance(state, dict) else type(state).__name__,
            cause="written by another version of mathpipe",
        )
    return state


@contextlib.contextmanager
def complete_state(path: Path) -> Iterator[None]:
    """UserError that names ``path`` if a part of its checkpoint, used in the block, is missing or does not fit its record."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{path} does not fit its own record",
            expected="the tensors of the model that its record describes, and the state of its training",
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:160]}",
            cause="the file was changed after it was written",
            next_step="restore it from a backup, or train again in another directory",
        ) from error


def read_record(run_dir: Path) -> RunRecord:
    """The record of a run (step 0); UserError for a directory without a run."""
    path = run_dir / RECORD
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(
            f"{run_dir} holds no run",
            expected=f"a directory that contains {RECORD}",
            next_step=suggest(similar_directories(str(run_dir), RECORD, "runs")) or "create one with `mathpipe train`",
        ) from None
    except ValueError:
        raise UserError(f"{path} is damaged", expected="JSON", next_step="train again in another directory") from None
    return RunRecord.from_dict(values, path)


def tokenizers(record: RunRecord) -> tuple[Tokenizer, Tokenizer]:
    """The tokenizers of problems and solutions."""
    return problem_type_of(record.spec).tokenizers(
        record.spec, record.input_encoding, record.output_encoding, record.precision
    )


def build_model(record: RunRecord) -> Model:
    """A model of the recorded configuration. Weights are sampled from torch's default generator, except those of a backbone."""
    source, target = tokenizers(record)
    if record.config.backbone is not None:
        try:
            from mathpipe.train.backbones.factory import (
                build_backbone,  # needs transformers, which takes seconds to import
            )
        except ImportError as error:
            raise missing_transformers(error) from error

        return build_backbone(record.config.backbone, source, target)
    return Transformer(record.config.model, source.format, target.format, vocabulary_of(record, source, target))


def vocabulary_of(record: RunRecord, source: Tokenizer, target: Tokenizer) -> JointVocabulary | None:
    """The joint vocabulary of a recorded transformer; None if each side has its own."""
    config = record.config.model
    if config.vocabulary != "joint":
        return None
    if config.tokens is not None:
        return listed_vocabulary(source.vocabulary, target.vocabulary, config.tokens)
    return joint_vocabulary(source.vocabulary, target.vocabulary, target.published_extras)


def load_model(run_dir: str | Path, device: str | torch.device = "cpu", name: str = "last") -> tuple[Model, RunRecord]:
    """The model of a run in evaluation mode, and its record, from the checkpoint ``last``, ``best`` or a file in its directory.

    UserError if the directory contains no run, or the checkpoint is missing or damaged.
    """
    run_dir = local_path(run_dir, "the directory of a run")
    path = run_dir / {"last": CHECKPOINT, "best": BEST}.get(name, name)
    if not path.is_file():
        raise _no_checkpoint(run_dir, name)
    state = read_checkpoint(path, device)
    with complete_state(path):
        record = RunRecord.from_dict(state["record"], path)
    model = build_model(record).to(device)
    with complete_state(path):
        model.load_state_dict(state["model"])
    return model.eval(), record


def _no_checkpoint(run_dir: Path, name: str) -> UserError:
    record = read_record(run_dir)
    if name == "last" or not (run_dir / CHECKPOINT).exists():
        return UserError(
            f"{run_dir} has no checkpoint yet",
            expected=f"one every {record.config.checkpoint_every} steps",
            cause="training stopped before the first",
            next_step="run `mathpipe train` again: it restarts from step 0",
        )
    names = ["last", *(f"{CHECKPOINTS}/{path.name}" for path in sorted((run_dir / CHECKPOINTS).glob("*.pt")))]
    return UserError(
        f"{run_dir} has no checkpoint {name!r}",
        expected="last" + (f", or one of {', '.join(names[1:])}" if names[1:] else ""),
        cause="best requires best_metric, permanent checkpoints require keep_every",
        next_step=did_you_mean(name, names) or "leave --checkpoint out to use the last one",
    )
