"""``mathpipe verify``: examine a dataset, every file and every answer."""

from __future__ import annotations

import contextlib
import json

import click

from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.generate.curate.verification import verify_dataset
from mathpipe.pipeline.config.options import where_options
from mathpipe.pipeline.console import WRONG, note, quiet_option
from mathpipe.pipeline.progress import Progress


@click.command("verify")
@click.argument("directory")
@where_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@quiet_option
def verify(directory: str, workers: int | None, scheduler: str | None, as_json: bool) -> None:
    """Check a dataset: checksums, columns, every row's place and split, every answer computed again.

    Exit code 0: whole and right; 1: damage, listed; 2: it cannot be told.

    \b
    Example:
      mathpipe verify data/inverse
    """
    manifest = read_manifest(directory)
    rows = sum(split.rows for split in manifest.splits.values())
    with contextlib.closing(Progress("verify")) as progress:
        progress.start(rows)
        verdict = verify_dataset(directory, workers, progress.add_shard, scheduler=scheduler, tell=note)
    if as_json:
        damage = [{"file": d.file, "what": d.what, "rows": list(d.rows)} for d in verdict.damage]
        told = {"directory": directory, "rows": verdict.rows, "damage": damage}
        click.echo(json.dumps(told | ({"next": manifest.mending} if damage else {})))
    elif verdict.damage:
        for damaged in verdict.damage:
            click.echo(str(damaged))
        count = len(verdict.damage)
        places = "1 damaged place" if count == 1 else f"{count} damaged places"
        click.echo(f"{directory}: {places}. Next: {manifest.mending}.")
    else:
        click.echo(f"{directory}: whole and right, {verdict.rows:,} answers computed again")
    if verdict.damage:
        raise SystemExit(WRONG)
