"""``mathpipe report``: the page of an evaluation again, or several evaluations side by side."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mathpipe.datasets.io.storage import Storage
from mathpipe.evaluate.build_report import describe
from mathpipe.evaluate.compare.comparison_page import as_plain, comparison
from mathpipe.evaluate.compare.evaluations import EVALUATION, find_evaluations, interval_text, load

COMPARISON = "comparison"


@click.command("report")
@click.argument("runs", nargs=-1, required=True, metavar="RUN [RUN ...]")
@click.option(
    "--out", default=None, help="The page to write.  [default: comparison.html in the first run's evaluation/]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def report(runs: tuple[str, ...], out: str | None, as_json: bool) -> None:
    """Compare the evaluations of one or more runs on one page; of a single evaluation, make its page again.

    RUN is the directory of a run or of one evaluation. Nothing is decoded again: everything is told from predictions.parquet.
    The same figures go into a JSON file beside the page.

    \b
    Example:
      mathpipe report runs/laplace runs/semicircle
      mathpipe report runs/add
    """
    directories = list({Path(place).resolve(): place for run in runs for place in find_evaluations(run)}.values())
    if len(directories) == 1 and out is None:
        told = describe(Storage(directories[0]))
        click.echo(json.dumps(told.metrics) if as_json else f"{told.text}\na page to read: {told.report}")
        return
    all_told = load(directories)
    page = Path(out) if out is not None else Path(runs[0]) / EVALUATION / f"{COMPARISON}.html"
    plain = as_plain(all_told)
    storage = Storage(str(page.parent))
    storage.write_text(page.name, comparison(all_told))
    storage.write_text(f"{page.stem}.json", json.dumps(plain, indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(plain))
        return
    width = max(len(one.name) for one in all_told)
    for one in all_told:
        click.echo(f"{one.name:<{width}}  {interval_text(one.metrics)} % of {one.metrics['n']:,}, {one.settings}")
    click.echo(f"a page to read: {page}")
