"""``mathpipe import``: published data files as a dataset."""

from __future__ import annotations

import contextlib
import json

import click

from mathpipe.datasets.errors import UserError
from mathpipe.generate.curate.published_import import FOREIGN, LISTED, NO_PAIR, SHARD_ROWS, Imported, import_dataset
from mathpipe.generate.splits import TEST, TRAIN, VALID
from mathpipe.pipeline.config.counts import parse_count, show_count
from mathpipe.pipeline.console import note, quiet_option
from mathpipe.pipeline.progress import Progress


@click.command("import")
@click.option("--task", required=True, help="Which task the problems are of, such as integration-bwd.")
@click.option("--train", multiple=True, metavar="FILE", help="Text of the training split; may be repeated.")
@click.option("--valid", multiple=True, metavar="FILE", help="Text of the validation split.")
@click.option("--test", multiple=True, metavar="FILE", help="Text of the test split.")
@click.option("--out", required=True, help="Directory or fsspec URL of the dataset.")
@click.option("--max-bad", default=None, metavar="COUNT", help="Refuse when more lines than these are left out.")
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Judge every answer and leave out what is not right: tens of thousands a second; `mathpipe verify` later has workers.",
)
@click.option("--shard-rows", default=str(SHARD_ROWS), show_default=True, metavar="COUNT", help="Rows a shard.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@quiet_option
def import_files(
    task: str,
    train: tuple[str, ...],
    valid: tuple[str, ...],
    test: tuple[str, ...],
    out: str,
    max_bad: str | None,
    check: bool,
    shard_rows: str,
    as_json: bool,
) -> None:
    """Read published text (count|problem<TAB>solution in prefix; .gz, .zst, .tar.gz as they are) into a dataset.

    Each line and its answer are checked; those that are no pairs of the task, or not right, are left out, counted, and the first
    of them named. The files' splits are kept, and problems that stand in two of them are counted.

    \b
    Example:
      mathpipe import --task integration-bwd --train prim_bwd.tar.gz --test prim_bwd.tar.gz --out data/published-bwd
    """
    files = {split: paths for split, paths in ((TRAIN, train), (VALID, valid), (TEST, test)) if paths}
    if not files:
        raise UserError("no files are named", expected="--train, --valid or --test FILE", next_step="name at least one")
    most = None if max_bad is None else _count("--max-bad", max_bad, least=0)
    rows = _count("--shard-rows", shard_rows, least=1)
    with contextlib.closing(Progress("import")) as progress:
        progress.start(None)
        done = import_dataset(task, files, out, check=check, max_bad=most, shard_rows=rows, on_rows=progress.advance)
    _tell(done, task, out, as_json)


def _count(flag: str, text: str, least: int) -> int:
    try:
        count = parse_count(text)
    except ValueError as error:
        raise UserError(f"{flag}: {error}") from None
    if count < least:
        raise UserError(f"{flag} is too small", expected=f"{least} or more", got=text)
    return count


def _tell(done: Imported, task: str, out: str, as_json: bool) -> None:
    splits = done.manifest.splits
    if as_json:
        told = {
            "out": out,
            "fingerprint": done.manifest.fingerprint,
            "splits": {name: {"rows": split.rows, "bytes": split.bytes} for name, split in splits.items()},
            "bad": sum(done.left_out.values()),
            "left_out": done.left_out,
            "checked": done.checked,
            "bad_lines": [{"file": b.file, "line": b.number, "why": b.why} for b in done.bad_lines],
            "overlaps": {f"{a}/{b}": count for (a, b), count in done.overlaps.items()},
        }
        click.echo(json.dumps(told))
        return
    for line in done.bad_lines:
        note(str(line))
    bad = sum(done.left_out.values())
    if bad > LISTED:
        note(f"... and {bad - LISTED:,} more lines")
    sizes = ", ".join(f"{name} {show_count(split.rows)}" for name, split in splits.items())
    lines = "1 line" if bad == 1 else f"{bad:,} lines"
    why = ", ".join(f"{kind} {count:,}" for kind, count in sorted(done.left_out.items()))
    click.echo(f"{out}: {task}, {sizes} rows; {lines} left out{f': {why}' if why else ''}")
    if "checked" in done.manifest.spec["problems"]:
        wrong = sum(count for kind, count in done.left_out.items() if kind not in (NO_PAIR, FOREIGN))
        click.echo(f"{done.checked:,} answers checked, {wrong:,} of them not right and left out")
    else:
        click.echo(f"no answer was checked: `mathpipe verify {out}` does so")
    for (a, b), count in done.overlaps.items():
        click.echo(f"{count:,} problems of {b} stand in {a} as well")
