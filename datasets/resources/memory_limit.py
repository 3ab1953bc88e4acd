"""How much memory this process may use: that of the machine, or of its control groups where they allow less.

    limit      min(memory of the machine, limits of the group and of its ancestors)
    available  min(available memory of the machine, limit - used of each limited group)

Cached files count as used by a group, but the kernel frees inactive ones before it kills a process: they count as available.
(``distributed.system.MEMORY_LIMIT`` reads the root of ``/sys/fs/cgroup`` alone, not the nested groups of batch systems.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mathpipe.datasets.resources.control_groups import group_directories, read_text


@dataclass(frozen=True)
class MemoryLimit:
    """Bytes that this process may use (``limit``), and those of them that are not in use (``available``).

    ``from_group``: whether a control group sets the limit.
    """

    limit: int
    available: int
    from_group: bool = False


def _machine_memory() -> Any:
    import psutil  # here, since it has one module for each operating system

    return psutil.virtual_memory()


def memory_limit(root: Path = Path("/"), machine: Callable[[], Any] = _machine_memory) -> MemoryLimit:
    """The memory of this process. ``root`` contains ``proc`` and ``sys``; ``machine()`` has ``total`` and ``available``."""
    memory = machine()
    total, limit, available = int(memory.total), int(memory.total), int(memory.available)
    for group_limit, used in _groups(root):
        if group_limit < total:  # without a limit version 1 gives a huge number
            limit = min(limit, group_limit)
            available = min(available, group_limit - used)
    return MemoryLimit(limit, max(0, min(available, limit)), limit < total)


def available_memory() -> int:
    """Bytes of memory that this process can still take; see ``memory_limit``."""
    return memory_limit().available


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, used bytes) of each limited group of this process: the smaller of its limits, hard or of throttling."""
    for group in group_directories("memory", root):
        statistics = dict(line.partition(" ")[::2] for line in read_text(group / "memory.stat").splitlines())
        limits = [_number(read_text(group / name)) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")]
        limits.append(
            _number(statistics.get("hierarchical_memory_limit", ""))
        )  # of version 1: the least of its ancestors
        used = _number(read_text(group / "memory.current")) or _number(read_text(group / "memory.usage_in_bytes")) or 0
        cached = _number(statistics.get("total_inactive_file", statistics.get("inactive_file", ""))) or 0
        if present := [limit for limit in limits if limit is not None]:
            yield min(present), max(0, used - cached)


def _number(text: str) -> int | None:
    """A count of bytes; None for "max" and for what cannot be read."""
    return int(text) if text.strip().isdigit() else None
