"""``mathpipe tasks``: every task, what it asks, what it answers, where it comes from."""

from __future__ import annotations

import json

import click

from mathpipe.generate.law import MatrixLaw
from mathpipe.generate.tasks import TASKS


@click.command("tasks")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def tasks(as_json: bool) -> None:
    """List every task: operand, solution, parameters, source.

    \b
    Example:
      mathpipe tasks
    """
    rows = [(t.name, t.letter or "", t.operand, t.solution, t.source) for t in TASKS.values()]
    parameters = list(MatrixLaw.model_fields)
    if as_json:
        names = ("name", "letter", "operand", "solution", "source")
        click.echo(json.dumps([{**dict(zip(names, row, strict=True)), "parameters": parameters} for row in rows]))
        return
    header = ("task", "letter", "operand", "solution", "source")
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    for row in [header, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    click.echo(f"parameters of all: {', '.join(parameters)} (`mathpipe generate --help`)")
