"""``mathpipe train``: train a transformer on a dataset, or go on with a run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import get_args

import click
import torch

from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.datasets.errors import UserError, nearest
from mathpipe.evaluate.run import quick_accuracy, quick_measures
from mathpipe.pipeline.config.options import shared_options
from mathpipe.pipeline.config.resolution import Source, gather, overridden, preset_task, validated
from mathpipe.pipeline.console import note, quiet_option, warn
from mathpipe.pipeline.inputs.encodings import refuse_encoding
from mathpipe.pipeline.inputs.latest import newest_dataset
from mathpipe.pipeline.progress import StepProgress
from mathpipe.train.config import TrainConfig
from mathpipe.train.run.run_directory import OnMismatch
from mathpipe.train.runtime.fast_paths import fast_paths
from mathpipe.train.trainer import Evaluate, TrainResult
from mathpipe.train.trainer import train as train_run


@click.command("train")
@click.option("--data", default=None, help="Directory or URL of the dataset.  [default: the newest under data/]")
@click.option("--run", "run_dir", default=None, help="Directory of the run.  [default: runs/<name of the dataset>]")
@click.option(
    "--on-mismatch",
    type=click.Choice(get_args(OnMismatch)),
    default="error",
    show_default=True,
    help="A directory that holds another run: refuse, or move it aside and begin anew.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@quiet_option
@shared_options
def train(data: str | None, run_dir: str | None, on_mismatch: OnMismatch, as_json: bool, source: Source) -> None:
    """Train a transformer. A run that was stopped or killed goes on where its last checkpoint stands.

    Parameters are those of the section `train` of params.yaml; set one with -S. Several processes share the work when torchrun
    starts them; docs/training.md says how.

    \b
    Example:
      mathpipe train --data data/add -S steps=2000 -S lr=5e-4
      mathpipe train --data data/inverse --preset fast/inverse
      torchrun --standalone --nproc-per-node 2 -- $(which mathpipe) train --data data/add
    """
    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started, one speaks
    config = validated(TrainConfig, gather("train", source, {}), "train")
    if data is None:
        data = newest_dataset()
        if first:
            note(f"training on {data}, the newest dataset")
    run_dir = run_dir or f"runs/{data.rstrip('/').rsplit('/', 1)[-1]}"
    training, valid = (
        open_dataset(data, split, config.input_encoding, config.output_encoding, config.precision)
        for split in ("train", "valid")
    )
    _refuse_encodings(training, source)
    looked_at = valid if len(valid) and config.valid_examples else None
    _check_measures(config, looked_at)
    if first:
        note(f"run {run_dir}: {training.task}, {len(training):,} problems; stop with Ctrl-C, the same command goes on")
        note(f"device: {fast_paths('cuda' if torch.cuda.is_available() else 'cpu')}")
        _tell_of_another_task(training, source)
    result = train_run(
        config,
        training,
        looked_at,
        run_dir,
        evaluate=None if looked_at is None else _greedy_accuracy(looked_at, config.valid_examples),
        on_mismatch=on_mismatch,
        progress=StepProgress(),
    )
    if first:
        _tell(result, as_json)
    if result.outcome == "interrupted":
        raise SystemExit(130)


def _check_measures(config: TrainConfig, valid: Dataset | None) -> None:
    """UserError, before anything is learned, where a run would wait for a measure that is never taken."""
    known: tuple[str, ...] = ()
    if valid is not None:
        known = ("valid_loss", *(["valid_token_accuracy"] if config.body is not None else []), *quick_measures(valid))
    for setting in ("best_metric", "stop_metric"):
        name = getattr(config, setting)
        if name is not None and name not in known:
            near = nearest(name, known)
            raise UserError(
                f"{setting} {name!r} is not measured",
                expected=f"one of {', '.join(known)}" if known else "a validation split and valid_examples above 0",
                got=repr(name),
                next_step=f"did you mean {near}?" if near else f"leave {setting} out, or name one of these",
            )


def _refuse_encodings(data: Dataset, source: Source) -> None:
    """UserError where -S names an encoding of numbers for data that has none. A file or preset may: its data may change."""
    if data.kind != "matrices":
        for name, value in overridden("train", source).items():
            if name in ("input_encoding", "output_encoding"):
                refuse_encoding(data.directory, f"-S {name}", value)


def _tell_of_another_task(data: Dataset, source: Source) -> None:
    """Say so where a preset was made for another task than the data's; it may be meant, and it may take days."""
    meant = preset_task(source.preset) if source.preset is not None else None
    if meant not in (None, data.task):
        warn(f"preset {source.preset} was made for {meant}; {data.directory} holds {data.task}")


def _greedy_accuracy(dataset: Dataset, limit: int) -> Evaluate:
    """Greedy accuracy on the first rows of the validation split, as training asks for it."""
    return lambda model: quick_accuracy(model, dataset, limit=limit)


def _tell(result: TrainResult, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**asdict(result), "run_dir": str(result.run_dir)}))
    else:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in result.metrics.items())
        already = (
            " (it was finished before; nothing was done)"
            if not result.steps_taken and result.outcome != "interrupted"
            else ""
        )
        click.echo(f"{result.run_dir}: {result.outcome} at step {result.step:,} after {result.seconds:,.0f} s{already}")
        click.echo(metrics)
    if result.outcome == "interrupted":
        warn("the checkpoint is written; the same command goes on from it")
