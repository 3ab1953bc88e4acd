"""Start-up: the elapsed time of whole commands, each in its own process."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.benchmark
GENERATE = "generate --task inverse --n 1k --out {folder}/{k}"


@pytest.mark.parametrize("line", ["--help", "tasks", "show {folder}/0 -k 1", "verify {folder}/0", GENERATE])
def test_bench_command(benchmark: Any, line: str, tmp_path: Path) -> None:
    numbers = itertools.count()

    def call(text: str) -> None:
        arguments = text.format(folder=tmp_path, k=next(numbers)).split()
        subprocess.run([sys.executable, "-m", "mathpipe.pipeline.cli", *arguments], check=True, capture_output=True)

    call(GENERATE)
    benchmark.pedantic(call, (line,), rounds=5, warmup_rounds=1)
