"""What a run leaves behind, and how it is read again: a checkpoint is there whole, or the one before it is.

A checkpoint is written to a temporary name, synced and renamed. It ends with the SHA-256 of what comes before, so that
damage is found and never trained on; it is read with ``weights_only=True``, so that reading one runs no code.

    run.json          what the run is: data, digest, task, encodings, configuration
    checkpoint.pt     model, optimiser, generators, position in the data, step; the same record
    checkpoints/      kept for good: step-<s>.pt every ``keep_every`` steps, and best.pt, the weights that were best by
                      ``best_metric``, their step and metrics; the same record
    curves.jsonl      one line for each step at which something was measured
    learning_curve.png
    summary.json      the last measurements, written when the run is finished
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.example_formats import kind_of
from mathpipe.datasets.io.atomic_files import write_atomically
from mathpipe.datasets.tokenizers.bit_tokenizer import BitTokenizer
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.train.config import TrainConfig
from mathpipe.train.model.interface import Model, without_transformers
from mathpipe.train.model.joint_vocabulary import PUBLISHED_EXTRAS, joint_vocabulary
from mathpipe.train.model.transformer import Transformer

RECORD, CHECKPOINT, CURVES, SUMMARY = "run.json", "checkpoint.pt", "curves.jsonl", "summary.json"
KEPT, PICTURE = "checkpoints", "learning_curve.png"
BEST = f"{KEPT}/best.pt"
FORMAT = 2
_DIGEST_BYTES = 32
Tokenizer = MatrixTokenizer | ExpressionTokenizer | BitTokenizer


@dataclass(frozen=True)
class RunRecord:
    """What a run is. ``data``: the dataset's directory as given; ``step``: steps taken (0 in run.json)."""

    data: str
    dataset_digest: str
    task: str
    spec: dict[str, Any]
    input_encoding: str
    output_encoding: str
    precision: int
    config: TrainConfig
    step: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the configuration as a nested dict."""
        return asdict(replace(self, config=None)) | {"config": self.config.model_dump(mode="json")}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: Path) -> RunRecord:
        """The record; UserError naming ``where`` when it is none of this version's."""
        try:
            return cls(**(values | {"config": TrainConfig.model_validate(values["config"])}))
        except (KeyError, TypeError, ValidationError) as error:
            cause = str(error.errors()[0]["loc"]) if isinstance(error, ValidationError) else repr(error)
            raise UserError(
                f"{where} holds no record this version understands",
                got=cause,
                cause="written by another version of mathpipe",
                next_step="use that version, or train again in another directory",
            ) from None


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values atomically; a failure leaves the checkpoint before in place."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    content = buffer.getbuffer()
    write_atomically(path, [content, hashlib.sha256(content).digest()])


def read_checkpoint(path: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """The state that was saved; UserError for a file that is damaged, cut short or of another format."""
    content = memoryview(path.read_bytes())
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise UserError(
            f"{path} is damaged",
            expected="a checkpoint that ends with its own SHA-256",
            got=f"{len(content):,} bytes that do not",
            cause="the file was cut short or changed after it was written",
            next_step="restore it from a copy, or train again in another directory (it is never replaced silently)",
        )
    state: dict[str, Any] = torch.load(io.BytesIO(body), map_location=device, weights_only=True)
    if state.get("format") != FORMAT:
        raise UserError(
            f"{path} is a checkpoint of another format",
            expected=FORMAT,
            got=state.get("format"),
            cause="written by another version of mathpipe",
        )
    return state


def read_record(run_dir: Path) -> RunRecord:
    """The record of a run (step 0); UserError for a directory that holds none."""
    path = run_dir / RECORD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{run_dir} holds no run",
            expected=f"a directory with {RECORD} in it",
            next_step="`mathpipe train` makes one",
        ) from None
    except ValueError:
        raise UserError(f"{path} is damaged", expected="JSON", next_step="train again in another directory") from None
    return RunRecord.from_dict(values, path)


def tokenizers(record: RunRecord) -> tuple[Tokenizer, Tokenizer]:
    """How a run writes problems and solutions."""
    if "problems" in record.spec and kind_of(record.spec) == "expressions":
        return ExpressionTokenizer(), ExpressionTokenizer()
    if "problems" in record.spec and kind_of(record.spec) == "bits":
        return BitTokenizer.of_spec(record.spec), BitTokenizer.of_spec(record.spec)
    has_task_tokens = record.task == "cotraining"
    names = record.input_encoding, record.output_encoding
    source, target = (MatrixTokenizer.named(name, record.precision, has_task_tokens=has_task_tokens) for name in names)
    return source, target


def build_model(record: RunRecord) -> Model:
    """A model of the record's shape; its weights are drawn from torch's default generator, save those of a pretrained body."""
    source, target = tokenizers(record)
    if record.config.body is not None:
        try:
            from mathpipe.train.backbones.factory import build_body  # needs transformers, which takes seconds to import
        except ImportError as error:
            raise without_transformers(error) from error

        return build_body(record.config.body, source, target)
    joint = record.config.model.vocabulary == "joint"
    extras = (
        PUBLISHED_EXTRAS if isinstance(target, MatrixTokenizer) else ()
    )  # expressions have theirs among their words
    words = joint_vocabulary(source.vocabulary, target.vocabulary, extras) if joint else None
    return Transformer(record.config.model, source.format, target.format, words)


def load_model(run_dir: str | Path, device: str | torch.device = "cpu", name: str = "last") -> tuple[Model, RunRecord]:
    """The model of a run's last checkpoint, of its ``best`` one, or of the file of that ``name`` in its directory, ready to
    predict, and what the run is.

    UserError when the directory holds no run, or no such checkpoint, or a damaged one.
    """
    path = Path(run_dir) / {"last": CHECKPOINT, "best": BEST}.get(name, name)
    if not path.is_file():
        raise _no_checkpoint(Path(run_dir), name)
    state = read_checkpoint(path, device)
    record = RunRecord.from_dict(state["record"], path)
    model = build_model(record).to(device)
    model.load_state_dict(state["model"])
    return model.eval(), record


def _no_checkpoint(run_dir: Path, name: str) -> UserError:
    record = read_record(run_dir)
    if name == "last" or not (run_dir / CHECKPOINT).exists():
        return UserError(
            f"{run_dir} has no checkpoint yet",
            expected=f"one every {record.config.checkpoint_every} steps",
            cause="training stopped before the first",
            next_step="run `mathpipe train` again: it starts over from the beginning",
        )
    kept = ", ".join(f"{KEPT}/{path.name}" for path in sorted((run_dir / KEPT).glob("*.pt")))
    return UserError(
        f"{run_dir} has no checkpoint {name!r}",
        expected=f"last{f', or one of {kept}' if kept else ''}",
        cause="best is kept where best_metric is set, others every keep_every steps",
        next_step="leave --checkpoint out for the last",
    )
