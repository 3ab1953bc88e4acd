"""``mathpipe show``: show a dataset and a few of its examples."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import ids_to_text
from mathpipe.datasets.format.example_formats import Examples
from mathpipe.datasets.format.manifest import Manifest, Split
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.format.sequence_columns import SequenceExamples
from mathpipe.datasets.rendering.formulas import to_infix, to_latex
from mathpipe.datasets.rendering.matrix_drawing import render_matrix, side_by_side
from mathpipe.datasets.tokenizers.bit_tokenizer import bits_to_text
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.pipeline.config.counts import parse_count
from mathpipe.pipeline.inputs.encodings import reject_number_encoding


@click.command("show")
@click.argument("directory")
@click.option("--split", default="test", show_default=True, help="Split to show examples of.")
@click.option(
    "-k", "count", default=3, show_default=True, type=click.IntRange(0, 1000), help="Number of examples to show."
)
@click.option("--start", default="0", show_default=True, help="First row to show.")
@click.option(
    "--encoding", default=None, help="Also print matrices as tokens of this number encoding: P10, P1000, B1999 or FP15."
)
@click.option("--latex", is_flag=True, help="Print expressions as LaTeX.")
@click.option("--tokens", is_flag=True, help="Also print expressions as the prefix tokens that are stored.")
@click.option("--json", "as_json", is_flag=True, help="Print spec, sizes and examples as JSON.")
def show(
    directory: str, split: str, count: int, start: str, encoding: str | None, latex: bool, tokens: bool, as_json: bool
) -> None:
    """Show a dataset: its spec, its sizes, and a few examples as matrices or formulas.

    \b
    Example:
      mathpipe show data/inverse -k 2 --encoding P10
      mathpipe show data/integration-bwd --latex
    """
    data = open_dataset(directory, split, encoding or "P1000", encoding or "P1000")
    if data.problem_type != "matrices":
        reject_number_encoding(directory, "--encoding", encoding)
    if data.problem_type != "expressions" and (latex or tokens):
        raise UserError(
            "--latex and --tokens are for expressions only", got=f"{directory}, which holds {data.problem_type}"
        )
    start_row = _parse_row(start, len(data))
    rows = list(data.chunks(size=max(count, 1), start=start_row, stop=start_row + count)) if count else []
    if as_json:
        click.echo(json.dumps(_as_json(data, rows, encoding, latex)))
        return
    for line in _describe(data.manifest):
        click.echo(line)
    for chunk in rows:
        for i in range(len(chunk)):
            click.echo(f"\n{split} row {chunk.row[i]}")
            if isinstance(chunk, SequenceExamples):
                click.echo(
                    "\n".join(_expression_lines(chunk, i, bits=data.problem_type == "bits", latex=latex, tokens=tokens))
                )
                continue
            click.echo("\n".join(_matrix_lines(chunk, i)))
            if encoding is not None:
                for line in _token_lines(data, chunk, i):
                    click.echo(line)


def _parse_row(text: str, rows: int) -> int:
    try:
        row = parse_count(text)
    except ValueError as error:
        raise UserError("--start is not a row", expected=f"0 to {rows - 1:,}", got=repr(text)) from error
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
        yield f"from     dataset {spec['deduplicated'][:16]}, without its duplicate problems"
    for name, split in manifest.splits.items():
        rejected = ", ".join(f"{reason} {n:,}" for reason, n in split.rejected.items()) or "none"
        yield (
            f"{name:<8} {split.rows:,} examples, {len(split.shards)} shard{'s' * (len(split.shards) != 1)} of up to "
            f"{manifest.shard_rows:,}, {split.bytes / 1e6:,.1f} MB, rejected: {rejected}{_repeats(split)}"
        )
        split_spec = manifest.spec_of(name)["problems"]
        if split_spec != spec["problems"]:
            differences = ", ".join(
                f"{k} {json.dumps(v)}" for k, v in split_spec.items() if v != spec["problems"].get(k)
            )
            yield f"         sampled with {differences}"


def _repeats(split: Split) -> str:
    counts = [record.repeats for record in split.shards if record.repeats is not None]
    return f", {sum(counts):,} problems repeat another of their chunk" if counts else ""


def _matrix_lines(rows: MatrixExamples, i: int) -> list[str]:
    matrices = [("problem", render_matrix(rows.problems[i]))]
    if rows.clean is not None:
        matrices.append(("clean problem", render_matrix(rows.clean[i])))
    return side_by_side([*matrices, ("solution", render_matrix(rows.solutions[i]))])


def _expression_lines(rows: SequenceExamples, i: int, *, bits: bool, latex: bool, tokens: bool) -> Iterator[str]:
    if bits:
        yield f"problem   {bits_to_text(rows.problems[i])}"
        yield f"solution  {bits_to_text(rows.solutions[i])}"
        return
    for name, expression in (("problem", rows.problems[i]), ("solution", rows.solutions[i])):
        yield f"{name:<9} {format_expression(expression, latex=latex)}"
        if tokens:
            yield f"{'':<9} {ids_to_text(expression)}"
    if rows.columns:
        yield ", ".join(f"{name} {values[i]}" for name, values in rows.columns.items())


def format_expression(tokens: bytes, *, latex: bool = False) -> str:
    """An expression in infix notation or LaTeX; its tokens if they are malformed."""
    return to_latex(tokens) if latex else to_infix(tokens)


def _token_lines(data: Dataset, rows: MatrixExamples, i: int) -> Iterator[str]:
    example = rows.take([i])  # type: ignore[arg-type]
    for name, tokenizer, matrices in (
        ("problem", data.source, example.problems),
        ("solution", data.target, example.solutions),
    ):
        assert isinstance(tokenizer, MatrixTokenizer)
        tokens, _ = tokenizer.encode(matrices)
        yield f"{name} in {tokenizer.encoding.name}: {' '.join(tokenizer.ids_to_tokens(tokens[0]))}"


def _as_json(data: Dataset, chunks: list[Examples], encoding: str | None, latex: bool) -> dict[str, object]:
    manifest = data.manifest
    problems = [_example_json(data, chunk, i, encoding, latex) for chunk in chunks for i in range(len(chunk))]
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


def _example_json(data: Dataset, rows: Examples, i: int, encoding: str | None, latex: bool) -> dict[str, object]:
    if isinstance(rows, SequenceExamples) and data.problem_type == "bits":
        texts = {"problem": bits_to_text(rows.problems[i]), "solution": bits_to_text(rows.solutions[i])}
        return {"row": int(rows.row[i]), **texts}
    if isinstance(rows, SequenceExamples):
        return {
            "row": int(rows.row[i]),
            "problem": format_expression(rows.problems[i], latex=latex),
            "solution": format_expression(rows.solutions[i], latex=latex),
            "problem_tokens": ids_to_text(rows.problems[i]),
            "solution_tokens": ids_to_text(rows.solutions[i]),
            **{name: values[i].item() for name, values in rows.columns.items()},
        }
    problem: dict[str, object] = {
        "row": int(rows.row[i]),
        "problem": rows.problems[i].tolist(),
        "solution": rows.solutions[i].tolist(),
    }
    if encoding is not None:
        problem["tokens"] = list(_token_lines(data, rows, i))
    return problem
