"""``mathpipe report``: rebuild the report of an evaluation, or compare several evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.locations import split_location
from mathpipe.datasets.io.storage import Storage
from mathpipe.evaluate.build_report import build_report, render_report
from mathpipe.evaluate.compare.comparison_page import comparison_json, comparison_page
from mathpipe.evaluate.compare.evaluations import EVALUATION, find_evaluations, format_accuracy, load_evaluations
from mathpipe.pipeline.config.options import external_task_option
from mathpipe.pipeline.config.path_types import LocalPath, Location

COMPARISON = "comparison.html"


def _report_one(storage: Storage, out: str | None, as_json: bool) -> None:
    """The report of the only evaluation; a comparison would compare nothing. With ``out`` the page alone is written, there."""
    if out is None:
        summary = build_report(storage)
        report = summary.report
    else:
        summary, page = render_report(storage)
        folder, name = split_location(out)
        Storage(folder).write_text(name, page)
        report = out
    click.echo(json.dumps(summary.metrics) if as_json else f"{summary.text}\nreport: {report}")


@click.command("report")
@click.argument("runs", type=LocalPath(), nargs=-1, required=True, metavar="RUN [RUN ...]")
@click.option(
    "--out",
    type=Location(),
    default=None,
    help="HTML file to write.  [default: report.html of the evaluation; of several, evaluation/comparison.html of the first run]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@external_task_option
def report(runs: tuple[str, ...], out: str | None, as_json: bool) -> None:
    """Compare evaluations on one HTML page; for a single evaluation, rebuild its report, or with --out write its page there.

    RUN is the directory of a run or of an evaluation. Nothing is decoded again: the page is built from predictions.parquet.
    A JSON file beside the page of a comparison holds the same figures.

    \b
    Example:
      mathpipe report runs/laplace runs/semicircle
      mathpipe report runs/add
    """
    directories = list({Path(path).resolve(): path for run in runs for path in find_evaluations(run)}.values())
    if len(directories) == 1:
        _report_one(Storage(directories[0]), out, as_json)
        return
    evaluations = load_evaluations(directories)
    page = out if out is not None else str(Path(runs[0]) / EVALUATION / COMPARISON)
    folder, name = split_location(page)
    storage, beside = Storage(folder), f"{Path(name).stem}.json"
    _refuse_to_replace(storage, beside)
    figures = comparison_json(evaluations)
    storage.write_text(name, comparison_page(evaluations))
    storage.write_text(beside, json.dumps(figures, indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(figures))
        return
    width = max(len(evaluation.name) for evaluation in evaluations)
    for evaluation in evaluations:
        accuracy = f"{format_accuracy(evaluation.metrics)} % of {evaluation.metrics['n']:,}"
        click.echo(f"{evaluation.name:<{width}}  {accuracy}, {evaluation.settings}")
    click.echo(f"report: {page}")


def _refuse_to_replace(storage: Storage, name: str) -> None:
    """UserError if the JSON file beside the page exists and is no comparison: nobody named it."""
    text = storage.read_text(name)
    if text is None:
        return
    try:
        figures = json.loads(text)
    except ValueError:
        figures = None
    if not (isinstance(figures, dict) and {"evaluations", "train_by_test"} <= figures.keys()):
        raise UserError(
            f"{storage.path(name)} would be replaced",
            expected="no such file, or the figures of an earlier comparison",
            cause="the figures of a comparison are written beside its page, under the same name",
            next_step="choose another name with --out",
        )
