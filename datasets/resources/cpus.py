"""How many CPUs this process may use: the minimum of its affinity and the quotas of its control groups.

A quota of 150 ms of CPU time every 100 ms is 1.5 CPUs, rounded up to 2. The smallest quota from the group of this process up to
the root applies. (``dask.system.cpu_count`` reads the process's own group only, and importing it takes 0.2 seconds.)
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

from mathpipe.datasets.resources.control_groups import group_directories, read_text


def available_cpus(root: Path = Path("/")) -> int:
    """CPUs this process may use, 1 or more; ``root`` contains ``proc`` and ``sys``."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min([affinity, *map(math.ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """The quotas, in CPUs, of this process's control groups and of their ancestors."""
    for group in group_directories("cpu", root):
        quota = _quota(group)
        if quota is not None:
            yield quota


def _quota(group: Path) -> float | None:
    """CPU time per period of one group; None without a limit."""
    fields = read_text(group / "cpu.max").split() or [
        *read_text(group / "cpu.cfs_quota_us").split(),
        *read_text(group / "cpu.cfs_period_us").split(),
    ]
    with contextlib.suppress(ValueError, ZeroDivisionError):  # "max" and -1 are no limit
        quota, period = map(int, fields)
        return quota / period if quota > 0 else None
    return None
