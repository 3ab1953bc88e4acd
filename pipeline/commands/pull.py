"""``mathpipe pull``: download a dataset from the Hugging Face hub."""

from __future__ import annotations

import click

from mathpipe.pipeline.config.options import external_task_option
from mathpipe.pipeline.config.path_types import LocalPath
from mathpipe.pipeline.console import log, quiet_option


@click.command("pull")
@click.argument("repo", metavar="USER/NAME")
@click.argument("directory", type=LocalPath())
@click.option("--revision", default=None, help="Branch, tag or commit of the repository.  [default: main]")
@external_task_option
@quiet_option
def pull(repo: str, directory: str, revision: str | None) -> None:
    """Download the dataset USER/NAME from the Hugging Face hub into DIRECTORY.

    The command is resumable: run it again after an interruption. Every file is compared with its checksum; `mathpipe verify`
    also verifies every solution.

    \b
    Example:
      mathpipe pull user/inverse-5x5 data/inverse
    """
    from mathpipe.pipeline.hub import pull_dataset

    result = pull_dataset(repo, directory, revision=revision, log=log)
    rows = sum(split.rows for split in result.manifest.splits.values())
    before = f", {result.present:,} were there before" if result.present else ""
    click.echo(
        f"{directory}: {result.manifest.task}, {rows:,} examples, {result.transferred:,} shards downloaded{before}"
    )
