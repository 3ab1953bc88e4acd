"""Chunks of any task; for one outside the package, errors name its code, and the first chunk is built twice and compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from mathpipe.datasets.errors import UserError
from mathpipe.generate.chunks.chunk_examples import ChunkExamples
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.splits import TEST, TRAIN, VALID
from mathpipe.generate.tasks.external.example_tasks import ExampleTask
from mathpipe.generate.tasks.external.guarded_calls import Guard
from mathpipe.generate.tasks.task import Task

CHUNK_SECONDS = 600.0  # time limit of a chunk of a batch class; its attribute ``time_limit`` sets another


def build_chunk(task: Task[Any], spec: DatasetSpec, chunk: int, splits: Sequence[str]) -> dict[str, ChunkExamples]:
    """``task.build_chunk``; UserError names file, line and rows if code outside the package fails."""
    if task.origin is None or isinstance(task, ExampleTask):  # the latter guards every example
        return task.build_chunk(spec, chunk, splits)
    rows = task.rows_per_chunk(spec, splits[0])
    first = chunk * rows

    def describe(number: int) -> str:
        return f"chunk {number:,} (examples {first:,} to {first + rows - 1:,} of {splits[0]})"

    seconds = float(getattr(task, "time_limit", CHUNK_SECONDS))
    guard = Guard(task.origin.path, seconds, describe, "a batch of problems with solutions")
    with guard() as watchdog:
        watchdog.restart(chunk)
        chunks = task.build_chunk(spec, chunk, splits)
        for split in splits:
            if not isinstance(chunks.get(split), ChunkExamples):
                raise TypeError(f"build_chunk returned no ChunkExamples of {split}")
    return chunks


def check_deterministic(task: Task[Any], spec: DatasetSpec) -> None:
    """UserError if the first chunk of a task outside the package differs from the same chunk built again."""
    if task.origin is None:
        return
    splits = [TRAIN, VALID, TEST] if task.shares_stream else [TRAIN]
    first, second = (build_chunk(task, spec, 0, splits) for _ in range(2))
    for split in splits:
        row = _first_difference(*(_to_table(task, spec, chunks[split]) for chunks in (first, second)))
        if row is not None:
            guard = Guard(task.origin.path, 0, str, "")
            line = getattr(getattr(getattr(task, "definition", None), "example", None), "__code__", None)
            raise UserError(
                f"{guard.place(line.co_firstlineno if line is not None else None)}: {task.name} is not deterministic: "
                f"example {row:,} of {split} differs when chunk 0 is built again",
                expected="the same examples from the same generator and spec",
                cause="randomness that does not come from rng (the module random, np.random, the order of a set, time), or "
                "state that one call leaves to the next",
                next_step="take every random number from rng, and keep no state between calls",
            )


def _to_table(task: Task[Any], spec: DatasetSpec, chunk: ChunkExamples) -> pa.Table:
    example_format = task.example_format(spec)
    return example_format.to_arrow(chunk.examples, example_format.schema or example_format.common_schema)


def _first_difference(first: pa.Table, second: pa.Table) -> int | None:
    """The first row in which two tables differ; None if they are equal."""
    if first.equals(second):
        return None
    for row in range(min(len(first), len(second))):
        if not first.slice(row, 1).equals(second.slice(row, 1)):
            return row
    return min(len(first), len(second))
