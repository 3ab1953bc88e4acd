"""The directories of this process's control groups, of versions 1 and 2.

Groups are nested, and a limit of an outer group applies to the inner ones too. A container sees its own group as the root of
``/sys/fs/cgroup``; a batch system such as Slurm leaves the process in a nested group of the machine's tree.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


def group_directories(controller: str, root: Path) -> Iterator[Path]:
    """Where the groups of this process, and their ancestors, may lie; ``root`` contains ``proc`` and ``sys``.

    ``controller``: of version 1, such as ``cpu`` or ``memory``. Directories may not exist.
    """
    mounts = root / "sys" / "fs" / "cgroup"
    for line in read_text(root / "proc" / "self" / "cgroup").splitlines():
        # "0::/a/b" in version 2, "4:cpu,cpuacct:/a/b" in version 1
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not path or (controllers and controller not in controllers.split(",")):
            continue
        for mount in (mounts, mounts / "unified") if not controllers else (mounts / controllers, mounts / controller):
            yield from _up_to_root(mount, path)


def _up_to_root(mount: Path, path: str) -> Iterator[Path]:
    """The directories of a group and of its ancestors. Inside a container the first ones may not exist."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return (mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1))


def read_text(file: Path) -> str:
    """The contents of a file; empty if it cannot be read."""
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8")
    return ""
