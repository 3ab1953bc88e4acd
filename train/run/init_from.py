"""Warm start: initial weights from another run, with smaller matrices, more of them, or another task."""

from __future__ import annotations

from typing import Any

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.locations import local_path
from mathpipe.train.model.interface import Model
from mathpipe.train.run.checkpoint import complete_state, read_checkpoint
from mathpipe.train.run.run_record import CHECKPOINT, RunRecord, tokenizers

_IGNORED = {"dropout", "dtype", "init"}  # model settings that do not affect the meaning of weights


def load_initial_weights(model: Model, record: RunRecord, init_from: str) -> RunRecord:
    """Load the weights of another run into a model of this record; return the record of that run, at the step of the weights.

    ``init_from``: a run directory, for its last checkpoint, or a checkpoint. UserError if it does not exist or its model or
    vocabulary differs.
    """
    path = local_path(init_from, "init_from")
    path = path / CHECKPOINT if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            f"init_from names no run with a checkpoint: {init_from}",
            expected=f"a run directory that contains {CHECKPOINT}, or a checkpoint",
            next_step="train that run first",
        )
    state = read_checkpoint(path)
    with complete_state(path):
        source_record = RunRecord.from_dict(state["record"], path)
        weight_shapes = {name: tuple(weight.shape) for name, weight in state["model"].items()}
    _check_vocabulary(record, source_record, init_from)
    _check_model(record, source_record, init_from)
    expected = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    if expected != weight_shapes:
        name = next(name for name in (*expected, *weight_shapes) if expected.get(name) != weight_shapes.get(name))
        shapes = (expected.get(name, "no such weight"), weight_shapes.get(name, "no such weight"))
        raise _other_model(init_from, name, *shapes)
    model.load_state_dict(state["model"])
    return source_record


def _check_model(record: RunRecord, source_record: RunRecord, init_from: str) -> None:
    """Raise UserError if weights of equal shapes would have another meaning: other heads, another activation."""
    if record.config.backbone is not None or source_record.config.backbone is not None:
        return  # the names of the weights determine the model
    expected, got = (r.config.model.model_dump(exclude=_IGNORED) for r in (record, source_record))
    name = next((name for name in expected if expected[name] != got[name]), None)
    if name is not None:
        raise _other_model(init_from, f"model.{name}", expected[name], got[name])


def _other_model(init_from: str, name: str, expected: Any, got: Any) -> UserError:
    return UserError(
        f"init_from: {init_from} has another model: {name} differs",
        expected=expected,
        got=got,
        next_step="give both runs the same `model` section",
    )


def _check_vocabulary(record: RunRecord, source_record: RunRecord, init_from: str) -> None:
    vocabularies = [
        [(t.vocabulary, getattr(t.format, "tokens_per_number", 1)) for t in tokenizers(r)]
        for r in (record, source_record)
    ]
    if vocabularies[0] == vocabularies[1]:
        return
    expected, got = (
        f"{r.task}, {r.input_encoding} -> {r.output_encoding}, precision {r.precision}" for r in (record, source_record)
    )
    raise UserError(
        f"init_from: {init_from} has other tokens",
        expected=expected,
        got=got,
        cause="the encodings or the precision differ, so that the embedding of one token would serve another",
        next_step="start from a run with the same encodings",
    )
