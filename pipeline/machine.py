"""What this machine offers: processor, memory, disk; and what of mathpipe and its optional parts is installed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement


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
