"""``mathpipe verify``: verify every file and every solution of a dataset."""

from __future__ import annotations

import contextlib
import json

import click

from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.pipeline.config.options import execution_options, external_task_option
from mathpipe.pipeline.console import EXIT_DAMAGED, log, quiet_option
from mathpipe.pipeline.progress import Progress


@click.command("verify")
@click.argument("directory")
@execution_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@external_task_option
@quiet_option
def verify(directory: str, workers: int | None, scheduler: str | None, as_json: bool) -> None:
    """Verify a dataset: checksums, columns, position and split of every row; recompute every solution.

    Exit code 0: complete and correct; 1: damaged, with a list of the damage; 2: verification was not possible, or for a task
    outside mathpipe that --task does not name, only that of checksums.

    \b
    Example:
      mathpipe verify data/inverse
    """
    manifest = read_manifest(directory)
    rows = sum(split.rows for split in manifest.splits.values())
    with contextlib.closing(Progress("verify")) as progress:
        progress.start(rows)
        verification = verify_dataset(directory, workers, progress.add_shard, scheduler=scheduler, log=log)
    if as_json:
        damage = [{"file": d.file, "what": d.what, "rows": list(d.rows)} for d in verification.damage]
        result = {"directory": directory, "rows": verification.rows, "damage": damage}
        result |= {"unverified": str(verification.missing_task)} if verification.missing_task is not None else {}
        click.echo(json.dumps(result | ({"next": manifest.repair_hint} if damage else {})))
    elif verification.damage:
        for damaged in verification.damage:
            click.echo(str(damaged))
        count = len(verification.damage)
        click.echo(f"{directory}: {count:,} damaged place{'s' * (count != 1)}. Next: {manifest.repair_hint}.")
    elif verification.missing_task is not None:
        click.echo(f"{directory}: every file has its size and checksum; no answer was recomputed")
    else:
        click.echo(f"{directory}: complete and correct, {verification.rows:,} answers recomputed")
    if verification.damage:
        raise SystemExit(EXIT_DAMAGED)
    if verification.missing_task is not None:
        raise verification.missing_task
