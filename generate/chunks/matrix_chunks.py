"""Chunk b of a matrix task: examples b * chunk_rows onwards of one RNG stream, a pure function of (spec, stream, b).

Problems are sampled in batches of constant size, each from its own generator, so that no sample depends on the rejection of
another. The problems of the split are solved in order until the chunk is full.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_per_matrix
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.decimal_grid import in_dataset_range
from mathpipe.generate.chunks.acceptance import Acceptance
from mathpipe.generate.chunks.chunk_examples import ChunkExamples
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.sampling.rng_streams import chunk_generator
from mathpipe.generate.splits import belongs_to_split, share

Mask = NDArray[np.bool_]

_TRIAL = "trial"  # the RNG stream of samples that belong to no split
MAX_EMPTY_BATCHES = 200  # after this many consecutive batches without an accepted problem, the spec cannot fill a chunk
OUT_OF_RANGE = "numbers larger than a dataset stores"


@dataclass(frozen=True)
class Solved:
    """Solutions of n problems (arbitrary where rejected), and a mask (n,) of the rejected problems for each reason."""

    solutions: Matrices
    rejected: dict[str, Mask] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredProblems:
    """The stored problems, and with noise the clean ones they are derived from."""

    stored: Matrices
    clean: Matrices | None = None

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def to_solve(self) -> Matrices:
        """The problems whose solutions are stored."""
        return self.stored if self.clean is None else self.clean

    def take(self, index: NDArray[Any]) -> StoredProblems:
        return StoredProblems(self.stored.take(index), None if self.clean is None else self.clean.take(index))


@dataclass(frozen=True)
class MatrixChunks:
    """Fills the chunks of one spec.

    ``sample(rng, n)`` samples n problems, ``solve(problems)`` solves them. ``on_grid``: stored values lie on the decimal grid.
    """

    spec: DatasetSpec
    sample: Callable[[np.random.Generator, int], StoredProblems]
    solve: Callable[[Matrices], Solved]
    on_grid: bool

    def build(self, stream: str, chunk: int) -> ChunkExamples:
        """Evaluate the spec: examples [chunk * chunk_rows, (chunk + 1) * chunk_rows) of a stream.

        An example holds its problem as the float32 of 3-digit decimals, and its solution rounded to float32. Rejected
        problems (a value outside 0 or [1e-7, 1e9), singular, untrusted) are replaced by the next problems of the same chunk.
        """
        parts: list[MatrixExamples] = []
        rejected: Counter[str] = Counter()
        missing, empty_batches, batch_index = self.spec.chunk_rows, 0, 0
        while missing:
            candidates = self._candidates(stream, chunk, batch_index, rejected)
            batch_index += 1
            before, start = missing, 0
            while missing and start < len(candidates):
                batch = candidates.take(np.arange(start, min(start + missing, len(candidates))))
                start += len(batch)
                parts.append(self._accepted(batch, rejected))
                missing -= len(parts[-1])
            self.acceptance(missing, rejected).check(self.spec.task, self._advice())
            empty_batches = empty_batches + 1 if missing == before else 0
            if empty_batches >= MAX_EMPTY_BATCHES:
                raise UserError(
                    f"{self.spec.task}: {batch_index} batches of {self._batch_size(stream):,} problems did not fill "
                    f"a chunk of {stream}",
                    expected="a spec most of whose problems are accepted",
                    got=dict(rejected) or "no problem of this split",
                    next_step="choose larger coefficients or dimensions",
                )
        return ChunkExamples(MatrixExamples.concatenate(parts).renumber(chunk * self.spec.chunk_rows), dict(+rejected))

    def acceptance(self, missing: int, rejected: Counter[str]) -> Acceptance:
        """The acceptance rate of a chunk of which ``missing`` examples are not there yet."""
        return Acceptance(self.spec.chunk_rows - missing, +rejected)

    def trial(self, problems: int) -> Acceptance:
        """The acceptance rate of a sample that belongs to no chunk."""
        candidates = self.sample(chunk_generator(self.spec.fingerprint, _TRIAL, 0, 0), problems)
        in_range = all_in_range(candidates.stored)
        rejected = Counter({OUT_OF_RANGE: int((~in_range).sum())})
        accepted = len(self._accepted(candidates.take(in_range), rejected)) if in_range.any() else 0
        return Acceptance(accepted, +rejected)

    def _advice(self) -> str:
        """Which settings to change, and in which direction, if problems are rejected."""
        problems: Any = self.spec.problems
        shape = "x".join(map(str, problems.largest_shape))
        return (
            f"choose a smaller --dim (now {shape}), or another --max-coeff (now {problems.max_coeff:g}): "
            "smaller where values exceed 1e9, larger where they fall below 1e-7"
        )

    def _batch_size(self, stream: str) -> int:
        """Problems per batch: about enough to fill a chunk at once, but never more than 5/4 of a chunk in memory."""
        return math.ceil(min(1.02 / share(stream), 1.25) * self.spec.chunk_rows) + 16

    def _candidates(self, stream: str, chunk: int, batch: int, rejected: Counter[str]) -> StoredProblems:
        """The problems of one batch that belong to the split and lie in the range of a dataset."""
        rng = chunk_generator(self.spec.fingerprint, stream, chunk, batch)
        problems = self.sample(rng, self._batch_size(stream))
        in_this_split = belongs_to_split(problems.stored, stream, on_grid=self.on_grid)
        in_range = all_in_range(problems.stored)
        if problems.clean is not None:
            in_range &= all_in_range(problems.clean)
        if not in_range.all():
            rejected[OUT_OF_RANGE] += int((in_this_split & ~in_range).sum())
        return problems.take(in_this_split & in_range)

    def _accepted(self, problems: StoredProblems, rejected: Counter[str]) -> MatrixExamples:
        """The accepted problems with their solutions rounded to float32; the caller numbers them."""
        solved = self.solve(problems.to_solve)
        with np.errstate(over="ignore"):
            values = solved.solutions.values.astype(np.float32).astype(np.float64)
        solutions = solved.solutions.with_values(values).with_task_ids(problems.stored.task_ids)
        accepted = np.ones(len(problems), dtype=bool)
        for reason, mask in [*solved.rejected.items(), (OUT_OF_RANGE, ~all_in_range(solutions))]:
            count = int((mask & accepted).sum())
            if count:
                rejected[reason] += count
                accepted &= ~mask
        row = np.zeros(len(problems), dtype=np.int64)
        examples = MatrixExamples(row, problems.stored, solutions, problems.clean)
        return examples if accepted.all() else examples.take(accepted)


def all_in_range(matrices: Matrices) -> Mask:
    """Which matrices have all values in the range of a dataset."""
    inside = in_dataset_range(matrices.values)
    if inside.all():
        return np.ones(len(matrices), dtype=bool)
    return np.asarray(reduce_per_matrix(inside, matrices, np.logical_and))
