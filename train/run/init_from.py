"""First weights that another run has learned: on smaller matrices, on more of them, on another task."""

from __future__ import annotations

from pathlib import Path

from mathpipe.datasets.errors import UserError
from mathpipe.train.model.interface import Model
from mathpipe.train.run.checkpoint import CHECKPOINT, RunRecord, read_checkpoint, tokenizers

_FREE = {"dropout", "dtype", "start"}  # of a model; its weights mean the same without them


def take_weights(model: Model, record: RunRecord, start_from: str) -> RunRecord:
    """Put the weights of another run into a model of this record's; what that run is, and the step they are of.

    ``start_from``: a run's directory, for its last checkpoint, or a checkpoint. UserError where there is none, or where its
    model or its words are others.
    """
    path = Path(start_from)
    path = path / CHECKPOINT if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            f"start_from names no run with a checkpoint: {start_from}",
            expected=f"a run's directory with {CHECKPOINT} in it, or a checkpoint",
            next_step="train that run first",
        )
    state = read_checkpoint(path)
    theirs = RunRecord.from_dict(state["record"], path)
    _check_words(record, theirs, start_from)
    _check_model(record, theirs, start_from)
    shapes, found = (
        {name: tuple(weight.shape) for name, weight in weights.items()}
        for weights in (model.state_dict(), state["model"])
    )
    if shapes != found:
        name = next(name for name in (*shapes, *found) if shapes.get(name) != found.get(name))
        raise UserError(
            f"the run to start from, {start_from}, has another model: {name} differs",
            expected=shapes.get(name, "no such weight"),
            got=found.get(name, "no such weight"),
            next_step="give both runs one `model` section",
        )
    model.load_state_dict(state["model"])
    return theirs


def _check_model(record: RunRecord, theirs: RunRecord, start_from: str) -> None:
    """UserError where weights of the same shapes would mean something else: other heads, another activation."""
    if record.config.body is not None or theirs.config.body is not None:
        return  # what they are made of lies in the weights' names
    mine, other = (r.config.model.model_dump(exclude=_FREE) for r in (record, theirs))
    name = next((name for name in mine if mine[name] != other[name]), None)
    if name is not None:
        raise UserError(
            f"the run to start from, {start_from}, has another model: model.{name} differs",
            expected=mine[name],
            got=other[name],
            next_step="give both runs one `model` section",
        )


def _check_words(record: RunRecord, theirs: RunRecord, start_from: str) -> None:
    said, read = (
        [(w.vocabulary, getattr(w.format, "words_per_number", 1)) for w in tokenizers(r)] for r in (record, theirs)
    )
    if said == read:
        return
    mine, other = (
        f"{r.task}, {r.input_encoding} -> {r.output_encoding}, precision {r.precision}" for r in (record, theirs)
    )
    raise UserError(
        f"the run to start from, {start_from}, writes with other words",
        expected=mine,
        got=other,
        cause="the vector of one word would be read as that of another",
        next_step="begin from a run with the same encodings",
    )
