"""``mathpipe show``: what a dataset is, and a few of its problems drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import text_of
from mathpipe.datasets.format.example_formats import AnyRows
from mathpipe.datasets.format.manifest import Manifest, Split
from mathpipe.datasets.format.matrix_columns import Rows
from mathpipe.datasets.format.sequence_columns import SequenceRows
from mathpipe.datasets.rendering.formulas import to_infix, to_latex
from mathpipe.datasets.rendering.matrix_drawing import draw_matrix, side_by_side
from mathpipe.datasets.tokenizers.bit_tokenizer import bits_text
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.pipeline.config.counts import parse_count
from mathpipe.pipeline.inputs.encodings import refuse_encoding


@click.command("show")
@click.argument("directory")
@click.option("--split", default="test", show_default=True, help="Which split to draw problems from.")
@click.option(
    "-k", "count", default=3, show_default=True, type=click.IntRange(0, 1000), help="How many problems to draw."
)
@click.option("--start", default="0", show_default=True, help="First row to draw.")
@click.option("--encoding", default=None, help="Also write the problems as words: P10, P1000, B1999 or FP15.")
@click.option("--latex", is_flag=True, help="Draw expressions as LaTeX.")
@click.option("--words", is_flag=True, help="Also write expressions in prefix, as they are stored.")
@click.option("--json", "as_json", is_flag=True, help="Print spec, sizes and problems as JSON.")
def show(
    directory: str, split: str, count: int, start: str, encoding: str | None, latex: bool, words: bool, as_json: bool
) -> None:
    """Show a dataset: its spec, its sizes, and a few problems drawn as matrices or formulas.

    \b
    Example:
      mathpipe show data/inverse -k 2 --encoding P10
      mathpipe show data/integration-bwd --latex
    """
    data = open_dataset(directory, split, encoding or "P1000", encoding or "P1000")
    if data.kind != "matrices":
        refuse_encoding(directory, "--encoding", encoding)
    if data.kind != "expressions" and (latex or words):
        raise UserError("--latex and --words are for expressions", got=f"{directory}, which holds {data.kind}")
    first = _row(start, len(data))
    rows = list(data.chunks(size=max(count, 1), start=first, stop=first + count)) if count else []
    if as_json:
        click.echo(json.dumps(_as_json(data, rows, encoding, latex)))
        return
    for line in _describe(data.manifest):
        click.echo(line)
    for chunk in rows:
        for i in range(len(chunk)):
            click.echo(f"\n{split} row {chunk.row[i]}")
            if isinstance(chunk, SequenceRows):
                click.echo("\n".join(_formulas(chunk, i, bits=data.kind == "bits", latex=latex, words=words)))
                continue
            click.echo("\n".join(_draw(chunk, i)))
            if encoding is not None:
                for line in _words(data, chunk, i):
                    click.echo(line)


def _row(text: str, rows: int) -> int:
    try:
        row = parse_count(text)
    except ValueError as error:
        raise UserError("--start is no row", expected=f"0 to {rows - 1:,}", got=repr(text)) from error
    if row >= max(rows, 1):
        raise UserError("--start is beyond the split", expected=f"0 to {rows - 1:,}", got=f"{row:,}")
    return row


def _describe(manifest: Manifest) -> Iterator[str]:
    spec = manifest.spec
    size, version = spec["chunk_rows"], spec["version"]
    yield f"task     {spec['task']}, seed {spec['seed']}, chunks of {size:,} examples, generator version {version}"
    yield "spec      " + ", ".join(f"{k} {json.dumps(v)}" for k, v in spec["problems"].items() if v is not None)
    yield f"digest   {manifest.fingerprint[:16]} (spec), {manifest.digest[:16]} (rows)"
    if "deduplicated" in spec:
        yield f"from     dataset {spec['deduplicated'][:16]}, of which the first of equal problems were kept"
    for name, split in manifest.splits.items():
        rejected = ", ".join(f"{reason} {n:,}" for reason, n in split.rejected.items()) or "none"
        yield (
            f"{name:<8} {split.rows:,} rows, {len(split.shards)} shard{'s' * (len(split.shards) != 1)} of up to "
            f"{manifest.shard_rows:,}, {split.bytes / 1e6:,.1f} MB, rejected: {rejected}{_repeats(split)}"
        )
        own = manifest.spec_of(name)["problems"]
        if own != spec["problems"]:
            differs = ", ".join(f"{k} {json.dumps(v)}" for k, v in own.items() if v != spec["problems"].get(k))
            yield f"         drawn with {differs}"


def _repeats(split: Split) -> str:
    counts = [record.repeats for record in split.shards if record.repeats is not None]
    return f", {sum(counts):,} problems repeat one of their chunk" if counts else ""


def _draw(rows: Rows, i: int) -> list[str]:
    chunks = [("problem", draw_matrix(rows.problems[i]))]
    if rows.clean is not None:
        chunks.append(("clean problem", draw_matrix(rows.clean[i])))
    return side_by_side([*chunks, ("solution", draw_matrix(rows.solutions[i]))])


def _formulas(rows: SequenceRows, i: int, *, bits: bool, latex: bool, words: bool) -> Iterator[str]:
    if bits:
        yield f"problem   {bits_text(rows.problems[i])}"
        yield f"solution  {bits_text(rows.solutions[i])}"
        return
    for name, written in (("problem", rows.problems[i]), ("solution", rows.solutions[i])):
        yield f"{name:<9} {formula(written, latex=latex)}"
        if words:
            yield f"{'':<9} {text_of(written)}"
    if rows.columns:
        yield ", ".join(f"{name} {values[i]}" for name, values in rows.columns.items())


def formula(words: bytes, *, latex: bool = False) -> str:
    """An expression as people write it; the words where they make none."""
    return to_latex(words) if latex else to_infix(words)


def _words(data: Dataset, rows: Rows, i: int) -> Iterator[str]:
    one = rows.take([i])  # type: ignore[arg-type]
    for name, tokenizer, matrices in (("problem", data.source, one.problems), ("solution", data.target, one.solutions)):
        assert isinstance(tokenizer, MatrixTokenizer)
        tokens, _ = tokenizer.encode(matrices)
        yield f"{name} in {tokenizer.encoding.name}: {' '.join(tokenizer.to_words(tokens[0]))}"


def _as_json(data: Dataset, chunks: list[AnyRows], encoding: str | None, latex: bool) -> dict[str, object]:
    manifest = data.manifest
    problems = [_problem(data, chunk, i, encoding, latex) for chunk in chunks for i in range(len(chunk))]
    return {
        "spec": manifest.spec,
        "fingerprint": manifest.fingerprint,
        "split_specs": manifest.split_specs,
        "digest": manifest.digest,
        "splits": {
            name: {"rows": s.rows, "bytes": s.bytes, "rejected": s.rejected} for name, s in manifest.splits.items()
        },
        "problems": problems,
    }


def _problem(data: Dataset, rows: AnyRows, i: int, encoding: str | None, latex: bool) -> dict[str, object]:
    if isinstance(rows, SequenceRows) and data.kind == "bits":
        texts = {"problem": bits_text(rows.problems[i]), "solution": bits_text(rows.solutions[i])}
        return {"row": int(rows.row[i]), **texts}
    if isinstance(rows, SequenceRows):
        return {
            "row": int(rows.row[i]),
            "problem": formula(rows.problems[i], latex=latex),
            "solution": formula(rows.solutions[i], latex=latex),
            "problem_words": text_of(rows.problems[i]),
            "solution_words": text_of(rows.solutions[i]),
            **{name: values[i].item() for name, values in rows.columns.items()},
        }
    problem: dict[str, object] = {
        "row": int(rows.row[i]),
        "problem": rows.problems[i].tolist(),
        "solution": rows.solutions[i].tolist(),
    }
    if encoding is not None:
        problem["words"] = list(_words(data, rows, i))
    return problem
