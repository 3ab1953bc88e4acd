"""What this machine offers: processor, memory, disk; and what of mathpipe and its optional parts is installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60  # control groups of version 1 write a huge number


def memory_limit(root: Path = _CGROUPS, meminfo: Path = Path("/proc/meminfo")) -> tuple[int, int] | None:
    """(bytes that are available, bytes that this process may use): memory of the machine, or of its control group if less."""
    fields = dict(line.partition(":")[::2] for line in _text(meminfo).splitlines())
    with contextlib.suppress(KeyError, ValueError, IndexError):
        available, total = (1024 * int(fields[name].split()[0]) for name in ("MemAvailable", "MemTotal"))
        limits = [_number(root / name) for name in ("memory.max", "memory/memory.limit_in_bytes")]
        limit = min([total, *(n for n in limits if n is not None and n < _UNLIMITED)])
        return min(available, limit), limit
    return None


def free_disk(path: str) -> int:
    """Free bytes of the file system that holds a directory."""
    return shutil.disk_usage(path).free


def requirements(extra: str | None = None, names: Sequence[str] | None = None) -> list[Requirement]:
    """What the installed mathpipe requires, without an extra or for one; extras that name others are followed."""
    listed = [Requirement(text) for text in (requires("mathpipe") if names is None else names) or ()]
    result: list[Requirement] = []
    for requirement in listed:
        marker = requirement.marker
        applies = marker is None or marker.evaluate({"extra": extra or ""})
        always = marker is None or marker.evaluate({"extra": ""})
        if requirement.name != "mathpipe" and applies and (extra is None or not always):
            result.append(requirement)
    return result


def missing(needed: Sequence[Requirement], installed: Callable[[str], str] = version) -> Iterator[str]:
    """What is not installed, or in another version than required."""
    for requirement in needed:
        try:
            present = installed(requirement.name)
        except PackageNotFoundError:
            yield str(requirement.name)
            continue
        if not requirement.specifier.contains(present, prereleases=True):
            yield f"{requirement.name}{requirement.specifier} ({present} is installed)"


def find_tools(names: Sequence[str]) -> dict[str, str | None]:
    """Where commands are, beside this Python or on the PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {name: shutil.which(name, path=path) for name in names}


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8")
    return ""
