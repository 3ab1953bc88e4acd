"""``mathpipe generate``: generate a dataset, or resume one.

Options come from three places: here, ``GenerateParams`` (every task), and the spec of the named task (``Task.options``; the fields
with a description in ``generate/problem_specs``).
"""

from __future__ import annotations

import json
from typing import Any, get_args

import click

from mathpipe.datasets.format.manifest import Manifest
from mathpipe.datasets.rendering.plurals import counted
from mathpipe.generate.build.dataset_builder import DatasetResult, make_dataset
from mathpipe.generate.build.directory_contents import OnMismatch
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.tasks.task_registry import task_of, task_of_values
from mathpipe.pipeline.config.counts import format_count
from mathpipe.pipeline.config.options import (
    Choice,
    TaskCommand,
    execution_options,
    options_from_model,
    parameter_options,
)
from mathpipe.pipeline.config.path_types import Location
from mathpipe.pipeline.config.resolution import ParameterSource, naming_flags
from mathpipe.pipeline.config.stage_parameters import GenerateParams, resolve_generate
from mathpipe.pipeline.console import Terminated, handle_sigterm, log, quiet_option, warn
from mathpipe.pipeline.progress import Progress


@click.command("generate", cls=TaskCommand)
@options_from_model(GenerateParams)
@click.option(
    "--out", type=Location(), default=None, help="Directory or fsspec URL of the dataset.  [default: data/<task>]"
)
@execution_options
@click.option(
    "--on-mismatch",
    type=Choice(get_args(OnMismatch)),
    default="error",
    show_default=True,
    help="If the directory holds another dataset: stop with an error, or move it to a backup and start again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@quiet_option
@parameter_options
def generate(
    out: str | None,
    workers: int | None,
    scheduler: str | None,
    on_mismatch: OnMismatch,
    as_json: bool,
    source: ParameterSource,
    **flags: Any,
) -> None:
    """Generate a dataset of problems with verified solutions, in sharded Parquet.

    The command is resumable: run it again to resume after an interruption. A larger --n extends the dataset.

    \b
    Example:
      mathpipe generate --task inverse --n 50M
      mathpipe generate --task add --dim 3 --n 200k --out data/add-3x3
      mathpipe generate --task eigenvalues --n 5M --extra-test far:spectrum=laplace --extra-test large:dim=7,n=2k
      mathpipe generate --task integration-bwd --n 100k --max-operators 10 --operators div:0
      mathpipe generate --task inverse --n 50M --scheduler tcp://host:8786 --out s3://bucket/inverse
    """
    with naming_flags(flags):
        params = resolve_generate(source, flags)
        spec = params.dataset_spec()
        url = out or f"data/{spec.task}"
        layout = params.layout(spec, url)
    progress = Progress("generate")
    progress.start(layout.rows)
    progress.explain_silence(f"the first shards, of up to {counted(min(layout.shard_rows, layout.rows), 'example')}")
    try:
        with handle_sigterm():
            result = make_dataset(
                spec,
                layout,
                url,
                split_specs=params.split_specs(spec),
                workers=workers,
                scheduler=scheduler,
                on_mismatch=on_mismatch,
                on_shard=progress.add_shard,
                log=log,
            )
    except KeyboardInterrupt as interrupt:
        progress.close()
        warn(f"interrupted: finished shards in {url} are kept; run the same command again to resume")
        raise SystemExit(143 if isinstance(interrupt, Terminated) else 130) from None
    finally:
        progress.close()
    _print_result(result, spec, url, as_json)


def _print_result(result: DatasetResult, spec: DatasetSpec, url: str, as_json: bool) -> None:
    splits = result.manifest.splits
    if as_json:
        click.echo(
            json.dumps(
                {
                    "out": url,
                    "fingerprint": spec.fingerprint,
                    "digest": result.manifest.digest,
                    "splits": {
                        name: {"rows": s.rows, "bytes": s.bytes, "rejected": s.rejected} for name, s in splits.items()
                    },
                    "repeats": result.manifest.repeats,
                    "built_rows": result.built_rows,
                    "seconds": round(result.seconds, 3),
                    "cpu_seconds": round(result.cpu_seconds, 3),
                    "retried": result.retried,
                }
            )
        )
        return
    if result.backup:
        log(f"the previous dataset was moved to {result.backup}")
    if result.retried:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in result.retried.items())
        log(f"shards were retried {sum(result.retried.values())} times: {reasons}")
    sizes = ", ".join(f"{name} {format_count(split.rows)}" for name, split in splits.items())
    total = sum(split.bytes for split in splits.values())
    click.echo(f"{url}: {spec.task}, {sizes} examples, {total / 1e6:,.1f} MB, {_describe_rejected(result, spec)}")
    if result.built_rows:
        rate = result.built_rows / result.cpu_seconds if result.cpu_seconds else float("nan")
        present = sum(split.rows for split in splits.values()) - result.built_rows
        click.echo(
            f"generated {counted(result.built_rows, 'example')} in {result.seconds:.1f} s, {rate:,.0f} examples per CPU-second"
            + (f"; {present:,} were there before" if present else "")
        )
    else:
        click.echo("nothing left to build")


def _describe_rejected(result: DatasetResult, spec: DatasetSpec) -> str:
    """Describe the rejected samples of all splits."""
    if not task_of(spec).shares_stream:
        count = sum(sum(split.rejected.values()) for split in result.manifest.splits.values())
        return f"{counted(count, 'problem')} rejected and replaced" if count else "none rejected"
    rejected, repeats = count_rejected(result.manifest), result.manifest.repeats
    samples = f"at least {rejected:,} samples rejected" if rejected else "none rejected"
    return f"{samples}, {repeats:,} problems repeat another of their chunk"


def count_rejected(manifest: Manifest) -> int:
    """A lower bound of the number of rejected samples.

    Splits that share a stream share its samples, and the split that fills up last has counted every rejection. Which one fills up
    last may differ between chunks, and records count whole shards: the bound is exact for shards of one chunk.
    """
    task = task_of_values(manifest.spec)
    largest: dict[tuple[str, int], int] = {}  # (stream, shard) -> rejections
    for name, split in manifest.splits.items():
        for record in split.shards:
            key = (task.rng_stream(name), record.shard)
            largest[key] = max(largest.get(key, 0), sum(record.rejected.values()))
    return sum(largest.values())
