"""``mathpipe train``: train a transformer on a dataset, or resume a run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.datasets.format.manifest import Manifest, read_manifest
from mathpipe.datasets.io.locations import last_name
from mathpipe.datasets.problem_types.type_registry import problem_type_of
from mathpipe.datasets.rendering.plurals import counted
from mathpipe.generate.splits import TRAIN, VALID
from mathpipe.pipeline.config.options import Choice, external_task_option, load_configured_task, parameter_options
from mathpipe.pipeline.config.path_types import LocalPath, Location
from mathpipe.pipeline.config.resolution import ParameterSource, parse_overrides, preset_task
from mathpipe.pipeline.config.yaml_text import NULL_WORDS
from mathpipe.pipeline.console import log, quiet_option, warn
from mathpipe.pipeline.extras import EXTRAS
from mathpipe.pipeline.inputs.encodings import reject_number_encoding
from mathpipe.pipeline.inputs.latest import latest_dataset
from mathpipe.pipeline.progress import StepProgress
from mathpipe.pipeline.published.recommended import Device
from mathpipe.pipeline.published.training_parameters import named_config, names_parameters, recommended_config
from mathpipe.train.config import TrainConfig
from mathpipe.train.run.run_record import CURVES, OnMismatch
from mathpipe.train.tracking.dvclive_tracker import live_class

if TYPE_CHECKING:
    from mathpipe.train.trainer import Evaluate, TrainResult


@click.command("train")
@click.option(
    "--data",
    type=Location(),
    default=None,
    help="Directory or URL of the dataset.  [default: the latest under data/ with training examples]",
)
@click.option(
    "--run",
    "run_dir",
    type=LocalPath(),
    default=None,
    help="Directory of the run.  [default: runs/<name of the dataset>]",
)
@click.option(
    "--on-mismatch",
    type=Choice(get_args(OnMismatch)),
    default="error",
    show_default=True,
    help="If the directory holds another run: stop with an error, or move it to a backup and start again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@quiet_option
@external_task_option
@parameter_options
def train(
    data: str | None, run_dir: str | None, on_mismatch: OnMismatch, as_json: bool, source: ParameterSource
) -> None:
    """Train a transformer.

    The command is resumable: run it again to resume from the last checkpoint after an interruption. -S sets parameters of the
    section `train` of params.yaml. Without --preset and --params, the parameters are those of the recommended preset of the task;
    --preset none starts from the defaults. Use torchrun to train with several processes (see docs/guides/training.md).

    \b
    Example:
      mathpipe train --data data/add -S steps=2000 -S lr=5e-4
      mathpipe train --data data/inverse --preset fast/inverse
      torchrun --standalone --nproc-per-node 2 -- $(which mathpipe) train --data data/add
    """
    is_rank_zero = os.environ.get("RANK", "0") == "0"  # torchrun sets RANK; only rank zero prints
    load_configured_task(source)
    config = named_config(source) if names_parameters(source) else None  # wrong parameters are an error before the data
    if data is None:
        data = _latest_dataset(source)
        if is_rank_zero:
            log(f"training on {data}, the latest dataset")
    run_dir = run_dir or f"runs/{last_name(data)}"
    manifest = read_manifest(data)
    _check_has_training_examples(data, manifest)
    import torch  # here: --help, wrong parameters and a misspelt dataset do without

    from mathpipe.train.runtime.fast_paths import fast_paths
    from mathpipe.train.trainer import train as train_run

    spec = manifest.spec
    expectations: list[str] = []
    device: Device = "cuda" if torch.cuda.is_available() else "cpu"
    if config is None:
        config, expectations = recommended_config(source, spec, manifest.splits[TRAIN].rows, Path(run_dir), device)
    encodings = problem_type_of(spec).default_encodings(spec, config.input_encoding, config.output_encoding)
    training = open_dataset(data, TRAIN, *encodings, config.precision)
    _reject_encodings(training, source)
    has_valid = bool(manifest.splits[VALID].rows) if VALID in manifest.splits else False
    validation = (
        open_dataset(data, VALID, *encodings, config.precision) if has_valid and config.valid_examples else None
    )
    _check_metric_names(config, validation)
    if is_rank_zero:
        log(
            f"run {run_dir}: {training.task}, {counted(len(training), 'problem')}; stop with Ctrl-C, "
            "run the same command again to resume"
        )
        if not has_valid:
            log(f"no validation: {data} has no validation examples, so that only the training loss is measured")
        elif training.spec["problems"].get("valid_cut"):
            rows = manifest.splits[VALID].rows
            log(f"valid: {rows:,} of the imported training examples, set apart by the hash of their problems")
        log(f"device: {fast_paths(device)}")
        for line in expectations:
            log(line)
        _warn_of_other_task(training, source)
        _log_missing_dvclive(run_dir)
    result = train_run(
        config,
        training,
        validation,
        run_dir,
        evaluate=None if validation is None else _greedy_accuracy(validation, config.valid_examples),
        on_mismatch=on_mismatch,
        progress=StepProgress(),
    )
    if is_rank_zero:
        _print_result(result, as_json)
    if result.outcome == "interrupted":
        raise SystemExit(130)


def _latest_dataset(source: ParameterSource) -> str:
    """The latest dataset; where there is none, wrong parameters are the first error."""
    try:
        return latest_dataset()
    except UserError:
        named_config(source)
        raise


def _check_has_training_examples(data: str, manifest: Manifest) -> None:
    """UserError for a dataset of test examples alone, as `mathpipe import --test` makes them."""
    if TRAIN not in manifest.splits:
        raise UserError(
            f"{data} has no training examples",
            expected=f"a split {TRAIN}",
            got=", ".join(f"{name} ({split.rows:,} examples)" for name, split in manifest.splits.items()),
            cause="it was imported with --test alone",
            next_step=f"import the files with --train, or train on another dataset and run `mathpipe eval --data {data}`",
        )


def _check_metric_names(config: TrainConfig, valid: Dataset | None) -> None:
    """UserError, before training starts, if a run would wait for a metric that is never measured."""
    from mathpipe.evaluate.quick_accuracy import quick_metric_names

    metrics: tuple[str, ...] = ()
    if valid is not None:
        metrics = (
            "valid_loss",
            *(["valid_token_accuracy"] if config.backbone is not None else []),
            *quick_metric_names(valid),
        )
    for setting in ("best_metric", "stop_metric"):
        name = getattr(config, setting)
        if name is not None and name not in metrics:
            raise UserError(
                f"{setting} {name!r} is not measured",
                expected=f"one of {', '.join(metrics)}" if metrics else "a validation split and valid_examples above 0",
                got=repr(name),
                next_step=did_you_mean(name, metrics) or f"leave {setting} out, or name one of these",
            )


def _reject_encodings(data: Dataset, source: ParameterSource) -> None:
    """UserError if -S sets a number encoding for data without matrices; files and presets may, since they fit any data."""
    if not data.problem_type.takes_number_encodings:
        for name, value in parse_overrides("train", source).items():
            if name in ("input_encoding", "output_encoding") and value not in NULL_WORDS:
                reject_number_encoding(data.directory, f"-S {name}", value)


def _warn_of_other_task(data: Dataset, source: ParameterSource) -> None:
    """Warn if a preset is for another task than the data's: it may be intended, but training may take days."""
    intended_task = preset_task(source.preset) if source.preset is not None else None
    if intended_task not in (None, data.task):
        warn(f"preset {source.preset} is for {intended_task}, but {data.directory} holds {data.task}")


def _log_missing_dvclive(run_dir: str) -> None:
    """Say where metrics go if DVCLive is not installed."""
    if live_class() is None:
        extra = EXTRAS["dvclive"]
        log(f"metrics go to {run_dir}/{CURVES} only; `pip install 'mathpipe[{extra}]'` adds DVCLive")


def _greedy_accuracy(dataset: Dataset, limit: int) -> Evaluate:
    """A function for the trainer: greedy accuracy on the first ``limit`` validation examples."""
    from mathpipe.evaluate.quick_accuracy import quick_accuracy

    return lambda model: quick_accuracy(model, dataset, limit=limit)


def _print_result(result: TrainResult, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**asdict(result), "run_dir": str(result.run_dir)}))
    else:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in result.metrics.items())
        finished_before = (
            " (already finished; nothing to do)" if not result.session_steps and result.outcome != "interrupted" else ""
        )
        click.echo(
            f"{result.run_dir}: {result.outcome} at step {result.step:,} after {result.seconds:,.0f} s{finished_before}"
        )
        if metrics:
            click.echo(metrics)
    if result.outcome == "interrupted":
        warn("checkpoint saved; run the same command again to resume")
