"""``mathpipe import``: import data files as a dataset.

``generate/curate/import_batches.py`` decides which records are accepted, by the part of their problem type.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, get_args

import click

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.locations import local_path
from mathpipe.datasets.io.table_files import find_splits
from mathpipe.datasets.rendering.plurals import counted
from mathpipe.generate.curate.dataset_import import MAX_LISTED_LINES, SHARD_ROWS, ImportResult, import_dataset
from mathpipe.generate.curate.import_parts.import_registry import IMPORT_PARTS, import_part
from mathpipe.generate.curate.import_sources import find_files, format_of
from mathpipe.generate.dataset_spec import SourceFormat
from mathpipe.generate.layout import LARGEST_COUNT
from mathpipe.generate.splits import TEST, TRAIN, VALID
from mathpipe.generate.tasks.task_registry import UNVERIFIED_TASKS, load_task
from mathpipe.pipeline.config.columns import parse_columns
from mathpipe.pipeline.config.counts import CountRange, format_count
from mathpipe.pipeline.config.options import NO_TASK, Choice, TaskCommand, configured_task
from mathpipe.pipeline.config.path_types import Location
from mathpipe.pipeline.console import log, quiet_option
from mathpipe.pipeline.progress import Progress

_FORMATS = get_args(SourceFormat.model_fields["format"].annotation)
_NOTATIONS = get_args(SourceFormat.model_fields["notation"].annotation)


@click.command("import", cls=TaskCommand)
@click.option(
    "--task",
    required=True,
    help="Task of the problems, such as inverse or ./euclid.py, whose answers are verified; none: any problems, with --type.",
)
@click.option("--type", "problem_type", type=Choice(list(IMPORT_PARTS)), help="What the problems are, for --task none.")
@click.option(
    "--train",
    type=Location(),
    multiple=True,
    metavar="FILE",
    help="File or directory of the training split; may be repeated.",
)
@click.option(
    "--valid",
    type=Location(),
    multiple=True,
    metavar="FILE",
    help="File or directory of the validation split; may be repeated.",
)
@click.option(
    "--test",
    type=Location(),
    multiple=True,
    metavar="FILE",
    help="File or directory of the test split; may be repeated.",
)
@click.option(
    "--dataset",
    type=Location(),
    metavar="DIR",
    help="Directory of all splits, as Hugging Face's datasets or mathpipe write it.",
)
@click.option("--out", type=Location(), required=True, help="Directory or fsspec URL of the dataset.")
@click.option(
    "--format",
    "format_",
    type=Choice(_FORMATS),
    default=None,
    help="problem<TAB>solution on each line, a JSON object on each line, CSV with a header, or tables.  "
    "[default: by the extension, else text]",
)
@click.option(
    "--columns",
    default=None,
    metavar="NAMES",
    help="Columns of the files, if not text.  [default: problem=problem,solution=solution]",
)
@click.option(
    "--notation",
    type=Choice(_NOTATIONS),
    default=None,
    help="Expressions: tokens, infix or latex; matrices: lists such as [[1, 1/3], [2.5, 0]], latex or tokens; sequences: tokens "
    "or lists; integers: lists or tokens.  [default: lists for matrices and integers, else tokens]",
)
@click.option(
    "--alphabet",
    default=None,
    metavar="TOKENS",
    help='Tokens of sequences, such as "a b c", or @FILE.  [default: the task\'s, or those of the files]',
)
@click.option(
    "--problem-layout",
    default=None,
    metavar="LAYOUT",
    help='Layout of problems of integers without a task, such as "(int, int)".  [default: lists as deep as the first values]',
)
@click.option("--solution-layout", default=None, metavar="LAYOUT", help='Layout of their solutions, such as "[int]".')
@click.option(
    "--input-encoding",
    default=None,
    help="Number encoding of problems as tokens.  [default: P10 for matrices, base1000 for integers]",
)
@click.option("--output-encoding", default=None, help="Number encoding of solutions as tokens, with the same default.")
@click.option(
    "--workers",
    type=CountRange(min=0),
    default=0,
    show_default=True,
    help="Processes that read and verify lines; 0: this one.",
)
@click.option(
    "--max-bad",
    type=CountRange(min=0),
    default=None,
    help="Fail if more lines than this are rejected.  [default: no limit]",
)
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Verify every solution and reject lines with wrong ones, at tens of thousands per second; `mathpipe verify` can "
    "do it later with several workers.",
)
@click.option(
    "--shard-rows", type=CountRange(1, LARGEST_COUNT), default=SHARD_ROWS, show_default=True, help="Examples per shard."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@quiet_option
def import_files(
    task: str,
    problem_type: str | None,
    train: tuple[str, ...],
    valid: tuple[str, ...],
    test: tuple[str, ...],
    dataset: str | None,
    out: str,
    format_: str | None,
    columns: str | None,
    notation: str | None,
    alphabet: str | None,
    problem_layout: str | None,
    solution_layout: str | None,
    input_encoding: str | None,
    output_encoding: str | None,
    workers: int,
    max_bad: int | None,
    check: bool,
    shard_rows: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Import text, JSON Lines, CSV, Parquet, Arrow or a Hugging Face dataset directory; text may be .gz, .zst or .tar.gz.

    Lines that are no examples of the task, or whose solution is wrong, are rejected and counted, and the first ones are listed.
    Nothing is evaluated. Options of the task, such as --modulus, say which problems are its own.
    The splits of the files are kept, and problems that occur in two splits are counted. Without validation
    files, 1/16 of the training examples become the validation split, by the hash of their problems. See docs/guides/own-data.md.

    \b
    Example:
      mathpipe import --task inverse --train inverses.jsonl --out data/own-inverses
      mathpipe import --task integration-bwd --test sheet.csv --notation infix \\
        --columns problem=integrand,solution=integral --out data/sheet
      mathpipe import --task modular-add --modulus 59 --train sums.jsonl --out data/own-sums
      mathpipe import --task none --type sequences --dataset hub/dyck --out data/dyck
      mathpipe import --task integration-bwd --train prim_bwd.tar.gz --test prim_bwd.tar.gz --out data/published-bwd
    """
    task = _task_name(task, problem_type)
    options = dict(configured_task(task, flags).chosen_options)
    files = find_files(_files(train, valid, test, dataset))
    encodings = _encodings(task, notation, input_encoding, output_encoding)
    source = SourceFormat.model_validate(
        {
            "format": format_ or format_of(files),
            "notation": notation or import_part(load_task(task)).notations[0],
            "columns": parse_columns(columns, ("problem", "solution")),
            "encodings": encodings,
            "layouts": (problem_layout, solution_layout),
        }
    )
    with contextlib.closing(Progress("import")) as progress:
        progress.start(None)
        result = import_dataset(
            task,
            files,
            out,
            check=check,
            max_bad=max_bad,
            shard_rows=shard_rows,
            source=source,
            alphabet=None if alphabet is None else _tokens(alphabet),
            workers=workers,
            options=options,
            on_rows=progress.advance,
        )
    _print_result(result, task, out, as_json)


def _task_name(task: str, problem_type: str | None) -> str:
    """The task of the examples; without one that of their problem type, which compares answers with the stored ones."""
    if task == NO_TASK:
        if problem_type is None:
            raise UserError("--task none needs --type", expected=f"--type {' or '.join(IMPORT_PARTS)}")
        return UNVERIFIED_TASKS[problem_type].name
    own_type = load_task(task).problem_type
    if problem_type not in (None, own_type):
        raise UserError(
            f"problems of {task} are {own_type}", expected="no --type, or --task none", got=f"--type {problem_type}"
        )
    return task


def _files(
    train: tuple[str, ...], valid: tuple[str, ...], test: tuple[str, ...], dataset: str | None
) -> dict[str, tuple[str, ...]]:
    """split -> paths."""
    files = {split: paths for split, paths in ((TRAIN, train), (VALID, valid), (TEST, test)) if paths}
    if dataset is None:
        if not files:
            raise UserError(
                "no files are given",
                expected="--train, --valid or --test FILE, or --dataset DIR",
                next_step="name at least one",
            )
        return files
    if files:
        raise UserError("--dataset names all splits", expected="either --dataset, or --train, --valid and --test")
    splits, others = find_splits(dataset)
    if others:
        log(f"{dataset}: not imported, because they are no train, valid or test split: {', '.join(others)}")
    return {split: tuple(paths) for split, paths in splits.items()}


def _encodings(task: str, notation: str | None, problems: str | None, solutions: str | None) -> tuple[str, str] | None:
    default = import_part(load_task(task)).default_encoding
    if default is not None and notation == "tokens":
        return problems or default, solutions or default
    if problems or solutions:
        raise UserError(
            "number encodings apply to matrices and integers written as tokens",
            expected="--notation tokens, and a task of matrices or integers",
            next_step="leave --input-encoding and --output-encoding out",
        )
    return None


def _tokens(alphabet: str) -> tuple[str, ...]:
    """The tokens of ``--alphabet``: divided at spaces, or else the characters; ``@FILE``: those of a file, divided at spaces."""
    if alphabet.startswith("@"):
        try:
            return tuple(local_path(alphabet[1:], "--alphabet").read_text(encoding="utf-8-sig").split())
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"--alphabet {alphabet} cannot be read", expected="@FILE of tokens", got=str(error)
            ) from error
    parts = alphabet.split()
    return tuple(parts) if len(parts) != 1 else tuple(parts[0])


def _print_result(result: ImportResult, task: str, out: str, as_json: bool) -> None:
    splits, problems = result.manifest.splits, result.manifest.spec["problems"]
    if as_json:
        click.echo(json.dumps(_summary(result, out)))
        return
    for line in result.skipped_lines:
        log(str(line))
    rejected = sum(result.skipped.values())
    if rejected > MAX_LISTED_LINES:
        log(f"... and {rejected - MAX_LISTED_LINES:,} more lines")
    sizes = ", ".join(f"{name} {format_count(split.rows)}" for name, split in splits.items())
    lines = counted(rejected, "line")
    reasons = ", ".join(f"{kind} {count:,}" for kind, count in sorted(result.skipped.items()))
    click.echo(f"{out}: {task}, {sizes} examples; {lines} rejected{f': {reasons}' if reasons else ''}")
    if problems["valid_cut"]:
        click.echo(f"valid: {splits[VALID].rows:,} training examples, by the hash of their problems")
    if problems["checked"]:
        wrong = sum(count for kind, count in result.skipped.items() if kind.startswith("solution not correct"))
        click.echo(f"{counted(result.num_verified, 'answer')} checked, {wrong:,} of them wrong and rejected")
    elif load_task(task).verifies:
        click.echo(f"no answer was checked: run `mathpipe verify {out}`")
    else:
        click.echo("no answer can be checked without a task; evaluation compares answers with the stored ones")
    for (a, b), count in result.overlaps.items():
        click.echo(f"{count:,} problems of {b} also occur in {a}")


def _summary(result: ImportResult, out: str) -> dict[str, Any]:
    return {
        "out": out,
        "fingerprint": result.manifest.fingerprint,
        "splits": {name: {"rows": split.rows, "bytes": split.bytes} for name, split in result.manifest.splits.items()},
        "valid_cut": result.manifest.spec["problems"]["valid_cut"],
        "bad": sum(result.skipped.values()),
        "left_out": result.skipped,
        "checked": result.num_verified,
        "bad_lines": [
            {"file": b.file, "line": b.number, "kind": b.kind, "why": b.reason} for b in result.skipped_lines
        ],
        "overlaps": {f"{a}/{b}": count for (a, b), count in result.overlaps.items()},
    }
