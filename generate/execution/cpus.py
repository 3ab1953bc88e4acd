"""How many CPUs this process may use: the minimum of its affinity and the quotas of its control groups.

A quota of 150 ms of CPU time every 100 ms is 1.5 CPUs, rounded up to 2. Groups are nested: the smallest quota from the
group of this process up to the root applies. (``dask.system.cpu_count`` reads the process's own group only, and importing it
takes 0.2 seconds.)
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path


def available_cpus(root: Path = Path("/")) -> int:
    """CPUs this process may use, 1 or more; ``root`` contains ``proc`` and ``sys``."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min([affinity, *map(math.ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """The quotas, in CPUs, of this process's control groups and of their ancestors (versions 1 and 2)."""
    mounts = root / "sys" / "fs" / "cgroup"
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        # "0::/a/b" in version 2, "4:cpu,cpuacct:/a/b" in version 1
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not path or (controllers and "cpu" not in controllers.split(",")):
            continue
        for mount in (mounts, mounts / "unified") if not controllers else (mounts / controllers, mounts / "cpu"):
            for group in _up_to_root(mount, path):
                quota = _quota(group)
                if quota is not None:
                    yield quota


def _up_to_root(mount: Path, path: str) -> Iterator[Path]:
    """The directories of a group and of its ancestors. Inside a container the first ones may not exist."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return (mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1))


def _quota(group: Path) -> float | None:
    """CPU time per period of one group; None without a limit."""
    fields = _text(group / "cpu.max").split() or [
        *_text(group / "cpu.cfs_quota_us").split(),
        *_text(group / "cpu.cfs_period_us").split(),
    ]
    with contextlib.suppress(ValueError, ZeroDivisionError):  # "max" and -1 are no limit
        quota, period = map(int, fields)
        return quota / period if quota > 0 else None
    return None


def _text(file: Path) -> str:
    """The contents of a file; empty if it cannot be read."""
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8")
    return ""
