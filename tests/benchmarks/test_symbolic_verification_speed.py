"""Right and wrong predictions verified per CPU-second, and the proportion of right ones that are proven: ``make bench``."""

from __future__ import annotations

import time

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.outcomes import EVIDENCE
from mathpipe.generate.tasks.task_registry import token_task

pytestmark = pytest.mark.benchmark
ROWS = 500


@pytest.mark.benchmark(group="verification of expressions")
@pytest.mark.parametrize("name", ["integration-bwd", "integration-fwd", "integration-ibp", "ode1", "ode2"])
@pytest.mark.parametrize("answers", ["right", "wrong"])
def test_verification_speed(benchmark: BenchmarkFixture, name: str, answers: str) -> None:
    task = token_task(name)
    problems: list[bytes] = []
    solutions: list[bytes] = []
    batches = task.pairs(
        task.default_spec, lambda k: np.random.default_rng([4, k]), lambda p: np.ones(len(p), dtype=bool)
    )
    while len(problems) < ROWS:
        batch = next(batches)
        problems += batch.problems.to_list()
        solutions += batch.solutions.to_list()
    problem_sequences, references = Sequences.from_list(problems[:ROWS]), Sequences.from_list(solutions[:ROWS])
    predicted = references if answers == "right" else references.take(np.roll(np.arange(ROWS), 1))
    benchmark._timer = time.process_time
    result = benchmark.pedantic(
        lambda: task.verify(problem_sequences, references, predicted), rounds=3, warmup_rounds=1, iterations=1
    )
    proven = float((result.evidence == EVIDENCE.index("proven")).mean())
    benchmark.extra_info.update(per_cpu_second=round(ROWS / benchmark.stats.stats.min), proven=proven)
    print(f"\n{name}, {answers}: {ROWS / benchmark.stats.stats.min:,.0f} a CPU-second, {proven:.1%} proven")  # noqa: T201
