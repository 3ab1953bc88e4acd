"""The memory of a command and of all its worker processes, while it runs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_INTERVAL = 0.1  # seconds between two samples
_MEGABYTE = 10**6
_MAIN = "import sys; from mathpipe.pipeline.cli import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class MemoryUse:
    """``quarters``: the largest resident memory, in MB, in each quarter of the time that a command ran."""

    quarters: tuple[float, float, float, float]
    cpu_seconds: float

    @property
    def peak(self) -> float:
        return max(self.quarters)

    @property
    def is_flat(self) -> bool:
        """Whether the last quarter takes no more than the second, but for what an allocator keeps."""
        return self.quarters[3] <= 1.1 * self.quarters[1] + 30


def measure_mathpipe(line: Sequence[str], log: Path) -> MemoryUse:
    """Run ``mathpipe LINE``; AssertionError with its output if it fails."""
    return measure([sys.executable, "-c", _MAIN, *line], log)


def measure(command: Sequence[str], log: Path) -> MemoryUse:
    """Run a command and add up the resident memory of its processes; shared pages count once in each of them."""
    samples: list[tuple[float, float]] = []
    started, cpu_seconds = time.monotonic(), 0.0
    with log.open("wb") as output, subprocess.Popen(list(command), stdout=output, stderr=output) as process:
        try:
            root = psutil.Process(process.pid)
            while process.poll() is None:
                samples.append((time.monotonic() - started, _resident(root)))
                cpu_seconds = max(cpu_seconds, _cpu_seconds(root))
                time.sleep(_INTERVAL)
        finally:
            process.kill()
    assert process.returncode == 0, log.read_text(errors="replace")[-2000:]
    quarter = samples[-1][0] / 4
    parts = [[memory for at, memory in samples if k * quarter <= at <= (k + 1) * quarter] for k in range(4)]
    a, b, c, d = (round(max(part, default=0.0), 1) for part in parts)
    return MemoryUse((a, b, c, d), round(cpu_seconds, 1))


def _resident(root: psutil.Process) -> float:
    total = 0
    try:
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.Error:  # a process ended meanwhile
        return 0.0
    return total / _MEGABYTE


def _cpu_seconds(root: psutil.Process) -> float:
    try:
        return sum(sum(process.cpu_times()[:2]) for process in [root, *root.children(recursive=True)])
    except psutil.Error:
        return 0.0
