"""A small sequence task for tests: a random number of a few digits, and its digits backwards.

``register`` puts it among the tasks; Dask workers do so when this file is named to them as a preload.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.tasks import registry
from mathpipe.generate.tasks.sequence_base import Generators, Judged, Mask, Pairs, SequenceTask

ZERO, PLUS = IDS["0"], bytes([IDS["INT+"]])
BATCH = 40


def reverse(problems: Sequences) -> Sequences:
    return Sequences.from_list(p[:1] + p[:0:-1] for p in problems.to_list())


def pairs(spec: ExpressionSpec, generator: Generators, wanted: Callable[[Sequences], Mask]) -> Iterator[Pairs]:
    """Numbers of ``min_operators`` to ``max_operators`` digits; one in eight is given up, the unwanted ones are spared."""
    draw = 0
    while True:
        rng = generator(draw)
        draw += 1
        lengths = rng.integers(spec.min_operators, spec.max_operators + 1, BATCH)
        drawn = [PLUS + bytes((ZERO + rng.integers(1, 10, n)).astype(np.uint8)) for n in lengths]
        given_up = rng.random(BATCH) < 0.125
        problems = Sequences.from_list(drawn)
        kept = problems.take(~given_up)
        kept_lengths = lengths[~given_up]
        needed = wanted(kept)
        kept = kept.take(needed)
        columns: dict[str, Any] = {"operators": kept_lengths[needed]}
        yield Pairs(kept, reverse(kept), columns, Counter({"given up": int(given_up.sum())}))


def judge(problems: Sequences, references: Sequences, predicted: Sequences) -> Judged:
    right = [a == b for a, b in zip(reverse(problems).to_list(), predicted.to_list(), strict=True)]
    return Judged(np.where(right, 0, 4).astype(np.int8))


TASK = SequenceTask(
    name="toy-reverse",
    kind="expressions",
    problem="a number",
    solution="its digits backwards",
    source="tests",
    pairs=pairs,
    judge=judge,
    columns={"operators": "int16"},
    chunk_rows=100,
    example=ExpressionSpec(min_operators=4, max_operators=8),
    distinct=lambda spec: float(sum(9**n for n in range(spec.min_operators, spec.max_operators + 1))),
)


def register() -> None:
    registry.TASKS[TASK.name] = TASK


def dask_setup(worker: object) -> None:
    register()
