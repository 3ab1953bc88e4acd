"""``mathpipe eval``: examine a trained model."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import click

from mathpipe.evaluate.decode.decoding import Decoding
from mathpipe.evaluate.failures.failure_rendering import draw_failures
from mathpipe.evaluate.run import evaluate_run
from mathpipe.pipeline.config.options import model_options, shared_options
from mathpipe.pipeline.config.resolution import Source, gather, validated
from mathpipe.pipeline.config.schema import EvaluateParams
from mathpipe.pipeline.console import note, quiet_option, stoppable
from mathpipe.pipeline.inputs.latest import newest_run
from mathpipe.pipeline.progress import Progress


@click.command("eval")
@click.option("--run", "run_dir", default=None, help="Directory of the run.  [default: the newest under runs/]")
@click.option("--data", default=None, help="Another dataset of the same task.  [default: the run's own]")
@click.option(
    "--out", default=None, help="Where results go.  [default: <run>/evaluation/<split>, with what is not as by default]"
)
@click.option(
    "--verbose",
    is_flag=True,
    help="Also dump every failed problem, and draw the ten worst: the largest errors; of expressions, which have none, the most "
    "confident wrong answers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
@model_options(EvaluateParams)
@quiet_option
@shared_options
def evaluate(
    run_dir: str | None,
    data: str | None,
    out: str | None,
    verbose: bool,
    as_json: bool,
    source: Source,
    **flags: Any,
) -> None:
    """Decode a split, verify every answer, and say how often the model is right, and where it is not.

    Writes predictions.parquet, metrics.json, one small table and plot for each analysis, and report.html, a page to read; with
    --verbose failures.jsonl.zst too. Stopped or killed, the same command goes on.

    \b
    Example:
      mathpipe eval --verbose
      mathpipe eval --run runs/add --split valid --limit 1k --beam 10 --constrained
    """
    wanted = validated(EvaluateParams, gather("evaluate", source, flags), "evaluate")
    if run_dir is None:
        run_dir = newest_run()
        note(f"evaluating {run_dir}, the newest run")
    with stoppable():
        found = evaluate_run(
            run_dir,
            data,
            split=wanted.split,
            limit=wanted.limit,
            checkpoint=wanted.checkpoint,
            batch_size=wanted.batch,
            out_dir=out,
            verbose=verbose,
            how=Decoding(**wanted.model_dump(include=set(Decoding.__dataclass_fields__))),
            workers=wanted.workers,
            progress=Progress("eval"),
        )
    if as_json:
        click.echo(json.dumps(found.metrics))
        return
    if found.worst:
        width = shutil.get_terminal_size((100, 40)).columns
        click.echo(draw_failures(found.worst, width=width, colour=sys.stdout.isatty()))
    click.echo(found.text)
    if found.failures is not None:
        click.echo(f"every failed problem: {found.failures}")
    click.echo(f"every prediction: {found.predictions}")
    click.echo(f"a page to read: {found.report}")
