"""How much memory a process may use: the machine's, and the limits of nested control groups of either version."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mathpipe.datasets.resources.memory_limit import memory_limit

GB = 10**9
UNLIMITED = "9223372036854771712"  # of version 1
MACHINE = SimpleNamespace(total=64 * GB, available=40 * GB)


@pytest.mark.parametrize(
    ("membership", "files", "limit", "available"),
    [
        pytest.param("0::/", {}, 64, 40, id="no group"),
        pytest.param("0::/", {"memory.max": "max"}, 64, 40, id="v2 unlimited"),
        pytest.param("0::/", {"memory.max": f"{2 * GB}"}, 2, 2, id="v2"),
        pytest.param("0::/", {"memory.max": f"{2 * GB}", "memory.current": f"{GB}"}, 2, 1, id="v2 in use"),
        pytest.param(
            "0::/",
            {"memory.max": f"{4 * GB}", "memory.current": f"{3 * GB}", "memory.stat": f"anon 1\ninactive_file {GB}"},
            4,
            2,
            id="v2 cached files are available",
        ),
        pytest.param("0::/", {"memory.max": f"{GB}", "memory.current": f"{2 * GB}"}, 1, 0, id="v2 more in use"),
        pytest.param("0::/", {"memory.max": f"{4 * GB}", "memory.high": f"{3 * GB}"}, 3, 3, id="v2 throttled before"),
        pytest.param("0::/", {"memory.max": f"{50 * GB}"}, 50, 40, id="v2 more than is available"),
        pytest.param("0::/", {"memory.max": f"{99 * GB}"}, 64, 40, id="v2 more than the machine has"),
        pytest.param(
            "0::/a/b", {"a/b/memory.max": f"{8 * GB}", "a/memory.max": f"{3 * GB}"}, 3, 3, id="v2 outer is less"
        ),
        pytest.param(
            "0::/a/b", {"a/b/memory.max": f"{2 * GB}", "a/memory.max": f"{3 * GB}"}, 2, 2, id="v2 inner is less"
        ),
        pytest.param(
            "0::/a/b",
            {"a/b/memory.max": f"{2 * GB}", "a/memory.max": f"{3 * GB}", "a/memory.current": f"{2 * GB}"},
            2,
            1,
            id="v2 others use the outer group",
        ),
        pytest.param("0::/a", {"other/memory.max": f"{GB}"}, 64, 40, id="v2 another group's"),
        pytest.param("0::/", {"memory.max": "nonsense"}, 64, 40, id="unreadable"),
        pytest.param("4:memory:/a", {"memory/a/memory.limit_in_bytes": f"{2 * GB}"}, 2, 2, id="v1"),
        pytest.param("4:memory:/a", {"memory/a/memory.limit_in_bytes": UNLIMITED}, 64, 40, id="v1 unlimited"),
        pytest.param(
            "4:memory:/docker/1",
            {"memory/memory.limit_in_bytes": f"{2 * GB}", "memory/memory.usage_in_bytes": f"{GB}"},
            2,
            1,
            id="v1 of a container, which sees its own group as the root",
        ),
        pytest.param(
            "4:memory:/",
            {
                "memory/memory.limit_in_bytes": UNLIMITED,
                "memory/memory.usage_in_bytes": f"{2 * GB}",
                "memory/memory.stat": f"cache 0\nhierarchical_memory_limit {3 * GB}\ntotal_inactive_file {GB}",
            },
            3,
            2,
            id="v1 limit of an ancestor that cannot be seen",
        ),
        pytest.param(
            "5:cpu:/x\n4:memory:/a\n0::/",
            {"memory/a/memory.limit_in_bytes": f"{4 * GB}", "cpu/x/memory.limit_in_bytes": f"{GB}"},
            4,
            4,
            id="hybrid",
        ),
        pytest.param("0::/", {"unified/memory.max": f"{2 * GB}"}, 2, 2, id="hybrid, mounted as unified"),
    ],
)
def test_memory_limit(membership: str, files: dict[str, str], limit: int, available: int, tmp_path: Path) -> None:
    contents = {"proc/self/cgroup": membership} | {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    memory = memory_limit(tmp_path, lambda: MACHINE)
    assert (memory.limit, memory.available) == (limit * GB, available * GB)
    assert memory.from_group == (limit < 64)


def test_memory_of_this_process() -> None:
    memory = memory_limit()
    assert 0 < memory.available <= memory.limit


@pytest.fixture
def limited_group() -> Iterator[Path]:
    """A control group of this machine with 1.5 GB of memory."""
    for mount, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(mount) / f"mathpipe-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / name).write_text(f"{1_500_000_000}")
        except OSError:  # the controller is not delegated to this group
            group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("control groups cannot be made here")


_IN_GROUP = """
import os, sys
from pathlib import Path
(Path(sys.argv[1]) / "cgroup.procs").write_text(str(os.getpid()))
from mathpipe.datasets.resources.memory_limit import memory_limit
from mathpipe.generate.execution.worker_memory import workers_that_fit
print(memory_limit().limit, workers_that_fit(cpus=64))
"""


def test_limit_of_a_real_group(limited_group: Path) -> None:
    """Where this process may make control groups, as root; 64 CPUs with 1.5 GB get three workers at most."""
    command = [sys.executable, "-c", _IN_GROUP, str(limited_group)]
    limit, workers = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert abs(limit - 1_500_000_000) < 10**6  # whole pages
    assert 1 <= workers <= 3
