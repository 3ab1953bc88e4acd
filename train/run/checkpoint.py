"""Atomic checkpoints: a failed write leaves the previous one in place.

A checkpoint is written to a temporary name, synced and renamed. It ends with the SHA-256 of its content, so that damage is always
detected. It is loaded with ``weights_only=True``, so that loading runs no code.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.datasets.io.atomic_files import write_atomically
from mathpipe.datasets.io.locations import local_path
from mathpipe.datasets.tokenizers.tokenizer import Tokenizer
from mathpipe.train.model.interface import Model, missing_transformers
from mathpipe.train.model.joint_vocabulary import JointVocabulary, joint_vocabulary, listed_vocabulary
from mathpipe.train.model.transformer import Transformer
from mathpipe.train.run.run_record import BEST, CHECKPOINT, CHECKPOINTS, RunRecord, read_record, tokenizers

FORMAT = 2
_DIGEST_BYTES = 32


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
