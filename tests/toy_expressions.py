"""A small task of expressions for tests: a random number of a few digits, and its digits in reverse.

``register`` adds it to the registry; Dask workers do so if this file is their preload module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.chunks.pair_chunks import Generators, Pairs
from mathpipe.generate.outcomes import Verification
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.tasks import task_registry as registry
from mathpipe.generate.tasks.token_task import ExpressionTask, Wanted

ZERO, PLUS = IDS["0"], bytes([IDS["INT+"]])
BATCH = 40


def reverse(problems: Sequences) -> Sequences:
    return Sequences.from_list(p[:1] + p[:0:-1] for p in problems.to_list())


def pairs(spec: ExpressionSpec, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
    """Numbers of ``min_operators`` to ``max_operators`` digits; one in eight is rejected, unwanted ones are skipped."""
    batch = 0
    while True:
        rng = generator(batch)
        batch += 1
        lengths = rng.integers(spec.min_operators, spec.max_operators + 1, BATCH)
        numbers = [PLUS + bytes((ZERO + rng.integers(1, 10, n)).astype(np.uint8)) for n in lengths]
        rejected = rng.random(BATCH) < 0.125
        problems = Sequences.from_list(numbers)
        accepted = problems.take(~rejected)
        accepted_lengths = lengths[~rejected]
        used = wanted(accepted)
        accepted = accepted.take(used)
        columns: dict[str, Any] = {"operators": accepted_lengths[used]}
        yield Pairs(accepted, reverse(accepted), columns, Counter({"unlucky": int(rejected.sum())}))


class ToyReverse(ExpressionTask):
    """A number -> its digits in reverse."""

    name = "toy-reverse"
    problem = "a number"
    solution = "its digits backwards"
    source = "tests"
    columns: ClassVar[dict[str, str]] = {"operators": "int16"}
    chunk_size = 100
    default_spec = ExpressionSpec(min_operators=4, max_operators=8)

    def pairs(self, spec: ExpressionSpec, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        return pairs(spec, generator, wanted)

    def verify(self, problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
        correct = [a == b for a, b in zip(reverse(problems).to_list(), predicted.to_list(), strict=True)]
        return Verification(np.where(correct, 0, 4).astype(np.int8))

    def distinct_problems(self, spec: ExpressionSpec) -> float:
        return float(sum(9**n for n in range(spec.min_operators, spec.max_operators + 1)))


TASK = ToyReverse()


def register() -> None:
    registry.TASKS[TASK.name] = TASK


def dask_setup(worker: object) -> None:
    register()
