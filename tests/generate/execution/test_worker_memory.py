"""How many workers fit into the memory, and what is said about it."""

from __future__ import annotations

import pytest

from mathpipe.generate.execution import worker_memory
from mathpipe.generate.execution.worker_memory import bytes_per_worker, log_little_memory, workers_that_fit

GB = 10**9


@pytest.mark.parametrize(
    ("memory", "cpus", "workers"),
    [(64 * GB, 8, 8), (2 * GB, 64, 4), (2 * GB, 2, 2), (GB, 64, 1), (GB // 10, 64, 1), (0, 4, 1)],
)
def test_workers_that_fit(memory: int, cpus: int, workers: int) -> None:
    assert workers_that_fit(memory, cpus) == workers


def test_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_memory, "available_memory", lambda: 2 * GB)
    monkeypatch.setattr(worker_memory, "available_cpus", lambda: 64)
    lines: list[str] = []
    log_little_memory(4, True, lines.append)
    assert lines == ["4 workers for 64 CPUs, because 2.0 GB of memory are available"]
    log_little_memory(2, True, lines.append)  # there were no more items
    log_little_memory(4, False, lines.append)
    assert len(lines) == 1
    log_little_memory(8, False, lines.append)
    assert lines[1:] == ["8 workers may need more: 2.0 GB of memory are available; if workers die, use --workers 4"]
    assert bytes_per_worker(2) == (2 * GB - worker_memory.PARENT_BYTES) // 2
    assert bytes_per_worker(64) == worker_memory.WORKER_BYTES
