"""``mathpipe tasks``: every task, what it asks, what it answers, where it comes from."""

from __future__ import annotations

import json

import click

from mathpipe.generate.spec import MatrixSpec
from mathpipe.generate.tasks.registry import TASKS, SequenceTask, Task
from mathpipe.pipeline.config.schema import BITS, EXPRESSIONS


@click.command("tasks")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def tasks(as_json: bool) -> None:
    """List every task: problem, solution, parameters, source.

    \b
    Example:
      mathpipe tasks
    """
    rows = [(t.name, t.task_token or "", t.problem, t.solution, t.source) for t in TASKS.values()]
    if as_json:
        names = ("name", "task_token", "problem", "solution", "source")
        listed = [
            {**dict(zip(names, row, strict=True)), "parameters": parameters(task)}
            for task, row in zip(TASKS.values(), rows, strict=True)
        ]
        click.echo(json.dumps(listed))
        return
    header = ("task", "task_token", "problem", "solution", "source")
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    for row in [header, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    click.echo(f"parameters of matrices: {', '.join(MatrixSpec.model_fields)} (`mathpipe generate --help`)")
    click.echo(f"parameters of expressions: {', '.join(sorted(EXPRESSIONS))}")
    click.echo(f"parameters of bits: {', '.join(BITS)}")


def parameters(task: Task | SequenceTask) -> list[str]:
    """What a spec of this task may say, by the names of the flags."""
    if isinstance(task, SequenceTask) and task.kind == "bits":
        return list(BITS)
    if isinstance(task, SequenceTask):
        return sorted(EXPRESSIONS)
    return list(MatrixSpec.model_fields)
