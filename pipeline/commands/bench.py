"""``mathpipe bench``: measure each part of the pipeline here, and estimate time and size of a dataset."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from mathpipe.datasets.allocator import keep_freed_memory
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.rendering.plurals import counted
from mathpipe.datasets.tokenizers.number_encodings import ENCODINGS, get_number_encoding
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.build.shard import ShardResult, build_shard
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.execution.executors import run
from mathpipe.generate.execution.worker_memory import workers_that_fit
from mathpipe.generate.layout import LARGEST_COUNT, Layout, Shard
from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.task_registry import TASKS, load_task, task_of
from mathpipe.pipeline.config.counts import CountRange
from mathpipe.pipeline.config.path_types import LocalPath
from mathpipe.pipeline.console import log

SMALL_CHUNK = 50  # examples per chunk of expressions while measuring: some tasks take a second for this many


@dataclass(frozen=True)
class Measurement:
    """One line of the table: a throughput per second of wall-clock time, of one process."""

    name: str
    rate: float
    unit: str


@dataclass(frozen=True)
class Estimate:
    """Estimated time and size of a dataset, measured with all workers running at once."""

    examples: int
    workers: int
    examples_per_second: float
    seconds: float
    bytes: int


@click.command("bench")
@click.option("--task", default="inverse", show_default=True, help="Task of the dataset to estimate.")
@click.option(
    "--dim",
    default=5,
    show_default=True,
    type=CountRange(1, 100),
    help="Dimension of the matrices in every measurement.",
)
@click.option(
    "--n",
    "count",
    type=CountRange(1, LARGEST_COUNT),
    default="50M",
    show_default=True,
    help="Size of the dataset to estimate.",
)
@click.option(
    "--workers",
    type=CountRange(1),
    default=None,
    help="Local worker processes for the estimate.  [default: one per CPU]",
)
@click.option(
    "--out",
    type=LocalPath(),
    default=".",
    show_default=True,
    help="Directory on the disk to measure; temporary files are removed.",
)
@click.option(
    "--seconds",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Repeat each measurement for at least this long.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the measurements as JSON.")
def bench(task: str, dim: int, count: int, workers: int | None, out: str, seconds: float, as_json: bool) -> None:
    """Measure every task, every number encoding, the loader and the disk; estimate time and size of a dataset.

    Other load on the machine lowers the measured rates. What cannot be measured at this --dim is skipped, with the reason.

    \b
    Example:
      mathpipe bench --task inverse --n 50M
    """
    estimated = load_task(task)
    log(f"training and evaluation on {_fast_paths()}")
    with _scratch(out) as folder:
        measurements, skipped = [], {}
        for name, unit, rate in _measurements(dim, folder, seconds):
            try:
                measurement = Measurement(name, rate(), unit)
            except UserError as error:
                skipped[name] = str(error)
                log(f"{name}: not measured: {error}")
                continue
            measurements.append(measurement)
            if not as_json:
                click.echo(f"{measurement.name:<34}{measurement.rate:>16,.0f} {measurement.unit}")
        log("measuring generation with all workers at once")
        estimate = estimate_dataset(_spec(estimated, dim), count, workers or workers_that_fit(), folder)
    if as_json:
        measured = [asdict(measurement) for measurement in measurements]
        click.echo(json.dumps({"measurements": measured, "skipped": skipped, "estimate": asdict(estimate)}))
        return
    what = f"{estimated.name} {dim}x{dim}" if "dim" in estimated.options() else estimated.name
    click.echo(
        f"\n{counted(count, 'example')} of {what} with {counted(estimate.workers, 'worker')}: "
        f"about {_format_time(estimate.seconds)} "
        f"({estimate.examples_per_second:,.0f} examples/s), {estimate.bytes / 1e9:,.2f} GB"
    )


def _fast_paths() -> str:
    """The device and the fast paths that models use on this machine."""
    import torch  # here, since most measurements do not need it

    from mathpipe.train.runtime.fast_paths import fast_paths

    return str(fast_paths("cuda" if torch.cuda.is_available() else "cpu"))


@contextlib.contextmanager
def _scratch(out: str) -> Iterator[Path]:
    """A temporary directory in ``out``, removed at the end."""
    try:
        temporary = tempfile.TemporaryDirectory(prefix="mathpipe-bench-", dir=out)
    except OSError as error:
        raise UserError(
            f"--out {out} cannot be written",
            expected="a directory on the disk to measure",
            got=error.strerror or str(error),
            next_step="name a writable directory: `mathpipe bench --out DIR`",
        ) from error
    with temporary as folder:
        yield Path(folder)


def _spec(task: Task[Any], dim: int) -> DatasetSpec:
    """The example spec of a task at this dimension; UserError if the task cannot sample such problems."""
    return task.make_spec({"dim": dim} if "dim" in task.options() else {})


def _measurements(dim: int, folder: Path, seconds: float) -> Iterator[tuple[str, str, Callable[[], float]]]:
    """(name, unit, function that measures the rate, or raises UserError where there is nothing to measure)."""
    for name, task in TASKS.items():
        yield f"generate {name}", "examples/s", functools.partial(_generation_rate, task, dim, seconds)
    values = np.random.default_rng(0).uniform(-10, 10, 200_000)
    for name in ENCODINGS:
        number_encoding = get_number_encoding(name)
        tokens = number_encoding.encode(values)
        encode = functools.partial(number_encoding.encode, values)
        decode = functools.partial(number_encoding.decode, tokens)
        yield f"encode {name}", "numbers/s", functools.partial(_calls_per_second, encode, seconds, len(values))
        yield f"decode {name}", "numbers/s", functools.partial(_calls_per_second, decode, seconds, len(values))
    yield "load and encode (P1000)", "examples/s", functools.partial(_loader_rate, dim, folder, seconds)
    yield "write and sync to disk", "MB/s", functools.partial(_disk_rate, folder, seconds)


def _generation_rate(task: Task[Any], dim: int, seconds: float) -> float:
    """Examples per second of chunks generated in memory, without writing; freed memory is kept, as ``mathpipe generate`` does."""
    keep_freed_memory()
    chunks = itertools.count()
    spec = _small_chunks(_spec(task, dim))
    return _calls_per_second(lambda: task.build_chunk(spec, next(chunks), ["train"]), seconds, spec.chunk_rows)


def _small_chunks(spec: DatasetSpec) -> DatasetSpec:
    """The spec with chunks that take a fraction of a second, where a chunk of the task takes seconds."""
    return spec.model_copy(update={"chunk_rows": SMALL_CHUNK}) if task_of(spec).shares_stream else spec


def _calls_per_second(function: Callable[[], object], seconds: float, items: int = 1) -> float:
    """Items per second, ``items`` a call, over at least ``seconds``, after one warm-up call."""
    function()
    calls, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        calls += 1
        function()
    return items * calls / elapsed


def _loader_rate(dim: int, folder: Path, seconds: float) -> float:
    from mathpipe.datasets.dataset import open_dataset  # here, since it imports torch

    url = str(folder / "loader")
    make_dataset(_spec(TASKS["transpose"], dim), Layout({"train": 40_000}, 40_000), url, workers=0)
    with open_dataset(url, "train", "P1000", "P1000").batches(64) as batches:
        return _calls_per_second(lambda: [next(batches) for _ in range(100)], seconds, 64 * 100)


def _disk_rate(folder: Path, seconds: float) -> float:
    """Throughput of writing and syncing 64 MB at a time."""
    data = os.urandom(1 << 20)

    def write() -> None:
        with (folder / "disk").open("wb") as file:
            for _ in range(64):
                file.write(data)
            file.flush()
            os.fsync(file.fileno())

    return _calls_per_second(write, seconds, 64)


def estimate_dataset(spec: DatasetSpec, examples: int, workers: int, folder: Path) -> Estimate:
    """Extrapolate from two shards per worker, built with all workers running, after one shard each to warm up."""
    spec = _small_chunks(spec)
    size = 5 * spec.chunk_rows
    shards = [Shard("train", k, k * size, size) for k in range(3 * workers)]
    results = list(run(functools.partial(_build, spec, str(folder / "estimate")), shards, workers))[workers:]
    rate = workers * sum(result.record.rows for result in results) / sum(result.seconds for result in results)
    bytes_per_example = sum(result.record.bytes for result in results) / sum(result.record.rows for result in results)
    return Estimate(examples, workers, rate, examples / rate, int(examples * bytes_per_example))


def _build(spec: DatasetSpec, url: str, shard: Shard) -> ShardResult:
    return build_shard(spec, shard, url)


def _format_time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
