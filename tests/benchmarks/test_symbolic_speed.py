"""Pairs per CPU-second of the tasks with a table of primitives, and a fixed loop to compare machines: ``make bench``."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.task_registry import TOKEN_TASKS

pytestmark = pytest.mark.benchmark(timer=time.process_time)  # CPU time, since machines are shared
ROWS = 700


def calibration() -> float:
    """Iterations per CPU-second of a loop of dictionary and integer operations in Python, the best of five."""
    best = float("inf")
    for _ in range(5):
        start, table, state = time.process_time(), {}, 1
        for k in range(100_000):
            state = (state * 1_103_515_245 + 12_345) & 0x7FFFFFFF
            table[state & 1023] = k
        best = min(best, time.process_time() - start)
    return 100_000 / best


@pytest.mark.benchmark(group="expressions", timer=time.process_time)
@pytest.mark.parametrize("name", ["integration-fwd", "integration-ibp"])
def test_pairs(benchmark: BenchmarkFixture, tmp_path: Path, name: str) -> None:
    """A chunk of each split, after the table of primitives is built; the fastest of three."""
    spec = DatasetSpec(task=name, problems=TOKEN_TASKS[name].default_spec, chunk_rows=ROWS)
    layout = Layout({"train": ROWS, "valid": ROWS // 14, "test": ROWS // 14}, ROWS)
    seeds, names = itertools.count(), itertools.count()
    benchmark.pedantic(
        lambda: make_dataset(
            spec.model_copy(update={"seed": next(seeds)}), layout, str(tmp_path / str(next(names))), workers=0
        ),
        rounds=3,
        warmup_rounds=1,
    )
    rate = (ROWS + 2 * (ROWS // 14)) / benchmark.stats.stats.min
    iterations = calibration()
    benchmark.extra_info.update(per_cpu_second=round(rate), calibration_per_cpu_second=round(iterations))
    relative = 1e6 * rate / iterations
    print(f"\n{name}: {rate:,.0f} pairs per CPU-second, {relative:,.1f} per million iterations of the loop")  # noqa: T201
