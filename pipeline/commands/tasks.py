"""``mathpipe tasks``: list every task with its problem, solution and source; with ``--json`` also its parameters."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from itertools import zip_longest
from typing import Any

import click

from mathpipe.datasets.errors import UserError
from mathpipe.generate.tasks.external.external_tasks import installed_tasks
from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.task_registry import TASKS, get_task
from mathpipe.pipeline.console import warn


@click.command("tasks")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def tasks(as_json: bool) -> None:
    """List the tasks: problem, solution, source; with --json also their parameters.

    \b
    Example:
      mathpipe tasks
    """
    listed_tasks = [*TASKS.values(), *_installed()]
    rows = [(task.name, task.task_token or "", task.problem, task.solution, task.source) for task in listed_tasks]
    if as_json:
        names = ("name", "task_token", "problem", "solution", "source")
        listed = [
            {**dict(zip(names, row, strict=True)), "parameters": list(task.options())}
            for task, row in zip(listed_tasks, rows, strict=True)
        ]
        click.echo(json.dumps(listed))
        return
    click.echo("\n".join(_table([("task", "task_token", "problem", "solution", "source"), *rows])))
    click.echo("the parameters of a task: mathpipe generate --task TASK --help")
    click.echo("a task of your own: mathpipe generate --task ./FILE.py (docs/guides/own-tasks.md)")


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """The lines of a table; on a terminal that is too narrow, of task, problem and solution alone, wrapped."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    terminal = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    if sum(widths) + len(_GAP) * (len(widths) - 1) > terminal:
        rows = [(task, problem, solution) for task, _, problem, solution, _ in rows]
        half = max((terminal - widths[0]) // 2 - len(_GAP), _NARROWEST)
        widths = [widths[0], half, half]
    return [line for row in rows for line in _wrapped(row, widths)]


def _wrapped(row: tuple[str, ...], widths: list[int]) -> list[str]:
    cells = [textwrap.wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
    return [
        _GAP.join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()
        for parts in zip_longest(*cells, fillvalue="")
    ]


_GAP = "  "
_NARROWEST = 20  # characters of a wrapped cell


def _installed() -> list[Task[Any]]:
    """The tasks of other packages; one that cannot be loaded is a warning."""
    installed = []
    for name in installed_tasks().keys() - TASKS.keys():
        try:
            installed.append(get_task(name))
        except UserError as error:
            warn(str(error))
    return sorted(installed, key=lambda task: task.name)
