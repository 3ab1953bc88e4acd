"""Import of own data, verified, from every type but expressions (see ``test_bench_sequences``): ``make bench``."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mathpipe.generate.curate.dataset_import import import_dataset
from mathpipe.generate.dataset_spec import SourceFormat

ROWS = 10_000
OBJECTS = SourceFormat(format="jsonl", notation="lists")


def inverses(rng: np.random.Generator) -> Iterator[str]:
    for a in rng.integers(-99, 100, (ROWS, 5, 5)) / 10 + 20 * np.eye(5):
        yield json.dumps({"problem": a.tolist(), "solution": np.linalg.inv(a).tolist()})


def gcds(rng: np.random.Generator) -> Iterator[str]:
    for a, b in rng.integers(1, 10**6, (ROWS, 2)).tolist():
        yield json.dumps({"problem": [a, b], "solution": int(np.gcd(a, b))})


def bits(rng: np.random.Generator) -> Iterator[str]:
    for row in rng.integers(0, 2, (ROWS, 20)):
        yield "".join(map(str, row)) + "\t" + "".join(map(str, row[:10] ^ row[10:]))


@pytest.mark.benchmark(group="import", timer=time.process_time)
@pytest.mark.parametrize(
    ("task", "lines", "source"), [("inverse", inverses, OBJECTS), ("gcd", gcds, OBJECTS), ("xor", bits, SourceFormat())]
)
def test_import_lines(
    benchmark: BenchmarkFixture,
    tmp_path: Path,
    task: str,
    lines: Callable[[np.random.Generator], Iterator[str]],
    source: SourceFormat,
) -> None:
    """Lines to verified examples in shards."""
    (tmp_path / "a").write_text("\n".join(lines(np.random.default_rng(0))))
    files, names = {"train": [str(tmp_path / "a")]}, itertools.count()
    benchmark.pedantic(
        lambda: import_dataset(task, files, str(tmp_path / f"d{next(names)}"), source=source), rounds=3, warmup_rounds=1
    )
    benchmark.extra_info["per_cpu_second"] = round(ROWS / benchmark.stats.stats.median)
    print(f"\n{benchmark.name}: {ROWS / benchmark.stats.stats.median:,.0f} per CPU-second")  # noqa: T201
