"""``mathpipe push``: upload a dataset to the Hugging Face hub."""

from __future__ import annotations

import click

from mathpipe.pipeline.config.options import external_task_option
from mathpipe.pipeline.config.path_types import LocalPath
from mathpipe.pipeline.console import log, quiet_option


@click.command("push")
@click.argument("directory", type=LocalPath())
@click.argument("repo", metavar="USER/NAME")
@click.option("--private", is_flag=True, help="Make a new repository private.  [default: as your account decides]")
@external_task_option
@quiet_option
def push(directory: str, repo: str, private: bool) -> None:
    """Upload the dataset in DIRECTORY to the Hugging Face hub, as USER/NAME.

    The command is resumable: run it again after an interruption. The card of the dataset is its README.md. It needs an
    account: log in with `hf auth login`, or set HF_TOKEN.

    \b
    Example:
      mathpipe push data/inverse user/inverse-5x5
    """
    from mathpipe.pipeline.hub import push_dataset

    result = push_dataset(directory, repo, private=private or None, log=log)
    rows = sum(split.rows for split in result.manifest.splits.values())
    before = f", {result.present:,} were there before" if result.present else ""
    click.echo(f"{repo}: {result.manifest.task}, {rows:,} examples, {result.transferred:,} shards uploaded{before}")
