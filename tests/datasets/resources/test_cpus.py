"""How many CPUs a process may use: affinity, and the quotas of nested control groups of either version."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mathpipe.datasets.resources.cpus import available_cpus

V1_SPLIT = {"cpu.cfs_quota_us": "150000", "cpu.cfs_period_us": "100000"}


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        pytest.param("0::/", {}, 64, id="no quota"),
        pytest.param("0::/", {"cpu.max": "max 100000"}, 64, id="v2 unlimited"),
        pytest.param("0::/", {"cpu.max": "200000 100000"}, 2, id="v2"),
        pytest.param("0::/", {"cpu.max": "150000 100000"}, 2, id="v2 rounded up"),
        pytest.param("0::/", {"cpu.max": "10000 100000"}, 1, id="v2 less than one"),
        pytest.param("0::/", {"cpu.max": "9900000 100000"}, 64, id="v2 more than the affinity"),
        pytest.param(
            "0::/a/b", {"a/b/cpu.max": "800000 100000", "a/cpu.max": "300000 100000"}, 3, id="v2 outer is less"
        ),
        pytest.param(
            "0::/a/b", {"a/b/cpu.max": "200000 100000", "a/cpu.max": "300000 100000"}, 2, id="v2 inner is less"
        ),
        pytest.param("0::/a/b", {"other/cpu.max": "100000 100000"}, 64, id="v2 another group's"),
        pytest.param("0::/../a", {"a/cpu.max": "300000 100000"}, 3, id="v2 above the namespace"),
        pytest.param("0::/", {"cpu.max": "nonsense"}, 64, id="unreadable"),
        pytest.param("", {"cpu.max": "200000 100000"}, 64, id="no groups"),
        pytest.param(
            "4:cpu,cpuacct:/a", {f"cpu,cpuacct/a/{name}": text for name, text in V1_SPLIT.items()}, 2, id="v1"
        ),
        pytest.param("4:cpu:/a", {f"cpu/a/{name}": text for name, text in V1_SPLIT.items()}, 2, id="v1 cpu alone"),
        pytest.param(
            "4:cpuacct,cpu:/docker/123",
            {f"cpu/{name}": text for name, text in V1_SPLIT.items()},
            2,
            id="v1 of a container, under the other name",
        ),
        pytest.param(
            "4:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, 64, id="v1 unlimited"
        ),
        pytest.param(
            "5:cpuset:/\n4:cpu:/a\n0::/",
            {"cpu/a/cpu.cfs_quota_us": "400000", "cpu/a/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "-1"},
            4,
            id="hybrid",
        ),
    ],
)
def test_available_cpus(
    membership: str, files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    contents = {"proc/self/cgroup": membership} | {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert available_cpus(tmp_path) == expected


def test_available_cpus_without_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert available_cpus(tmp_path) == 3


def test_available_cpus_of_this_process() -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)
