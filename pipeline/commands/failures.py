"""``mathpipe failures``: look through failed problems, and read published failure files into predictions."""

from __future__ import annotations

import heapq
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import click

from mathpipe.datasets.errors import UserError, nearest
from mathpipe.evaluate.failures.failure_dump import Failure
from mathpipe.evaluate.failures.failure_rendering import draw_failures
from mathpipe.evaluate.published_predictions import import_published
from mathpipe.pipeline.console import note
from mathpipe.pipeline.inputs.failure_conditions import NAMES, NONE, Condition, condition
from mathpipe.pipeline.inputs.failure_source import FailureSource, find_failures, find_published

_NAMED = 8  # names that are listed where none was found


@click.command("failures")
@click.argument("dump", type=click.Path())
@click.option("--outcome", default=None, help="Only this outcome, such as malformed.")
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="NAME>VALUE",
    help="Only where this holds, such as norm<20, task=add, confused_with!=none; may be repeated.",
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

    DUMP is a failures.jsonl.zst, a predictions.parquet, or the directory of an evaluation or of a run, of which the newest
    evaluation is shown. A published failure file (.pred) is read into predictions, verified anew and told of as any evaluation;
    name its task.

    \b
    Example:
      mathpipe failures runs/inverse --sort condition_number --where "condition_number<20" -k 3
      mathpipe failures runs/inverse --where confused_with!=none
      mathpipe failures runs/add/evaluation/test/failures.jsonl.zst --outcome malformed
      mathpipe failures eigenvectors.pred --task eigenvectors --out runs/published/evaluation
    """
    if task is not None:
        told = import_published(find_published(dump), task, out or f"{dump}.evaluation", encoding)
        click.echo(told.text)
        click.echo(f"a page to read: {told.report}")
        return
    source = find_failures(dump)
    wanted = [condition(text) for text in conditions]
    wanted += [Condition("outcome", "=", outcome)] if outcome is not None else []
    wanted += [Condition("row", "=", row)] if row is not None else []
    _check_outcomes(wanted, source.outcomes())
    found: Iterable[Failure] = (f for f in source.failures() if all(asked.holds(f) for asked in wanted))
    if sort is not None:
        found = _sorted(found, sort, largest, count)
    shown = list(islice(found, count))
    if not shown:
        note(_none_found(source, wanted) if row is None else source.verdict(row))
        return
    if as_json:
        for failure in shown:
            click.echo(failure.to_json())
        return
    width = shutil.get_terminal_size((100, 40)).columns
    click.echo(draw_failures(shown, width=width, colour=sys.stdout.isatty()))


def _check_outcomes(conditions: list[Condition], known: list[str]) -> None:
    """UserError for an outcome that there is not."""
    for asked in conditions:
        if asked.name == "outcome" and isinstance(asked.wanted, str) and asked.wanted.casefold() not in known:
            near = nearest(asked.wanted, known)
            raise UserError(
                f"there is no outcome {asked.wanted!r}",
                expected=f"one of {', '.join(known)}",
                next_step=near and f"did you mean {near}?",
            )


def _none_found(source: FailureSource, conditions: list[Condition]) -> str:
    """Of each name asked for those that failures have, the most frequent first."""
    told = "no failure answers to that"
    for name in dict.fromkeys(asked.name for asked in conditions if asked.name in NAMES):
        often = Counter(failure.value(name) or NONE for failure in source.failures())
        told += f"; {name}: {', '.join(f'{value} ({count:,})' for value, count in often.most_common(_NAMED)) or NONE}"
    return told


def _sorted(found: Iterable[Failure], name: str, largest: bool, count: int) -> list[Failure]:
    """The first ``count`` in that order, in the memory of as many; those without a value come last."""
    known, unknown = list[Failure](), list[Failure]()

    def valued() -> Iterator[Failure]:
        for failure in found:
            value = failure.value(name)
            if value is not None and not isinstance(value, int | float | str):
                raise UserError(f"--sort: {name} is neither number nor text")
            if value is not None:
                yield failure
            elif len(unknown) < count:
                unknown.append(failure)

    pick = heapq.nlargest if largest else heapq.nsmallest
    known = pick(count, valued(), key=lambda failure: failure.value(name))
    return [*known, *unknown]
