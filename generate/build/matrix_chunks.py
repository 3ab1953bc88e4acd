"""Chunk b of a matrix task: rows b * chunk_rows onwards of one RNG stream, a pure function of (spec, stream, b).

Problems are sampled in batches of constant size, each from its own generator, so that no sample depends on the rejection of
another. The problems of the split are solved in order until the chunk is full.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_per_matrix
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.matrix_columns import MatrixExamples, concatenate_examples
from mathpipe.datasets.tokenizers.decimal_grid import in_dataset_range
from mathpipe.generate.sampling.rng_streams import chunk_generator
from mathpipe.generate.spec import DatasetSpec
from mathpipe.generate.splits import belongs_to_split, share
from mathpipe.generate.tasks.base import Mask
from mathpipe.generate.tasks.registry import Task, matrix_task

MAX_EMPTY_BATCHES = 200  # after this many consecutive batches without an accepted problem, the spec cannot fill a chunk
OUT_OF_RANGE = "outside the range of a dataset"


@dataclass(frozen=True)
class Chunk:
    """``rows``: exactly chunk_rows rows; ``rejected``: how many problems were rejected, by reason."""

    rows: MatrixExamples
    rejected: dict[str, int]


@dataclass(frozen=True)
class Problems:
    """The stored problems, and with noise the clean ones they are derived from."""

    stored: Matrices
    clean: Matrices | None = None

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def to_solve(self) -> Matrices:
        """The problems whose solutions are stored."""
        return self.stored if self.clean is None else self.clean

    def take(self, index: NDArray[Any]) -> Problems:
        return Problems(self.stored.take(index), None if self.clean is None else self.clean.take(index))


def build_chunk(spec: DatasetSpec, stream: str, chunk: int) -> Chunk:
    """Evaluate the spec: rows [chunk * chunk_rows, (chunk + 1) * chunk_rows) of a stream.

    A row holds its problem as the float32 of 3-digit decimals, and its solution rounded to float32. Rejected problems (a
    value outside 0 or [1e-7, 1e9), singular, untrusted) are replaced by the next problems of the same chunk.
    """
    task = matrix_task(spec.task)
    parts: list[MatrixExamples] = []
    rejected: Counter[str] = Counter()
    missing, empty_batches, batch_index = spec.chunk_rows, 0, 0
    while missing:
        candidates = _sample(task, spec, stream, chunk, batch_index, rejected)
        batch_index += 1
        before, start = missing, 0
        while missing and start < len(candidates):
            batch = candidates.take(np.arange(start, min(start + missing, len(candidates))))
            start += len(batch)
            parts.append(_solve(task, batch, rejected))
            missing -= len(parts[-1])
        empty_batches = empty_batches + 1 if missing == before else 0
        if empty_batches >= MAX_EMPTY_BATCHES:
            raise UserError(
                f"{spec.task}: {batch_index} batches of {_batch_size(spec, stream):,} problems did not fill a chunk of {stream}",
                expected="a spec most of whose problems are accepted",
                got=dict(rejected) or "no problem of this split",
                next_step="choose larger coefficients or dimensions",
            )
    first = chunk * spec.chunk_rows
    return Chunk(concatenate_examples(parts).renumber(first), dict(+rejected))


def _batch_size(spec: DatasetSpec, stream: str) -> int:
    """Problems per batch: about enough to fill a chunk at once, but never more than 5/4 of a chunk in memory."""
    return math.ceil(min(1.02 / share(stream), 1.25) * spec.chunk_rows) + 16


def _sample(task: Task, spec: DatasetSpec, stream: str, chunk: int, batch: int, rejected: Counter[str]) -> Problems:
    """The problems of one batch that belong to the split and lie in the range of a dataset."""
    rng = chunk_generator(spec.fingerprint, stream, chunk, batch)
    clean = task.sample(rng, _batch_size(spec, stream), spec.matrices)
    noisy = spec.matrices.noise > 0
    problems = Problems(task.with_noise(rng, clean, spec.matrices), clean) if noisy else Problems(clean)
    in_this_split = belongs_to_split(problems.stored, stream, on_grid=noisy or spec.matrices.round_problems)
    in_range = _all_in_range(problems.stored) & (_all_in_range(clean) if noisy else True)
    if not in_range.all():
        rejected[OUT_OF_RANGE] += int((in_this_split & ~in_range).sum())
    return problems.take(in_this_split & in_range)


def _solve(task: Task, problems: Problems, rejected: Counter[str]) -> MatrixExamples:
    """The accepted problems with their solutions rounded to float32; the caller numbers the rows."""
    solved = task.solve(problems.to_solve)
    with np.errstate(over="ignore"):
        values = solved.solutions.values.astype(np.float32).astype(np.float64)
    solutions = solved.solutions.with_values(values).with_task_ids(problems.stored.task_ids)
    keep = np.ones(len(problems), dtype=bool)
    for reason, mask in [*solved.rejected.items(), (OUT_OF_RANGE, ~_all_in_range(solutions))]:
        count = int((mask & keep).sum())
        if count:
            rejected[reason] += count
            keep &= ~mask
    rows = MatrixExamples(np.zeros(len(problems), dtype=np.int64), problems.stored, solutions, problems.clean)
    return rows if keep.all() else rows.take(keep)


def _all_in_range(matrices: Matrices) -> Mask:
    """Which matrices have all values in the range of a dataset."""
    inside = in_dataset_range(matrices.values)
    if inside.all():
        return np.ones(len(matrices), dtype=bool)
    return np.asarray(reduce_per_matrix(inside, matrices, np.logical_and))
