"""Atomic writes of local files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mathpipe.datasets.io.storage import Storage


def write_atomically(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Replace a file atomically: after a crash it is either the old or the new one. UserError without space or permission."""
    with Storage(str(path.parent)).write(path.name) as file:
        file.writelines(parts)


def own_copy(path: Path) -> None:
    """Make a file that is a link, or has hard links, a file of its own, so that appending to it changes no cache of DVC."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_symlink() or path.stat().st_nlink > 1:
            write_atomically(path, [path.read_bytes()])


def write_json(path: Path, values: dict[str, Any]) -> None:
    write_atomically(path, [json.dumps(values, indent=2).encode(), b"\n"])
