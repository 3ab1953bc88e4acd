"""``mathpipe export``: write a split in another format."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.datasets.export_formats import export_arrow, export_text
from mathpipe.datasets.io.atomic_files import open_output
from mathpipe.datasets.rendering.plurals import counted
from mathpipe.pipeline.config.options import external_task_option
from mathpipe.pipeline.config.path_types import Location
from mathpipe.pipeline.console import quiet_option
from mathpipe.pipeline.inputs.encodings import reject_number_encoding
from mathpipe.pipeline.progress import Progress


@click.command("export")
@click.argument("directory", type=Location())
@click.option(
    "--out",
    type=Location(),
    required=True,
    help="File to write; .txt for text in the papers' format, .arrow for Arrow IPC.",
)
@click.option("--split", default="train", show_default=True, help="Split to export.")
@click.option(
    "--input-encoding",
    default=None,
    help="Encoding of the numbers of problems, for text.  [default: P10 for matrices]",
)
@click.option(
    "--output-encoding",
    default=None,
    help="Encoding of the numbers of solutions, for text.  [default: P10 for matrices]",
)
@external_task_option
@quiet_option
def export(directory: str, out: str, split: str, input_encoding: str | None, output_encoding: str | None) -> None:
    """Export a split as text lines (problem<TAB>solution, the papers' format) or as one Arrow IPC file.

    Expressions are written in prefix notation as count|problem<TAB>solution, which `mathpipe import` reads.

    \b
    Example:
      mathpipe export data/inverse --out inverse.txt --input-encoding FP15
      mathpipe export data/integration-bwd --out integrals.txt
      mathpipe export data/inverse --split test --out inverse-test.arrow
    """
    formats = {".txt": export_text, ".arrow": export_arrow}
    export_split = formats.get(Path(out).suffix)
    if export_split is None:
        raise UserError(
            f"{out}: unknown format",
            expected="a file name that ends in .txt or .arrow",
            got=repr(Path(out).suffix),
            next_step=did_you_mean(Path(out).suffix, formats),
        )
    data = open_dataset(directory, split, input_encoding, output_encoding)
    if not data.problem_type.takes_number_encodings:
        reject_number_encoding(directory, "--input-encoding", input_encoding)
        reject_number_encoding(directory, "--output-encoding", output_encoding)
    with contextlib.closing(Progress("export")) as progress, open_output(out) as file:
        progress.start(len(data))
        rows = export_split(data, file, progress.advance)
    click.echo(f"{out}: {counted(rows, 'example')} of {split}")
