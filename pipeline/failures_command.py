"""``mathpipe failures``: look through failed problems, and read published failure files into predictions."""

from __future__ import annotations

import heapq
import operator
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import click

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.storage import Storage
from mathpipe.evaluate.compare import find_evaluations
from mathpipe.evaluate.describe import FAILURES, PREDICTIONS, all_failures
from mathpipe.evaluate.failure_drawing import draw_failures
from mathpipe.evaluate.failures import Failure, read_failures
from mathpipe.evaluate.predictions import predictions_metadata
from mathpipe.evaluate.published import import_published
from mathpipe.pipeline.console import note

_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|!=|<|>|=)\s*(\S+)\s*")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}


@click.command("failures")
@click.argument("dump", type=click.Path())
@click.option("--outcome", default=None, help="Only this outcome, such as malformed.")
@click.option(
    "--where", "conditions", multiple=True, metavar="NAME>VALUE", help="Only where this holds; may be repeated."
)
@click.option("--row", type=int, default=None, help="Only this row.")
@click.option("--sort", default=None, metavar="NAME", help="By this field, measure or covariate.  [default: by row]")
@click.option("--largest", is_flag=True, help="Sort the largest first.")
@click.option("-k", "count", default=5, show_default=True, type=click.IntRange(1), help="How many to show.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON lines.")
@click.option("--task", default=None, help="Of a published .pred file: its task.")
@click.option("--encoding", default=None, help="Of a published .pred file: that of the answers.  [default: found out]")
@click.option("--out", default=None, help="Of a published .pred file: where its predictions go.  [default: beside it]")
def failures(
    dump: str,
    outcome: str | None,
    conditions: tuple[str, ...],
    row: int | None,
    sort: str | None,
    largest: bool,
    count: int,
    as_json: bool,
    task: str | None,
    encoding: str | None,
    out: str | None,
) -> None:
    """Look through failed problems: filter, sort, draw.

    DUMP is a failures.jsonl.zst, a predictions.parquet, or the directory of a run or of an evaluation. A published failure file
    (.pred) is read into predictions, verified anew and told of as any evaluation; name its task.

    \b
    Example:
      mathpipe failures runs/inverse --sort condition_number --where "condition_number<20" -k 3
      mathpipe failures runs/add/evaluation/test/failures.jsonl.zst --outcome malformed
      mathpipe failures eigenvectors.pred --task eigenvectors --out runs/published/evaluation
    """
    if task is not None:
        told = import_published(dump, task, out or f"{dump}.evaluation", encoding)
        click.echo(told.text)
        click.echo(f"a page to read: {told.report}")
        return
    found = _chosen(_stream(dump), outcome, [_condition(text) for text in conditions], row)
    if sort is not None:
        found = iter(_sorted(found, sort, largest, count))
    shown = list(islice(found, count))
    if as_json:
        for failure in shown:
            click.echo(failure.to_json())
        return
    if not shown:
        note("no failure answers to that")
        return
    width = shutil.get_terminal_size((100, 40)).columns
    click.echo(draw_failures(shown, width=width, colour=sys.stdout.isatty()))


def _stream(dump: str) -> Iterator[Failure]:
    """The failures of a file, or of the newest thing in a directory that tells of them."""
    path = Path(dump)
    if path.is_dir():
        directories = find_evaluations(path)
        path = Path(directories[0])
        if len(directories) > 1:
            note(f"showing {path}; others: {', '.join(directories[1:])}")
        path = path / (FAILURES if (path / FAILURES).is_file() else PREDICTIONS)
    if path.suffix == ".pred":
        raise UserError(
            f"{dump} is a published failure file",
            expected="--task with the task it is of",
            next_step=f"`mathpipe failures {dump} --task eigenvectors` verifies it anew",
        )
    if path.suffix != ".parquet":
        return read_failures(path)
    return all_failures(Storage(str(path.parent)), predictions_metadata(path)["task"], path.name)


Condition = tuple[str, Callable[[float, float], bool], float]


def _condition(text: str) -> Condition:
    match = _CONDITION.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        return match[1], _COMPARE[match[2]], float(match[3])
    except ValueError:
        raise UserError(
            f"--where {text!r} cannot be read", expected='NAME>VALUE, such as "condition_number>100"', got=repr(text)
        ) from None


def _chosen(
    found: Iterator[Failure], outcome: str | None, conditions: list[Condition], row: int | None
) -> Iterator[Failure]:
    for failure in found:
        if outcome is not None and failure.outcome != outcome:
            continue
        if row is not None and failure.row != row:
            continue
        if all(_holds(failure, condition) for condition in conditions):
            yield failure


def _holds(failure: Failure, condition: Condition) -> bool:
    name, compare, wanted = condition
    value = failure.value(name)
    if value is not None and not isinstance(value, int | float):
        raise UserError(f"--where: {name} is no number", got=repr(value))
    return value is not None and compare(float(value), wanted)


def _sorted(found: Iterator[Failure], name: str, largest: bool, count: int) -> list[Failure]:
    """The first ``count`` in that order, in the memory of as many; those without a value come last."""
    known, unknown = list[Failure](), list[Failure]()

    def valued() -> Iterator[Failure]:
        for failure in found:
            if failure.value(name) is not None:
                yield failure
            elif len(unknown) < count:
                unknown.append(failure)

    pick = heapq.nlargest if largest else heapq.nsmallest
    known = pick(count, valued(), key=lambda failure: failure.value(name))
    return [*known, *unknown]
