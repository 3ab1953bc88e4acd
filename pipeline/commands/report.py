"""``mathpipe report``: rebuild the report of an evaluation, or compare several evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mathpipe.datasets.io.storage import Storage
from mathpipe.evaluate.build_report import build_report
from mathpipe.evaluate.compare.comparison_page import comparison_json, comparison_page
from mathpipe.evaluate.compare.evaluations import EVALUATION, find_evaluations, format_accuracy, load_evaluations
from mathpipe.pipeline.config.options import external_task_option

COMPARISON = "comparison"


def _report_one(storage: Storage, out: str | None, as_json: bool) -> None:
    """The report of the only evaluation; a comparison would compare nothing. ``out``: where to write a copy of the page."""
    summary = build_report(storage)
    report = summary.report
    if out is not None:
        page = Path(out)
        Storage(str(page.parent)).write_text(page.name, Path(report).read_text(encoding="utf-8"))
        report = str(page)
    click.echo(json.dumps(summary.metrics) if as_json else f"{summary.text}\nreport: {report}")


@click.command("report")
@click.argument("runs", nargs=-1, required=True, metavar="RUN [RUN ...]")
@click.option(
    "--out",
    default=None,
    help="HTML file to write.  [default: report.html of the evaluation; of several, evaluation/comparison.html of the first run]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@external_task_option
def report(runs: tuple[str, ...], out: str | None, as_json: bool) -> None:
    """Compare evaluations on one HTML page; for a single evaluation, rebuild its report.

    RUN is the directory of a run or of an evaluation. Nothing is decoded again: the page is built from predictions.parquet.
    A JSON file beside the page holds the same figures.

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
    page = Path(out) if out is not None else Path(runs[0]) / EVALUATION / f"{COMPARISON}.html"
    figures = comparison_json(evaluations)
    storage = Storage(str(page.parent))
    storage.write_text(page.name, comparison_page(evaluations))
    storage.write_text(f"{page.stem}.json", json.dumps(figures, indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(figures))
        return
    width = max(len(evaluation.name) for evaluation in evaluations)
    for evaluation in evaluations:
        accuracy = f"{format_accuracy(evaluation.metrics)} % of {evaluation.metrics['n']:,}"
        click.echo(f"{evaluation.name:<{width}}  {accuracy}, {evaluation.settings}")
    click.echo(f"report: {page}")
