"""``mathpipe dedupe``: a dataset without the problems that stand in it before."""

from __future__ import annotations

import contextlib
import json

import click

from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.generate.curate.deduplication import deduplicate
from mathpipe.pipeline.config.options import where_options
from mathpipe.pipeline.console import note, quiet_option
from mathpipe.pipeline.progress import Progress


@click.command("dedupe")
@click.argument("source")
@click.argument("out")
@where_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@quiet_option
def dedupe(source: str, out: str, workers: int | None, scheduler: str | None, as_json: bool) -> None:
    """Write a new dataset OUT with the first of equal problems of SOURCE, by split (train, valid, test) and row.

    \b
    Example:
      mathpipe dedupe data/integration-bwd data/integration-bwd-distinct
    """
    rows = sum(split.rows for split in read_manifest(source).splits.values())
    note(f"looking for equal problems among {rows:,} rows")
    with contextlib.closing(Progress("dedupe")) as progress:
        done = deduplicate(
            source,
            out,
            workers=workers,
            scheduler=scheduler,
            on_start=progress.start,
            on_shard=progress.add_shard,
            tell=note,
        )
    kept = {name: split.rows for name, split in done.manifest.splits.items()}
    if as_json:
        click.echo(json.dumps({"out": out, "rows": kept, "dropped": done.dropped, "digest": done.manifest.digest}))
        return
    for name, count in kept.items():
        click.echo(f"{name}: {count:,} rows kept, {done.dropped[name]:,} left out")
    click.echo(f"{out}: {sum(kept.values()):,} of {rows:,} rows, each problem once")
