"""Atomic writes of single files: written beside their place under another name, then renamed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from mathpipe.datasets.io.locations import is_url, split_location
from mathpipe.datasets.io.storage import Storage


def write_atomically(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Replace a file atomically: after a crash it is either the old or the new one. UserError without space or permission."""
    with Storage(str(path.parent)).write(path.name) as file:
        file.writelines(parts)


@contextlib.contextmanager
def open_output(location: str) -> Iterator[IO[bytes]]:
    """Open a file that a user names, a path or a URL; it appears under its name only if the block ends without an error.

    What killed writers of the same file left is removed first. A device or a pipe, such as ``/dev/stdout``, is written at once.
    """
    folder, name = split_location(location)
    if not is_url(location):
        path = Path(folder) / name
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as device:
                yield device
            return
    storage = Storage(folder)
    storage.remove_leftovers(name)
    with storage.write(name) as file:
        yield file


def own_copy(path: Path) -> None:
    """Make a file that is a link, or has hard links, a file of its own, so that appending to it changes no cache of DVC."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_symlink() or path.stat().st_nlink > 1:
            write_atomically(path, [path.read_bytes()])


def write_json(path: Path, values: dict[str, Any]) -> None:
    write_atomically(path, [json.dumps(values, indent=2).encode(), b"\n"])
