"""Generation against a NumPy loop, verification and number encodings, per CPU-second of one thread: ``make bench``.

The NumPy loop, ``random + numpy.linalg.inv + residual``, checks nothing else and writes nothing; the ratio to it, taken in one run,
is what can be compared between machines.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_limits

from mathpipe.datasets.tokenizers.number_encodings import ENCODINGS, get_number_encoding
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.task_registry import MATRIX_TASKS

pytestmark = pytest.mark.benchmark(timer=time.process_time)  # CPU time, since machines are shared
ROWS = 200_000


def rate(
    benchmark: BenchmarkFixture, work: Callable[[], object], items: int, setup: Callable[[], None] | None = None
) -> None:
    """Run five times on the CPU clock, one BLAS thread; ``extra_info`` holds items per CPU-second."""
    with threadpool_limits(1):
        benchmark.pedantic(work, setup=setup, rounds=5, warmup_rounds=1)
    benchmark.extra_info["per_cpu_second"] = round(items / benchmark.stats.stats.median)
    print(f"\n{benchmark.name}: {items / benchmark.stats.stats.median:,.0f} per CPU-second")  # noqa: T201


@pytest.mark.benchmark(group="5x5 inverse", timer=time.process_time)
def test_numpy_baseline(benchmark: BenchmarkFixture) -> None:
    def numpy_loop() -> None:
        rng = np.random.default_rng(0)
        for _ in range(ROWS // 10_000):
            a = rng.uniform(-10, 10, (10_000, 5, 5))
            np.abs(a @ np.linalg.inv(a) - np.eye(5)).max(axis=(1, 2))

    rate(benchmark, numpy_loop, ROWS)


@pytest.mark.benchmark(group="5x5 inverse", timer=time.process_time)
@pytest.mark.parametrize("task", MATRIX_TASKS)
def test_generation(benchmark: BenchmarkFixture, tmp_path: Path, task: str) -> None:
    spec, calls = DatasetSpec(task=task, problems=MATRIX_TASKS[task].default_spec), iter(range(100))
    rate(
        benchmark,
        lambda: make_dataset(spec, Layout({"train": ROWS}, 100_000), str(tmp_path / str(next(calls))), workers=0),
        ROWS,
    )


@pytest.mark.benchmark(group="verify", timer=time.process_time)
def test_dataset_verification(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    spec = DatasetSpec(task="inverse", problems=MatrixSpec())
    make_dataset(spec, Layout({"train": ROWS}, 100_000), str(tmp_path / "d"), workers=0)
    rate(benchmark, lambda: verify_dataset(str(tmp_path / "d"), workers=0), ROWS)


@pytest.mark.benchmark(group="encodings", timer=time.process_time)
@pytest.mark.parametrize("direction", ["encode", "decode"])
@pytest.mark.parametrize("name", ENCODINGS)
def test_number_encodings(benchmark: BenchmarkFixture, name: str, direction: str) -> None:
    encoding, values = get_number_encoding(name), np.random.default_rng(0).uniform(-10, 10, 1_000_000)
    tokens = encoding.encode(values)
    rate(
        benchmark,
        (lambda: encoding.encode(values)) if direction == "encode" else (lambda: encoding.decode(tokens)),
        len(values),
    )


@pytest.mark.benchmark(group="verification", timer=time.process_time)
@pytest.mark.parametrize("task", MATRIX_TASKS)
def test_verification(benchmark: BenchmarkFixture, task: str) -> None:
    problems = MATRIX_TASKS[task].sample(np.random.default_rng(0), 50_000, MATRIX_TASKS[task].default_spec)
    x = MATRIX_TASKS[task].solve(problems).solutions
    rate(benchmark, lambda: MATRIX_TASKS[task].errors(problems, x, x), len(x))
