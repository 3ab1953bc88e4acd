"""``mathpipe import``: import published data files as a dataset."""

from __future__ import annotations

import contextlib
import json
from typing import Literal

import click

from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.generate.curate.published_import import MAX_LISTED_LINES, SHARD_ROWS, ImportResult, import_dataset
from mathpipe.generate.curate.text_pairs import FOREIGN, NO_PAIR
from mathpipe.generate.dataset_spec import TextFormat
from mathpipe.generate.splits import TEST, TRAIN, VALID
from mathpipe.pipeline.config.counts import format_count, parse_count
from mathpipe.pipeline.config.options import Choice
from mathpipe.pipeline.console import log, quiet_option
from mathpipe.pipeline.progress import Progress


@click.command("import")
@click.option("--task", required=True, help="Task of the problems, such as integration-bwd.")
@click.option("--train", multiple=True, metavar="FILE", help="Text file of the training split; may be repeated.")
@click.option("--valid", multiple=True, metavar="FILE", help="Text file of the validation split; may be repeated.")
@click.option("--test", multiple=True, metavar="FILE", help="Text file of the test split; may be repeated.")
@click.option("--out", required=True, help="Directory or fsspec URL of the dataset.")
@click.option(
    "--format",
    "format_",
    type=Choice(["text", "jsonl"]),
    default="text",
    show_default=True,
    help="problem<TAB>solution on each line, or a JSON object on each line.",
)
@click.option(
    "--columns",
    default=None,
    metavar="NAMES",
    help="Columns of --format jsonl.  [default: problem=problem,solution=solution]",
)
@click.option(
    "--notation",
    type=Choice(["tokens", "infix", "latex"]),
    default="tokens",
    show_default=True,
    help="How expressions are written: as prefix tokens, x*exp(-x^2)/2 or \\frac{x}{2} e^{-x^2}.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Processes that read and verify lines; 0: this one.",
)
@click.option(
    "--max-bad", default=None, metavar="COUNT", help="Fail if more lines than this are rejected.  [default: no limit]"
)
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Verify every solution and reject lines with wrong ones, at tens of thousands per second; `mathpipe verify` can "
    "do it later with several workers.",
)
@click.option("--shard-rows", default=str(SHARD_ROWS), show_default=True, metavar="COUNT", help="Examples per shard.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@quiet_option
def import_files(
    task: str,
    train: tuple[str, ...],
    valid: tuple[str, ...],
    test: tuple[str, ...],
    out: str,
    format_: Literal["text", "jsonl"],
    columns: str | None,
    notation: Literal["tokens", "infix", "latex"],
    workers: int,
    max_bad: str | None,
    check: bool,
    shard_rows: str,
    as_json: bool,
) -> None:
    """Import text or JSON Lines (plain, .gz, .zst or .tar.gz) as a dataset; by default published files of prefix tokens.

    A problem in infix or LaTeX is an integrand or an equation, its solution F(x) or y = F(x). Nothing is evaluated.
    Lines that are not pairs of the task, or whose solution is wrong, are rejected and counted, and the first ones are listed.
    The splits of the files are kept; problems that occur in two splits are counted.

    \b
    Example:
      mathpipe import --task integration-bwd --train prim_bwd.tar.gz --test prim_bwd.tar.gz --out data/published-bwd
      mathpipe import --task integration-bwd --test sheet.jsonl --format jsonl \\
        --columns problem=integrand,solution=integral --notation infix --out data/sheet
    """
    files = {split: paths for split, paths in ((TRAIN, train), (VALID, valid), (TEST, test)) if paths}
    if not files:
        raise UserError("no files are given", expected="--train, --valid or --test FILE", next_step="name at least one")
    text = TextFormat(format=format_, notation=notation, **_columns(columns, format_))
    max_rejected = None if max_bad is None else _count("--max-bad", max_bad, minimum=0)
    rows = _count("--shard-rows", shard_rows, minimum=1)
    with contextlib.closing(Progress("import")) as progress:
        progress.start(None)
        result = import_dataset(
            task,
            files,
            out,
            check=check,
            max_bad=max_rejected,
            shard_rows=rows,
            text=text,
            workers=workers,
            on_rows=progress.advance,
        )
    _print_result(result, task, out, as_json)


def _columns(names: str | None, format_: str) -> dict[str, str]:
    """``problem=a,solution=b`` as a dictionary."""
    if names is None:
        return {}
    if format_ != "jsonl":
        raise UserError("--columns without --format jsonl", expected="--format jsonl", got=f"--format {format_}")
    columns: dict[str, str] = {}
    for part in names.split(","):
        side, equals, column = part.strip().partition("=")
        if side not in ("problem", "solution") or not equals or not column or side in columns:
            suggestion = did_you_mean(side, {"problem", "solution"} - columns.keys())
            raise UserError(
                f"--columns: {part.strip()!r} names no column",
                expected="problem=NAME,solution=NAME",
                got=repr(names),
                next_step=suggestion,
            )
        columns[side] = column
    return columns


def _count(flag: str, text: str, minimum: int) -> int:
    try:
        count = parse_count(text)
    except ValueError as error:
        raise UserError(f"{flag}: {error}") from None
    if count < minimum:
        raise UserError(f"{flag} is too small", expected=f"{minimum} or more", got=text)
    return count


def _print_result(result: ImportResult, task: str, out: str, as_json: bool) -> None:
    splits = result.manifest.splits
    if as_json:
        summary = {
            "out": out,
            "fingerprint": result.manifest.fingerprint,
            "splits": {name: {"rows": split.rows, "bytes": split.bytes} for name, split in splits.items()},
            "bad": sum(result.skipped.values()),
            "left_out": result.skipped,
            "checked": result.num_verified,
            "bad_lines": [{"file": b.file, "line": b.number, "why": b.reason} for b in result.skipped_lines],
            "overlaps": {f"{a}/{b}": count for (a, b), count in result.overlaps.items()},
        }
        click.echo(json.dumps(summary))
        return
    for line in result.skipped_lines:
        log(str(line))
    rejected = sum(result.skipped.values())
    if rejected > MAX_LISTED_LINES:
        log(f"... and {rejected - MAX_LISTED_LINES:,} more lines")
    sizes = ", ".join(f"{name} {format_count(split.rows)}" for name, split in splits.items())
    lines = "1 line" if rejected == 1 else f"{rejected:,} lines"
    reasons = ", ".join(f"{kind} {count:,}" for kind, count in sorted(result.skipped.items()))
    click.echo(f"{out}: {task}, {sizes} examples; {lines} rejected{f': {reasons}' if reasons else ''}")
    if "checked" in result.manifest.spec["problems"]:
        wrong = sum(count for kind, count in result.skipped.items() if kind not in (NO_PAIR, FOREIGN))
        click.echo(f"{result.num_verified:,} answers checked, {wrong:,} of them wrong and rejected")
    else:
        click.echo(f"no answer was checked: run `mathpipe verify {out}`")
    for (a, b), count in result.overlaps.items():
        click.echo(f"{count:,} problems of {b} also occur in {a}")
