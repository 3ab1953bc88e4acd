"""``mathpipe show``: show a dataset and a few of its examples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click
import numpy as np

from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.examples import Examples
from mathpipe.datasets.format.manifest import Manifest, Split
from mathpipe.datasets.rendering.plurals import counted
from mathpipe.generate.outcomes import EVIDENCE
from mathpipe.generate.tasks.spec_text import describe_problems
from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.task_registry import task_of_values
from mathpipe.pipeline.config.counts import CountRange
from mathpipe.pipeline.config.options import external_task_option
from mathpipe.pipeline.config.path_types import Location
from mathpipe.pipeline.inputs.encodings import reject_number_encoding


@click.command("show")
@click.argument("directory", type=Location())
@click.option("--split", default="test", show_default=True, help="Split to show examples of.")
@click.option("-k", "count", default=3, show_default=True, type=CountRange(0, 1000), help="Number of examples to show.")
@click.option("--start", type=CountRange(min=0), default=0, show_default=True, help="First row to show.")
@click.option(
    "--encoding",
    default=None,
    help="Also print tokens in this encoding of numbers: P10, P1000, B1999, FP15; of integers base10, residues6, ...",
)
@click.option("--latex", is_flag=True, help="Print problems and solutions as LaTeX.")
@click.option("--tokens", is_flag=True, help="Also print problems and solutions as tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print spec, sizes and examples as JSON.")
@external_task_option
def show(
    directory: str, split: str, count: int, start: int, encoding: str | None, latex: bool, tokens: bool, as_json: bool
) -> None:
    """Show a dataset: its spec, its sizes, and a few examples as matrices or formulas.

    \b
    Example:
      mathpipe show data/inverse -k 2 --encoding P10
      mathpipe show data/integration-bwd --latex
    """
    data = open_dataset(directory, split, encoding, encoding)
    if not data.problem_type.takes_number_encodings:
        reject_number_encoding(directory, "--encoding", encoding)
    tokens = tokens or encoding is not None
    _check_row(start, len(data))
    rows = list(data.chunks(size=max(count, 1), start=start, stop=start + count)) if count else []
    if as_json:
        click.echo(json.dumps(_as_json(data, rows, latex=latex, tokens=tokens)))
        return
    for line in _describe(data.manifest):
        click.echo(line)
    if data.problem_type.name == "expressions" and _loaded_task(data.spec) is None:
        click.echo("evidence not shown: the code of the task, which would grade it, is not loaded; name it with --task")
    for chunk in rows:
        for i in range(len(chunk)):
            click.echo(f"\n{split} row {chunk.row[i]}")
            lines = data.problem_type.example_lines(data.spec, chunk, i, latex=latex)
            if (evidence := _evidence(data, chunk, i)) is not None:
                lines.append(f"{'evidence':<9} {evidence}")
            if tokens:
                lines += [f"{name} tokens: {text}" for name, text in _tokens(data, chunk, i).items()]
            click.echo("\n".join(lines))


def _check_row(row: int, rows: int) -> None:
    if row >= max(rows, 1):
        raise UserError("--start is beyond the split", expected=f"0 to {rows - 1:,}", got=f"{row:,}")


def _describe(manifest: Manifest) -> Iterator[str]:
    spec = manifest.spec
    size, version = spec["chunk_rows"], spec["version"]
    yield f"task     {spec['task']}{_source(spec)}, seed {spec['seed']}, chunks of {size:,} examples, generator version {version}"
    yield f"problems {describe_problems(spec)}"
    yield f"digest   {manifest.fingerprint[:16]} (spec), {manifest.digest[:16]} (rows)"
    if "deduplicated" in spec:
        yield f"from     dataset {spec['deduplicated'][:16]}, without its duplicate problems"
    for name, split in manifest.splits.items():
        rejected = ", ".join(f"{reason} {n:,}" for reason, n in split.rejected.items()) or "none"
        yield (
            f"{name:<8} {counted(split.rows, 'example')}, {counted(len(split.shards), 'shard')} of up to "
            f"{manifest.shard_rows:,}, {split.bytes / 1e6:,.1f} MB, rejected: {rejected}{_repeats(split)}"
        )
        if split.evidence:
            yield "         evidence: " + ", ".join(f"{name} {n:,}" for name, n in split.evidence.items())
        split_spec = manifest.spec_of(name)["problems"]
        if split_spec != spec["problems"]:
            yield f"         sampled otherwise: {describe_problems({**spec, 'problems': split_spec})}"


def _source(spec: dict[str, Any]) -> str:
    """For a task outside the package, which may have the name of one of the package: that it is, and which code it was."""
    digest = spec.get("source_digest")
    return "" if digest is None else f" (outside mathpipe, source {digest[:12]})"


def _evidence(data: Dataset, examples: Examples, i: int) -> str | None:
    """The evidence for the solution of example i, its outcome if it is not right; None without a loaded task that grades it."""
    task = _loaded_task(data.spec)
    if task is None or not task.grades_evidence:
        return None
    one = examples.take(np.array([i]))
    verification = task.verify(one.problems, one.solutions, one.solutions)
    grade, outcome = EVIDENCE[verification.evidence[0]], task.outcomes[verification.outcome[0]]
    return grade if outcome == "exact" else f"{grade} ({outcome})"


def _loaded_task(spec: dict[str, Any]) -> Task[Any] | None:
    """The task of a spec; None if this version has none of its name, or the code with the digest in the spec is not loaded."""
    try:
        return task_of_values(spec)
    except UserError:
        return None


def _repeats(split: Split) -> str:
    counts = [record.repeats for record in split.shards if record.repeats is not None]
    return f", {sum(counts):,} problems repeat another of their chunk" if counts else ""


def _tokens(data: Dataset, examples: Examples, i: int) -> dict[str, str]:
    """Problem and solution of example i as tokens, separated by spaces."""
    example = examples.take(np.array([i]))
    sides = {"problem": (data.source, example.problems), "solution": (data.target, example.solutions)}
    return {
        name: " ".join(tokenizer.ids_to_tokens(tokenizer.encode(batch)[0][0]))
        for name, (tokenizer, batch) in sides.items()
    }


def _as_json(data: Dataset, chunks: list[Examples], *, latex: bool, tokens: bool) -> dict[str, object]:
    manifest = data.manifest
    examples = [
        data.problem_type.example_json(data.spec, chunk, i, latex=latex)
        | ({f"{name}_tokens": text for name, text in _tokens(data, chunk, i).items()} if tokens else {})
        | ({"evidence": evidence} if (evidence := _evidence(data, chunk, i)) is not None else {})
        for chunk in chunks
        for i in range(len(chunk))
    ]
    return {
        "spec": manifest.spec,
        "fingerprint": manifest.fingerprint,
        "split_specs": manifest.split_specs,
        "digest": manifest.digest,
        "splits": {
            name: {"rows": s.rows, "bytes": s.bytes, "rejected": s.rejected, "evidence": s.evidence}
            for name, s in manifest.splits.items()
        },
        "problems": examples,
    }
