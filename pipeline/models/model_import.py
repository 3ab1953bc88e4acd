"""Import a published checkpoint as a run: read the file, tell task, encodings and vocabulary, write the run.

The weights give the sizes; the parameters in the file give task, encodings and heads; the size of the vocabulary gives the
encodings where the parameters do not. Options of the user come first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.datasets.io.locations import relative_location
from mathpipe.datasets.problem_types.type_registry import problem_type_of
from mathpipe.generate.tasks.task_registry import load_task
from mathpipe.pipeline.config.resolution import user_errors, validate
from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.published.checkpoint_file import read_published_checkpoint
from mathpipe.train.published.exported_model import read_exported
from mathpipe.train.published.imported_run import published_state, published_vocabulary, unknown_vocabulary, write_run
from mathpipe.train.published.published_params import PublishedSettings, read_settings
from mathpipe.train.published.published_weights import PublishedWeights, read_published_weights
from mathpipe.train.run.run_record import RunRecord

_OPTIMISATION: dict[str, Any] = {
    "optimiser": "adam",
    "lr": 1e-4,
    "warmup": 0,
    "schedule": "constant",
    "clip": 5.0,
}


@dataclass(frozen=True)
class ImportOptions:
    """What the user says about a checkpoint; None: what the file says. ``data``: a dataset to evaluate on by default."""

    task: str | None = None
    input_encoding: str | None = None
    output_encoding: str | None = None
    encoder_heads: int | None = None
    decoder_heads: int | None = None
    cross_query: Literal["attended", "input"] | None = None
    vocabulary: Path | None = None
    data: str | None = None


@dataclass(frozen=True)
class ImportedRun:
    """``notes``: what the file does not say and was taken from the published models instead."""

    directory: Path
    record: RunRecord
    parameters: int
    notes: tuple[str, ...]


def import_checkpoint(path: Path, out: Path, options: ImportOptions) -> ImportedRun:
    """Write the run of a published checkpoint to ``out``; UserError for a file that is refused, and where something is unknown."""
    checkpoint = read_published_checkpoint(path)
    weights = read_published_weights(path, checkpoint)
    settings = read_settings(path, checkpoint.params)
    tokens = _read_vocabulary(options.vocabulary, weights.decoder.vocabulary_size)
    model = _model(path, weights, settings, options, tokens)
    default = published_vocabulary(weights.decoder.vocabulary_size)
    encodings = [options.input_encoding or settings.input_encoding, options.output_encoding or settings.output_encoding]
    task = options.task or settings.task
    if default is not None:
        encodings = [encodings[0] or default.input_encoding, encodings[1] or default.output_encoding]
        task = task or default.task
    elif tokens is None and encodings == [None, None]:
        raise unknown_vocabulary(path, weights.decoder.vocabulary_size)
    data, digest, spec = _dataset(path, out, options.data, task, settings)
    names = problem_type_of(spec).default_encodings(spec, *encodings)
    config = validate(
        TrainConfig,
        {
            "model": model,
            "input_encoding": names[0],
            "output_encoding": names[1],
            "precision": settings.precision,
            **_OPTIMISATION,
        },
        "train",
    )
    epoch = f", epoch {checkpoint.epoch}" if checkpoint.epoch is not None else ""
    origin = f"{path.name}{epoch}, sha256 {checkpoint.sha256[:16]}"
    record = RunRecord(data, digest, spec["task"], spec, *names, settings.precision, config, imported_from=origin)
    state = published_state(path, weights, record)
    write_run(out, record, state, _parameters_to_continue(out, config))
    notes = () if options.task or settings.task or options.data else (f"{path} names no task: recorded as {task}",)
    return ImportedRun(out, record, sum(weight.numel() for weight in state.values()), notes)


def import_exported(directory: Path, out: Path, data: str | None) -> ImportedRun:
    """Write the run of a directory that ``mathpipe export-model`` wrote to ``out``; UserError if it is damaged."""
    record, weights = read_exported(directory)
    if data is not None:
        manifest = read_manifest(data)
        place = relative_location(data, out)
        record = replace(record, data=place, dataset_digest=manifest.split_digest("train"), spec=manifest.spec)
    write_run(out, record, weights, _parameters_to_continue(out, record.config))
    return ImportedRun(out, record, sum(weight.numel() for weight in weights.values()), ())


def _read_vocabulary(path: Path | None, size: int) -> tuple[str, ...] | None:
    """The tokens of a file, one a line, in the order of their ids."""
    if path is None:
        return None
    tokens = tuple(path.read_text(encoding="utf-8-sig").split())
    if len(tokens) != size or len({*tokens}) != size:
        raise UserError(
            f"{path} does not list the vocabulary of the model",
            expected=f"{size:,} different tokens, one a line, in the order of their ids",
            got=f"{len(tokens):,} tokens, {len({*tokens}):,} of them different",
        )
    return tokens


def _model(
    path: Path,
    weights: PublishedWeights,
    settings: PublishedSettings,
    options: ImportOptions,
    tokens: tuple[str, ...] | None,
) -> dict[str, Any]:
    """The section ``train.model``; UserError where the parameters contradict the weights, or do not name the heads."""
    model = weights.model_settings() | {"dropout": settings.dropout, "dtype": "float32", "tokens": tokens}
    for side, size in (("encoder", weights.encoder), ("decoder", weights.decoder)):
        layers = getattr(settings, f"{side}_layers")
        if layers not in (None, size.layers):
            raise UserError(
                f"{path}: layers of the {side} are missing",
                expected=f"{layers}, as its parameters say",
                got=size.layers,
                cause="the file is incomplete",
            )
        heads = getattr(options, f"{side}_heads") or getattr(settings, f"{side}_heads")
        if heads is None or size.width % heads:
            raise UserError(
                f"the number of attention heads of the {side} is " + ("unknown" if heads is None else "wrong"),
                expected=f"a divisor of the width {size.width}, which no weight tells",
                got=heads
                if heads is not None
                else f"no {'n_enc_heads' if side == 'encoder' else 'n_dec_heads'}, no n_heads",
                next_step=f"give it with --{side}-heads",
            )
        model[f"{side}_heads"] = heads
    if options.cross_query is not None:
        model["cross_query"] = options.cross_query
    validate(ModelConfig, model, "train.model")
    return model


def _dataset(
    path: Path, out: Path, data: str | None, task_name: str | None, settings: PublishedSettings
) -> tuple[str, str, dict[str, Any]]:
    """(location as the run in ``out`` records it, digest, spec) of the dataset.

    Without a dataset, the spec of the task with the dimensions that the file names.
    """
    if data is not None:
        manifest = read_manifest(data)
        return relative_location(data, out), manifest.split_digest("train"), manifest.spec
    if task_name is None:
        raise UserError(f"{path} names no task that mathpipe has", next_step="name it with --task")
    task = load_task(task_name)
    values = settings.options if task_name == settings.task else {}
    with user_errors(task.spec_model, "generate.spec"):
        spec = task.make_spec({name: value for name, value in values.items() if name in task.options()})
    return "", "", spec.model_dump(mode="json")


def _parameters_to_continue(run: Path, config: TrainConfig) -> str:
    """A parameter file with which ``mathpipe train`` continues from the weights of ``run``."""
    section = {"init_from": str(run), **config.model_dump(mode="json", exclude_unset=True)}
    header = f"# mathpipe train --data DIR --run DIR --params {run}/continue.yaml\n"
    return header + yaml.safe_dump({"train": section}, sort_keys=False)
