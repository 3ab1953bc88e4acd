"""Tasks outside the package: gcd by a function of one example, and by a batch class: ``make bench``."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mathpipe.generate.tasks.task_registry import load_task

pytestmark = pytest.mark.benchmark(timer=time.process_time)  # CPU time, since machines are shared
DOCS = Path(__file__).parents[2] / "docs"
TEXT = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("start/first-task.md", "guides/own-tasks.md"))
FILES = dict(re.findall(r"Save this as `(\w+\.py)`:\n\n```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", ["euclid.py", "fast_gcd.py"])
def test_generation(benchmark: BenchmarkFixture, tmp_path: Path, name: str) -> None:
    """Chunks of the files of the pages in memory, valid and test included."""
    (tmp_path / name).write_text(FILES[name])
    task = load_task(str(tmp_path / name))
    spec, chunks, splits = task.make_spec({}), itertools.count(), ["train", "valid", "test"]
    rows = sum(task.rows_per_chunk(spec, split) for split in splits)
    benchmark.pedantic(lambda: task.build_chunk(spec, next(chunks), splits), rounds=5, warmup_rounds=1)
    benchmark.extra_info["per_cpu_second"] = round(rows / benchmark.stats.stats.median)
    print(f"\n{benchmark.name}: {rows / benchmark.stats.stats.median:,.0f} per CPU-second")  # noqa: T201
