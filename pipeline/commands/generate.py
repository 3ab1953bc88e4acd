"""``mathpipe generate``: make a dataset, or finish one."""

from __future__ import annotations

import json
from typing import Any, get_args

import click

from mathpipe.datasets.format.manifest import Manifest
from mathpipe.generate.build.dataset_builder import Made, OnMismatch, make_dataset
from mathpipe.generate.build.sequence_chunks import stream_of
from mathpipe.generate.spec import DatasetSpec, MatrixSpec
from mathpipe.pipeline.config.counts import show_count
from mathpipe.pipeline.config.options import model_options, shared_options, where_options
from mathpipe.pipeline.config.resolution import Source, gather, validated
from mathpipe.pipeline.config.schema import GenerateParams
from mathpipe.pipeline.console import Terminated, note, quiet_option, stoppable, warn
from mathpipe.pipeline.progress import Progress


@click.command("generate")
@model_options(GenerateParams)
@click.option("--out", default=None, help="Directory or fsspec URL of the dataset.  [default: data/<task>]")
@where_options
@click.option(
    "--on-mismatch",
    type=click.Choice(get_args(OnMismatch)),
    default="error",
    show_default=True,
    help="A directory that holds another dataset: refuse, or move it aside and begin anew.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@quiet_option
@shared_options
def generate(
    out: str | None,
    workers: int | None,
    scheduler: str | None,
    on_mismatch: OnMismatch,
    as_json: bool,
    source: Source,
    **flags: Any,
) -> None:
    """Generate problems with verified answers into sharded Parquet.

    Run again, it keeps what is finished and goes on with the rest; a larger --n adds rows to those that are there.

    \b
    Example:
      mathpipe generate --task inverse --n 50M
      mathpipe generate --task add --dim 3 --n 200k --out data/add-3x3
      mathpipe generate --task eigenvalues --n 5M --extra-test far:spectrum=laplace --extra-test large:dim=7,n=2k
      mathpipe generate --task integration-bwd --n 100k --max-ops 10 --operators div:0
      mathpipe generate --task inverse --n 50M --scheduler tcp://host:8786 --out s3://bucket/inverse
    """
    wanted = validated(GenerateParams, gather("generate", source, flags), "generate")
    spec = wanted.spec()
    url = out or f"data/{wanted.task}"
    layout = wanted.layout(spec, url)
    progress = Progress("generate")
    progress.start(layout.rows)
    try:
        with stoppable():
            made = make_dataset(
                spec,
                layout,
                url,
                split_specs=wanted.split_specs(spec),
                workers=workers,
                scheduler=scheduler,
                on_mismatch=on_mismatch,
                on_shard=progress.add_shard,
                tell=note,
            )
    except KeyboardInterrupt as stop:
        progress.close()
        warn(f"stopped: finished shards in {url} are kept; the same command goes on with the rest")
        raise SystemExit(143 if isinstance(stop, Terminated) else 130) from None
    finally:
        progress.close()
    _tell(made, spec, url, as_json)


def _tell(made: Made, spec: DatasetSpec, url: str, as_json: bool) -> None:
    splits = made.manifest.splits
    if as_json:
        click.echo(
            json.dumps(
                {
                    "out": url,
                    "fingerprint": spec.fingerprint,
                    "digest": made.manifest.digest,
                    "splits": {
                        name: {"rows": s.rows, "bytes": s.bytes, "rejected": s.rejected} for name, s in splits.items()
                    },
                    "repeats": made.manifest.repeats,
                    "built_rows": made.built_rows,
                    "seconds": round(made.seconds, 3),
                    "cpu_seconds": round(made.cpu_seconds, 3),
                    "retried": made.retried,
                }
            )
        )
        return
    if made.set_aside:
        note(f"the dataset that was there has been moved to {made.set_aside}")
    if made.retried:
        what = "; ".join(f"{text} ({count})" for text, count in made.retried.items())
        note(f"shards were tried again {sum(made.retried.values())} times: {what}")
    sizes = ", ".join(f"{name} {show_count(split.rows)}" for name, split in splits.items())
    total = sum(split.bytes for split in splits.values())
    click.echo(f"{url}: {spec.task}, {sizes} rows, {total / 1e6:,.1f} MB, {_rejected(made, spec)}")
    if made.built_rows:
        rate = made.built_rows / made.cpu_seconds if made.cpu_seconds else float("nan")
        click.echo(
            f"built {made.built_rows:,} rows in {made.seconds:.1f} s, {rate:,.0f} rows per CPU-second of the workers"
        )
    else:
        click.echo("nothing was left to build")


def _rejected(made: Made, spec: DatasetSpec) -> str:
    """What was rejected, over all splits."""
    if isinstance(spec.problems, MatrixSpec):
        count = sum(sum(split.rejected.values()) for split in made.manifest.splits.values())
        return f"{count:,} problems rejected and replaced"
    return f"at least {given_up(made.manifest):,} draws given up, {made.manifest.repeats:,} problems repeat one of their chunk"


def given_up(manifest: Manifest) -> int:
    """Draws given up, at least: shards of one stream and number share them, and the split that was last to be full saw them all.

    Which one was last may change from chunk to chunk, and records count shards: of one chunk this is exact.
    """
    most: dict[tuple[str, int], int] = {}
    for split, found in manifest.splits.items():
        for record in found.shards:
            place = (stream_of(split), record.shard)
            most[place] = max(most.get(place, 0), sum(record.rejected.values()))
    return sum(most.values())
