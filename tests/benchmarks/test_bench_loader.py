"""The loader: batches of 64 problems, decoded, encoded, shuffled, per CPU-second: ``make bench``."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mathpipe.datasets.dataset import open_dataset
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec

pytestmark = pytest.mark.benchmark(timer=time.process_time)  # CPU time, since machines are shared
BATCHES, SIZE = 2_500, 64


@pytest.mark.benchmark(group="loader", timer=time.process_time)
@pytest.mark.parametrize("name", ["P10", "P1000", "FP15"])
def test_batches(benchmark: BenchmarkFixture, tmp_path: Path, name: str) -> None:
    spec = DatasetSpec(task="inverse", problems=MatrixSpec())
    make_dataset(spec, Layout({"train": 200_000}, 100_000), str(tmp_path / "d"), workers=0)
    data = open_dataset(tmp_path / "d", "train", name, name)

    def load_batches() -> None:
        with data.batches(SIZE, seed=0) as stream:
            for _ in range(BATCHES):
                next(stream)

    benchmark.pedantic(load_batches, rounds=3, warmup_rounds=1)
    rows = BATCHES * SIZE / benchmark.stats.stats.median
    print(f"\n{benchmark.name}: {rows:,.0f} rows per CPU-second")  # noqa: T201
