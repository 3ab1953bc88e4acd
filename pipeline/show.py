"""``mathpipe show``: what a dataset is, and a few of its problems drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from mathpipe.datasets.drawing import draw_matrix, side_by_side
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.manifest import Manifest
from mathpipe.datasets.reader import Dataset, open_dataset
from mathpipe.datasets.shards import Rows
from mathpipe.pipeline.counts import parse_count


@click.command("show")
@click.argument("directory")
@click.option("--split", default="test", show_default=True, help="Which split to draw problems from.")
@click.option(
    "-k", "count", default=3, show_default=True, type=click.IntRange(0, 1000), help="How many problems to draw."
)
@click.option("--start", default="0", show_default=True, help="First row to draw.")
@click.option("--encoding", default=None, help="Also write the problems as words: P10, P1000, B1999 or FP15.")
@click.option("--json", "as_json", is_flag=True, help="Print law, sizes and problems as JSON.")
def show(directory: str, split: str, count: int, start: str, encoding: str | None, as_json: bool) -> None:
    """Show a dataset: its law, its sizes, and a few problems drawn as matrices.

    \b
    Example:
      mathpipe show data/inverse -k 2 --encoding P10
    """
    data = open_dataset(directory, split, encoding or "P1000", encoding or "P1000")
    first = _row(start, len(data))
    rows = list(data.chunks(size=max(count, 1), start=first, stop=first + count)) if count else []
    if as_json:
        click.echo(json.dumps(_as_json(data, rows, encoding)))
        return
    for line in _describe(data.manifest):
        click.echo(line)
    for chunk in rows:
        for i in range(len(chunk)):
            click.echo(f"\n{split} row {chunk.row[i]}")
            click.echo("\n".join(_draw(chunk, i)))
            if encoding is not None:
                for line in _words(data, chunk, i):
                    click.echo(line)


def _row(text: str, rows: int) -> int:
    try:
        row = parse_count(text)
    except ValueError as problem:
        raise UserError("--start is no row", expected=f"0 to {rows - 1:,}", got=repr(text)) from problem
    if row >= max(rows, 1):
        raise UserError("--start is beyond the split", expected=f"0 to {rows - 1:,}", got=f"{row:,}")
    return row


def _describe(manifest: Manifest) -> Iterator[str]:
    law = manifest.law
    yield f"task     {law['task']}, seed {law['seed']}, blocks of {law['block_rows']:,} rows, generator version {law['version']}"
    yield "law      " + ", ".join(f"{k} {json.dumps(v)}" for k, v in law["operands"].items() if v is not None)
    yield f"digest   {manifest.law_digest[:16]} (law), {manifest.digest[:16]} (rows)"
    for name, split in manifest.splits.items():
        rejected = ", ".join(f"{reason} {n:,}" for reason, n in split.rejected.items()) or "none"
        yield (
            f"{name:<8} {split.rows:,} rows, {len(split.shards)} shard{'s' * (len(split.shards) != 1)} of up to "
            f"{manifest.shard_rows:,}, {split.bytes / 1e6:,.1f} MB, rejected: {rejected}"
        )
        own = manifest.law_of(name)["operands"]
        if own != law["operands"]:
            differs = ", ".join(f"{k} {json.dumps(v)}" for k, v in own.items() if v != law["operands"].get(k))
            yield f"         drawn with {differs}"


def _draw(rows: Rows, i: int) -> list[str]:
    blocks = [("operand", draw_matrix(rows.operands[i]))]
    if rows.clean is not None:
        blocks.append(("clean operand", draw_matrix(rows.clean[i])))
    return side_by_side([*blocks, ("solution", draw_matrix(rows.solutions[i]))])


def _words(data: Dataset, rows: Rows, i: int) -> Iterator[str]:
    one = rows.take([i])  # type: ignore[arg-type]
    for name, writer, matrices in (("operand", data.source, one.operands), ("solution", data.target, one.solutions)):
        tokens, _ = writer.write(matrices)
        yield f"{name} in {writer.encoding.name}: {' '.join(writer.to_words(tokens[0]))}"


def _as_json(data: Dataset, chunks: list[Rows], encoding: str | None) -> dict[str, object]:
    manifest = data.manifest
    problems = []
    for chunk in chunks:
        for i in range(len(chunk)):
            problem: dict[str, object] = {
                "row": int(chunk.row[i]),
                "operand": chunk.operands[i].tolist(),
                "solution": chunk.solutions[i].tolist(),
            }
            if encoding is not None:
                problem["words"] = list(_words(data, chunk, i))
            problems.append(problem)
    return {
        "law": manifest.law,
        "law_digest": manifest.law_digest,
        "split_laws": manifest.split_laws,
        "digest": manifest.digest,
        "splits": {
            name: {"rows": s.rows, "bytes": s.bytes, "rejected": s.rejected} for name, s in manifest.splits.items()
        },
        "problems": problems,
    }
