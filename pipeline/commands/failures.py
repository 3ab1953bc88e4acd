"""``mathpipe failures``: browse failed problems, and import published failure files as predictions."""

from __future__ import annotations

import heapq
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import click

from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.evaluate.failures.failure import Failure
from mathpipe.evaluate.published_predictions import import_published
from mathpipe.evaluate.report.failure_rendering import render_failures
from mathpipe.generate.tasks.external.task_source import is_reference
from mathpipe.generate.tasks.task_registry import load_task
from mathpipe.pipeline.config.counts import CountRange
from mathpipe.pipeline.config.path_types import LocalPath, Location
from mathpipe.pipeline.console import log
from mathpipe.pipeline.inputs.failure_conditions import CATEGORICAL_FIELDS, NONE, Condition, parse_condition
from mathpipe.pipeline.inputs.failure_source import FailureSource, find_failure_source, find_published_file

_MAX_LISTED = 8  # values that are listed when no failure matches


@click.command("failures")
@click.argument("dump", type=LocalPath())
@click.option("--outcome", default=None, help="Only failures with this outcome, such as malformed.")
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="NAME>VALUE",
    help="Only failures that match, such as norm<20, task=add, confused_with!=none; may be repeated.",
)
@click.option("--row", type=CountRange(min=0), default=None, help="Only the failure of this row of the split.")
@click.option(
    "--sort", default=None, metavar="NAME", help="Sort by this field, error measure or covariate.  [default: row]"
)
@click.option("--largest", is_flag=True, help="Sort in descending order.")
@click.option("-k", "count", default=5, show_default=True, type=CountRange(1), help="Number of failures to show.")
@click.option("--json", "as_json", is_flag=True, help="Print the failures as JSON lines.")
@click.option(
    "--task",
    default=None,
    help="For a published .pred file: its task; or a task outside mathpipe, such as ./euclid.py or my.module:Euclid.",
)
@click.option(
    "--encoding", default=None, help="For a published .pred file: number encoding of the answers.  [default: detected]"
)
@click.option(
    "--out",
    type=Location(),
    default=None,
    help="For a published .pred file: directory for its predictions.  [default: beside the file]",
)
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
    """Browse failed problems: filter, sort and display them.

    DUMP is a failures.jsonl.zst, a predictions.parquet, or the directory of an evaluation or a run (its latest evaluation).
    A published failure file (.pred) needs --task: its predictions are verified again and reported like any evaluation.

    \b
    Example:
      mathpipe failures runs/inverse --sort condition_number --where "condition_number<20" -k 3
      mathpipe failures runs/inverse --where confused_with!=none
      mathpipe failures runs/add/evaluation/test/failures.jsonl.zst --outcome malformed
      mathpipe failures eigenvectors.pred --task eigenvectors --out runs/published/evaluation
    """
    if task is not None and is_reference(task):
        load_task(task)
    elif task is not None:
        summary = import_published(find_published_file(dump), task, out or f"{dump}.evaluation", encoding, log=log)
        click.echo(summary.text)
        click.echo(f"report: {summary.report}")
        return
    source = find_failure_source(dump)
    filters = [parse_condition(text) for text in conditions]
    filters += [Condition("outcome", "=", outcome)] if outcome is not None else []
    filters += [Condition("row", "=", row)] if row is not None else []
    _check_outcomes(filters, source.outcomes())
    matching: Iterable[Failure] = (f for f in source.failures() if all(condition.matches(f) for condition in filters))
    if sort is not None:
        matching = _sort(matching, sort, largest, count)
    shown = list(islice(matching, count))
    if not shown:
        log(_describe_no_match(source, filters) if row is None else source.explain_row(row))
        return
    if as_json:
        for failure in shown:
            click.echo(failure.to_json())
        return
    width = shutil.get_terminal_size((100, 40)).columns
    click.echo(render_failures(shown, width=width, colour=sys.stdout.isatty()))


def _check_outcomes(conditions: list[Condition], outcomes: list[str]) -> None:
    """UserError for an unknown outcome."""
    for condition in conditions:
        name = condition.expected
        if condition.name == "outcome" and isinstance(name, str) and name.casefold() not in outcomes:
            raise UserError(
                f"there is no outcome {name!r}",
                expected=f"one of {', '.join(outcomes)}",
                next_step=did_you_mean(name, outcomes),
            )


def _describe_no_match(source: FailureSource, conditions: list[Condition]) -> str:
    """Say that no failure matches, and list the most frequent values of each field in the conditions."""
    text = "no failure matches"
    for name in dict.fromkeys(c.name for c in conditions if c.name in CATEGORICAL_FIELDS):
        frequencies = Counter(failure.value(name) or NONE for failure in source.failures())
        text += f"; {name}: {', '.join(f'{value} ({count:,})' for value, count in frequencies.most_common(_MAX_LISTED)) or NONE}"
    return text


def _sort(failures: Iterable[Failure], name: str, largest: bool, count: int) -> list[Failure]:
    """The first ``count`` failures in order, in memory proportional to ``count``; failures without a value come last."""
    without_value = list[Failure]()

    def with_value() -> Iterator[Failure]:
        for failure in failures:
            value = failure.value(name)
            if value is not None and not isinstance(value, int | float | str):
                raise UserError(f"--sort: {name} is neither number nor text")
            if value is not None:
                yield failure
            elif len(without_value) < count:
                without_value.append(failure)

    select = heapq.nlargest if largest else heapq.nsmallest
    return [*select(count, with_value(), key=lambda failure: failure.value(name)), *without_value]
