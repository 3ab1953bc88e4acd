"""``mathpipe bench``: how fast this machine is at each part of the line, and what an order will cost."""

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

import click
import numpy as np

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.number_encodings import ENCODINGS, encoding
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.build.matrix_chunks import build_chunk
from mathpipe.generate.build.sequence_chunks import build_sequence_chunk
from mathpipe.generate.build.shard import Built, build_shard
from mathpipe.generate.execution.cpus import available_cpus
from mathpipe.generate.execution.executors import run
from mathpipe.generate.layout import Layout, Shard
from mathpipe.generate.spec import DatasetSpec, MatrixSpec
from mathpipe.generate.tasks.registry import TASKS, SequenceTask, get_task
from mathpipe.pipeline.config.counts import parse_count
from mathpipe.pipeline.console import note

SMALL_CHUNK = 50  # rows of a chunk of expressions while measuring: some tasks take a second for so many
SECONDS = 0.5  # a measurement is repeated until it has taken this long


@dataclass(frozen=True)
class Measured:
    """One line of the table: what, how many a second (of wall clock, one process), in which unit."""

    what: str
    rate: float
    unit: str


@dataclass(frozen=True)
class Order:
    """What an order of n rows will take: measured with all workers at work at once."""

    rows: int
    workers: int
    rows_per_second: float
    seconds: float
    bytes: int


@click.command("bench")
@click.option("--task", default="inverse", show_default=True, help="Task of the order.")
@click.option(
    "--dim", default=5, show_default=True, type=click.IntRange(1, 100), help="Dimension of every measurement."
)
@click.option("--n", "count", default="50M", show_default=True, metavar="COUNT", help="Rows of the order.")
@click.option(
    "--workers", type=click.IntRange(1), default=None, help="Local processes for the order.  [default: one a CPU]"
)
@click.option(
    "--out", default=".", show_default=True, help="A directory on the disk to measure; what is written is removed."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench(task: str, dim: int, count: str, workers: int | None, out: str, as_json: bool) -> None:
    """Measure every task, each encoding, the loader and the disk here, and say what an order will take.

    Other work on the machine slows it: the figures are those of this moment.

    \b
    Example:
      mathpipe bench --task inverse --n 50M
    """
    get_task(task)
    rows = _count(count)
    note(f"training and evaluation on {_fast_paths()}")
    with _scratch(out) as folder:
        found = []
        for measured in _measurements(dim, folder):
            found.append(measured)
            if not as_json:
                click.echo(f"{measured.what:<34}{measured.rate:>16,.0f} {measured.unit}")
        note("measuring the order with all workers at once")
        order = measure_order(_spec(task, dim), rows, workers or available_cpus(), folder)
    if as_json:
        click.echo(json.dumps({"measured": [asdict(m) for m in found], "order": asdict(order)}))
        return
    what = task if isinstance(get_task(task), SequenceTask) else f"{task} {dim}x{dim}"
    click.echo(
        f"\n{rows:,} rows of {what} with {order.workers} workers: about {_time(order.seconds)} "
        f"({order.rows_per_second:,.0f} rows/s), {order.bytes / 1e9:,.2f} GB"
    )


def _fast_paths() -> str:
    """What models use on this machine's device."""
    import torch  # here, since most of what is measured needs none

    from mathpipe.train.runtime.fast_paths import fast_paths

    return str(fast_paths("cuda" if torch.cuda.is_available() else "cpu"))


@contextlib.contextmanager
def _scratch(out: str) -> Iterator[Path]:
    """A folder of its own in ``out``, removed at the end."""
    try:
        held = tempfile.TemporaryDirectory(prefix="mathpipe-bench-", dir=out)
    except OSError as error:
        raise UserError(
            f"--out {out} cannot be written",
            expected="a directory on the disk to measure",
            got=error.strerror or str(error),
            next_step="name one that may be written: `mathpipe bench --out DIR`",
        ) from error
    with held as folder:
        yield Path(folder)


def _count(text: str) -> int:
    try:
        return parse_count(text)
    except ValueError as error:
        raise UserError(f"--n: {error}") from None


def _spec(name: str, dim: int) -> DatasetSpec:
    """The task's example of a spec, at this dimension; UserError where it has none."""
    task = get_task(name)
    if isinstance(task, SequenceTask):
        return DatasetSpec(task=name, problems=task.example, chunk_rows=task.chunk_rows)
    problems = MatrixSpec.model_validate({**task.example.model_dump(), "min_dim": dim, "max_dim": dim})
    task.check(problems)
    return DatasetSpec(task=name, problems=problems, chunk_rows=task.chunk_rows(problems))


def _measurements(dim: int, folder: Path) -> Iterator[Measured]:
    for name in TASKS:
        try:
            spec = _spec(name, dim)
        except UserError:  # a task that has no such problems
            continue
        yield Measured(f"generate {name}", _generation_rate(spec), "rows/s")
    values = np.random.default_rng(0).uniform(-10, 10, 200_000)
    for name in ENCODINGS:
        code = encoding(name)
        tokens = code.encode(values)
        yield Measured(f"encode {name}", len(values) * _per_second(functools.partial(code.encode, values)), "numbers/s")
        yield Measured(f"decode {name}", len(values) * _per_second(functools.partial(code.decode, tokens)), "numbers/s")
    yield _loader(dim, folder)
    yield _disk(folder)


def _generation_rate(spec: DatasetSpec) -> float:
    """Rows a second of chunks in memory, nothing written."""
    chunks = itertools.count()
    if isinstance(spec.problems, MatrixSpec):
        return spec.chunk_rows * _per_second(lambda: build_chunk(spec, "train", next(chunks)))
    small = spec.model_copy(update={"chunk_rows": SMALL_CHUNK})
    return SMALL_CHUNK * _per_second(lambda: build_sequence_chunk(small, next(chunks), ["train"]))


def _per_second(work: Callable[[], object]) -> float:
    """Calls a second, after one that is not counted."""
    work()
    calls, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < SECONDS:
        calls += 1
        work()
    return calls / elapsed


def _loader(dim: int, folder: Path) -> Measured:
    from mathpipe.datasets.dataset import open_dataset  # here, since it brings torch

    url = str(folder / "loader")
    make_dataset(_spec("transpose", dim), Layout({"train": 40_000}, 40_000), url, workers=0)
    with open_dataset(url).batches(64) as stream:
        return Measured(
            "load and encode (P1000)", 64 * _per_second(lambda: [next(stream) for _ in range(100)]) * 100, "rows/s"
        )


def _disk(folder: Path) -> Measured:
    """Writing and syncing 64 MB at a time."""
    data = os.urandom(1 << 20)

    def write() -> None:
        with (folder / "disk").open("wb") as file:
            for _ in range(64):
                file.write(data)
            file.flush()
            os.fsync(file.fileno())

    return Measured("disk, written and synced", 64 * _per_second(write), "MB/s")


def measure_order(spec: DatasetSpec, rows: int, workers: int, folder: Path) -> Order:
    """Build two shards a worker with all workers at work, after one each to warm up, and scale up."""
    if not isinstance(spec.problems, MatrixSpec):
        spec = spec.model_copy(update={"chunk_rows": SMALL_CHUNK})
    size = 5 * spec.chunk_rows
    shards = [Shard("train", k, k * size, size) for k in range(3 * workers)]
    built = list(run(functools.partial(_build, spec, str(folder / "order")), shards, workers))[workers:]
    rate = workers * sum(b.record.rows for b in built) / sum(b.seconds for b in built)
    per_row = sum(b.record.bytes for b in built) / sum(b.record.rows for b in built)
    return Order(rows, workers, rate, rows / rate, int(rows * per_row))


def _build(spec: DatasetSpec, url: str, shard: Shard) -> Built:
    return build_shard(spec, shard, url)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
