"""``mathpipe eval``: evaluate a trained model."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import click

from mathpipe.datasets.io.locations import local_path
from mathpipe.evaluate.decode.hypotheses import Decoding
from mathpipe.evaluate.report.failure_rendering import render_failures
from mathpipe.pipeline.config.options import (
    external_task_option,
    load_configured_task,
    options_from_model,
    parameter_options,
)
from mathpipe.pipeline.config.path_types import LocalPath, Location
from mathpipe.pipeline.config.resolution import ParameterSource, naming_flags, resolve, validate
from mathpipe.pipeline.config.stage_parameters import EvaluateParams
from mathpipe.pipeline.console import handle_sigterm, log, quiet_option
from mathpipe.pipeline.inputs.latest import latest_run
from mathpipe.pipeline.progress import Progress
from mathpipe.train.run.run_record import CHECKPOINT, read_record


@click.command("eval")
@click.option(
    "--run", "run_dir", type=LocalPath(), default=None, help="Directory of the run.  [default: the latest under runs/]"
)
@click.option(
    "--data", type=Location(), default=None, help="Another dataset of the same task.  [default: the dataset of the run]"
)
@click.option(
    "--out",
    type=Location(),
    default=None,
    help="Directory for the results.  [default: <run>/evaluation/<split>, plus non-default options]",
)
@click.option(
    "--verbose",
    is_flag=True,
    help="Also dump every failed problem and print the ten worst: the largest errors, or for token sequences "
    "the most confident wrong answers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
@options_from_model(EvaluateParams)
@quiet_option
@external_task_option
@parameter_options
def evaluate(
    run_dir: str | None,
    data: str | None,
    out: str | None,
    verbose: bool,
    as_json: bool,
    source: ParameterSource,
    **flags: Any,
) -> None:
    """Decode a split, verify every answer, and report how accurate the model is and where it fails.

    Writes predictions.parquet, metrics.json, a table and a plot for each analysis, and report.html; with --verbose also
    failures.jsonl.zst. The command is resumable: run it again to resume after an interruption.

    \b
    Example:
      mathpipe eval --verbose
      mathpipe eval --run runs/add --split valid --limit 1k --beam 10 --constrained
    """
    load_configured_task(source)
    with naming_flags(flags):
        params = validate(EvaluateParams, resolve("evaluate", source, flags), "evaluate", source)
    if run_dir is None:
        run_dir = latest_run()
        log(f"evaluating {run_dir}, the latest run")
    directory = local_path(run_dir, "the directory of a run")
    if not (directory / CHECKPOINT).exists():
        read_record(directory)  # UserError for a directory without a run
    from mathpipe.evaluate.run import evaluate_run  # imports torch: --help and a misspelt run do without

    with handle_sigterm():
        evaluation = evaluate_run(
            run_dir,
            data,
            split=params.split,
            limit=params.limit,
            checkpoint=params.checkpoint,
            batch_size=params.batch,
            out_dir=out,
            verbose=verbose,
            decoding=Decoding(**params.model_dump(include=set(Decoding.__dataclass_fields__))),
            workers=params.workers,
            domain=params.domain,
            progress=Progress("eval"),
            log=log,
        )
    if as_json:
        click.echo(json.dumps(evaluation.metrics))
        return
    if evaluation.worst:
        width = shutil.get_terminal_size((100, 40)).columns
        click.echo(f"worst failures ({len(evaluation.worst)}):\n")
        click.echo(render_failures(evaluation.worst, width=width, colour=sys.stdout.isatty()) + "\n")
    click.echo(evaluation.text)
    if evaluation.failures is not None:
        click.echo(f"failures: {evaluation.failures}")
    click.echo(f"predictions: {evaluation.predictions}")
    click.echo(f"report: {evaluation.report}")
