"""Datasets of expressions: generation for every task, import, batches: ``make bench``."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.export_formats import export_text
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_import import import_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.task_registry import TOKEN_TASKS

pytestmark = pytest.mark.benchmark(timer=time.process_time)  # CPU time, since machines are shared
BWD = "integration-bwd"


def rate(benchmark: BenchmarkFixture, work: Callable[[], object], items: int) -> None:
    benchmark.pedantic(work, rounds=3, warmup_rounds=1)
    benchmark.extra_info["per_cpu_second"] = round(items / benchmark.stats.stats.median)
    print(f"\n{benchmark.name}: {items / benchmark.stats.stats.median:,.0f} per CPU-second")  # noqa: T201


@pytest.mark.benchmark(group="expressions", timer=time.process_time)
@pytest.mark.parametrize("name", TOKEN_TASKS)
def test_dataset(benchmark: BenchmarkFixture, tmp_path: Path, name: str) -> None:
    """Sampling, verification, splits, writing and manifest."""
    rows, names = 280, itertools.count()
    spec = DatasetSpec(task=name, problems=TOKEN_TASKS[name].default_spec, chunk_rows=rows)
    layout = Layout({"train": rows, "valid": rows // 14, "test": rows // 14}, rows)
    seeds = (spec.model_copy(update={"seed": k}) for k in itertools.count())
    rate(
        benchmark,
        lambda: make_dataset(next(seeds), layout, str(tmp_path / str(next(names))), workers=0),
        rows + 2 * (rows // 14),
    )


@pytest.fixture(scope="module")
def integrals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    url = tmp_path_factory.mktemp("data") / "bwd"
    spec = DatasetSpec(task=BWD, problems=TOKEN_TASKS[BWD].default_spec, chunk_rows=1_000)
    make_dataset(spec, Layout({"train": 16_000}, 16_000), str(url), workers=0)
    return url


@pytest.mark.benchmark(group="expressions", timer=time.process_time)
def test_import(benchmark: BenchmarkFixture, integrals: Path, tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as file:
        export_text(open_dataset(integrals), file)
    names = itertools.count()
    files = {"train": [str(tmp_path / "a.txt")]}
    rate(benchmark, lambda: import_dataset(BWD, files, str(tmp_path / f"d{next(names)}")), 16_000)


@pytest.mark.benchmark(group="expressions", timer=time.process_time)
def test_batches(benchmark: BenchmarkFixture, integrals: Path) -> None:
    data = open_dataset(integrals)

    def load_batches() -> None:
        with data.batches(64, seed=0) as stream:
            for _ in range(500):
                next(stream)

    rate(benchmark, load_batches, 500 * 64)
