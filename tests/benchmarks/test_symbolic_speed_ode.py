"""Differential equations per CPU-second of one process: generation of pairs and verification of predictions: ``make bench``.

Compare machines by the ratio to ``test_python_loop``, a fixed loop, in the same run.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.task_registry import token_task

pytestmark = pytest.mark.benchmark(timer=time.process_time)  # CPU time, since machines are shared
ROWS = {"ode1": 1_000, "ode2": 200}


def rate(benchmark: BenchmarkFixture, work: Callable[[], object], items: int) -> None:
    benchmark.pedantic(work, rounds=5, warmup_rounds=1)
    benchmark.extra_info["per_cpu_second"] = round(items / benchmark.stats.stats.min)
    print(f"\n{benchmark.name}: {items / benchmark.stats.stats.min:,.0f} per CPU-second")  # noqa: T201


def test_python_loop(benchmark: BenchmarkFixture) -> None:
    rate(benchmark, lambda: sum(i * i % 7 for i in range(1_000_000)), 1)


@pytest.mark.parametrize("name", ROWS)
def test_pairs(benchmark: BenchmarkFixture, tmp_path: Path, name: str) -> None:
    names = itertools.count()
    spec = DatasetSpec(task=name, problems=token_task(name).default_spec, chunk_rows=ROWS[name])

    def make() -> None:
        make_dataset(spec, Layout({"train": ROWS[name]}, ROWS[name]), str(tmp_path / str(next(names))), workers=0)

    rate(benchmark, make, ROWS[name])


@cache
def pairs(name: str) -> tuple[Sequences, Sequences]:
    task = token_task(name)
    batches = task.pairs(
        task.default_spec, lambda k: np.random.default_rng([4, k]), lambda p: np.ones(len(p), dtype=bool)
    )
    first_batches = list(itertools.islice(batches, 10))
    return Sequences.concatenate([b.problems for b in first_batches]), Sequences.concatenate(
        [b.solutions for b in first_batches]
    )


@pytest.mark.parametrize("kind", ["right", "wrong"])
@pytest.mark.parametrize("name", ROWS)
def test_predictions(benchmark: BenchmarkFixture, name: str, kind: str) -> None:
    problems, solutions = pairs(name)
    predicted = solutions if kind == "right" else solutions.take(np.roll(np.arange(len(solutions)), 1))
    rate(benchmark, lambda: token_task(name).verify(problems, solutions, predicted), len(problems))
