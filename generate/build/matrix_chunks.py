"""A chunk: rows b * chunk_rows onwards of one stream, a pure function of (spec, stream, b).

Problems are drawn in batches ("draws") of a constant size, each from its own generator, so that what a row drew never depends
on whether another row was rejected. Those that belong to the split are solved in order until the chunk is full.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_rows
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.matrix_columns import Rows, concatenate_rows
from mathpipe.datasets.tokenizers.decimal_grid import in_dataset_range
from mathpipe.generate.sampling.rng_streams import chunk_generator
from mathpipe.generate.spec import DatasetSpec
from mathpipe.generate.splits import belongs, share
from mathpipe.generate.tasks.base import Mask
from mathpipe.generate.tasks.registry import Task, matrix_task

MAX_BARREN_DRAWS = 200  # this many draws in a row without one acceptable problem: the spec cannot fill a chunk
OUT_OF_RANGE = "outside the range a dataset may hold"


@dataclass(frozen=True)
class Chunk:
    """``rows``: exactly chunk_rows rows; ``rejected``: how many problems were rejected, by reason."""

    rows: Rows
    rejected: dict[str, int]


@dataclass(frozen=True)
class Problems:
    """Problems as written, and with noise the clean ones they were made from."""

    written: Matrices
    clean: Matrices | None = None

    def __len__(self) -> int:
        return len(self.written)

    @property
    def solved(self) -> Matrices:
        """The problems whose answers are asked for."""
        return self.written if self.clean is None else self.clean

    def take(self, index: NDArray[Any]) -> Problems:
        return Problems(self.written.take(index), None if self.clean is None else self.clean.take(index))


def build_chunk(spec: DatasetSpec, stream: str, chunk: int) -> Chunk:
    """Evaluate the spec at one place: rows [chunk * chunk_rows, (chunk + 1) * chunk_rows) of a stream.

    A row keeps its problem as float32 of the 3-digit decimal and its solution rounded to float32. Rejected rows (value
    outside 0 or [1e-7, 1e9), singular, untrusted) are replaced by the next problems of the same chunk.
    """
    task = matrix_task(spec.task)
    parts: list[Rows] = []
    rejected: Counter[str] = Counter()
    missing, barren, draw = spec.chunk_rows, 0, 0
    while missing:
        candidates = _draw(task, spec, stream, chunk, draw, rejected)
        draw += 1
        before, start = missing, 0
        while missing and start < len(candidates):
            batch = candidates.take(np.arange(start, min(start + missing, len(candidates))))
            start += len(batch)
            parts.append(_solve(task, batch, rejected))
            missing -= len(parts[-1])
        barren = barren + 1 if missing == before else 0
        if barren >= MAX_BARREN_DRAWS:
            raise UserError(
                f"{spec.task}: {draw} draws of {_draw_size(spec, stream):,} problems did not fill a chunk of {stream}",
                expected="a spec most of whose problems are acceptable",
                got=dict(rejected) or "no problem of this split",
                next_step="choose larger coefficients or dimensions",
            )
    first = chunk * spec.chunk_rows
    return Chunk(concatenate_rows(parts).numbered(first), dict(+rejected))


def _draw_size(spec: DatasetSpec, stream: str) -> int:
    """Problems of one draw: enough to fill a chunk at once, about, but never more than 5/4 of a chunk in memory."""
    return math.ceil(min(1.02 / share(stream), 1.25) * spec.chunk_rows) + 16


def _draw(task: Task, spec: DatasetSpec, stream: str, chunk: int, draw: int, rejected: Counter[str]) -> Problems:
    """The problems of one draw that belong to the split and whose problems a dataset may hold."""
    rng = chunk_generator(spec.fingerprint, stream, chunk, draw)
    drawn = task.sample(rng, _draw_size(spec, stream), spec.matrices)
    noisy = spec.matrices.noise > 0
    problems = Problems(task.with_noise(rng, drawn, spec.matrices), drawn) if noisy else Problems(drawn)
    mine = belongs(problems.written, stream, on_grid=noisy or spec.matrices.round_problems)
    writable = _all_in_range(problems.written) & (_all_in_range(drawn) if noisy else True)
    if not writable.all():
        rejected[OUT_OF_RANGE] += int((mine & ~writable).sum())
    return problems.take(mine & writable)


def _solve(task: Task, problems: Problems, rejected: Counter[str]) -> Rows:
    """The problems that are accepted, with their solutions rounded to float32; rows are numbered later."""
    solved = task.solve(problems.solved)
    with np.errstate(over="ignore"):
        values = solved.solutions.values.astype(np.float32).astype(np.float64)
    solutions = solved.solutions.with_values(values).with_task_ids(problems.written.task_ids)
    keep = np.ones(len(problems), dtype=bool)
    for reason, mask in [*solved.rejected.items(), (OUT_OF_RANGE, ~_all_in_range(solutions))]:
        count = int((mask & keep).sum())
        if count:
            rejected[reason] += count
            keep &= ~mask
    rows = Rows(np.zeros(len(problems), dtype=np.int64), problems.written, solutions, problems.clean)
    return rows if keep.all() else rows.take(keep)


def _all_in_range(matrices: Matrices) -> Mask:
    """Which matrices hold only values a dataset may hold."""
    inside = in_dataset_range(matrices.values)
    if inside.all():
        return np.ones(len(matrices), dtype=bool)
    return np.asarray(reduce_rows(inside, matrices, np.logical_and))
