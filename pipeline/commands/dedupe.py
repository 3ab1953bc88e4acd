"""``mathpipe dedupe``: copy a dataset without duplicate problems."""

from __future__ import annotations

import contextlib
import json

import click

from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.datasets.rendering.plurals import counted
from mathpipe.generate.curate.deduplication import deduplicate
from mathpipe.pipeline.config.options import execution_options, external_task_option
from mathpipe.pipeline.config.path_types import Location
from mathpipe.pipeline.console import log, quiet_option
from mathpipe.pipeline.progress import Progress


@click.command("dedupe")
@click.argument("source", type=Location())
@click.argument("out", type=Location())
@execution_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@external_task_option
@quiet_option
def dedupe(source: str, out: str, workers: int | None, scheduler: str | None, as_json: bool) -> None:
    """Write a new dataset OUT with the first of each set of equal problems of SOURCE.

    Splits are ordered train, valid, test, and examples within a split by row.

    \b
    Example:
      mathpipe dedupe data/integration-bwd data/integration-bwd-distinct
    """
    rows = sum(split.rows for split in read_manifest(source).splits.values())
    with (
        contextlib.closing(Progress("search for equal problems")) as search,
        contextlib.closing(Progress("dedupe")) as progress,
    ):

        def start_writing(total: int, num_written: int) -> None:
            search.close()
            progress.start(total, num_written)

        search.start(rows)
        result = deduplicate(
            source,
            out,
            workers=workers,
            scheduler=scheduler,
            on_hashed=search.advance,
            on_start=start_writing,
            on_shard=progress.add_shard,
            log=log,
        )
    remaining = {name: split.rows for name, split in result.manifest.splits.items()}
    if as_json:
        click.echo(
            json.dumps({"out": out, "rows": remaining, "dropped": result.dropped, "digest": result.manifest.digest})
        )
        return
    for name, count in remaining.items():
        click.echo(f"{name}: {counted(count, 'example')} kept, {counted(result.dropped[name], 'duplicate')} dropped")
    click.echo(f"{out}: {sum(remaining.values()):,} of {rows:,} examples, each problem once")
