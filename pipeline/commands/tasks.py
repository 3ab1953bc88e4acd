"""``mathpipe tasks``: list every task with its problem, solution and source; with ``--json`` also its parameters."""

from __future__ import annotations

import json

import click

from mathpipe.generate.tasks.task_registry import TASKS


@click.command("tasks")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def tasks(as_json: bool) -> None:
    """List the tasks: problem, solution, source; with --json also their parameters.

    \b
    Example:
      mathpipe tasks
    """
    rows = [(task.name, task.task_token or "", task.problem, task.solution, task.source) for task in TASKS.values()]
    if as_json:
        names = ("name", "task_token", "problem", "solution", "source")
        listed = [
            {**dict(zip(names, row, strict=True)), "parameters": list(task.options())}
            for task, row in zip(TASKS.values(), rows, strict=True)
        ]
        click.echo(json.dumps(listed))
        return
    header = ("task", "task_token", "problem", "solution", "source")
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    for row in [header, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    click.echo("the parameters of a task: mathpipe generate --task TASK --help")
