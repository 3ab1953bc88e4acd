"""Places of files: local paths with ``~``, fsspec URLs, and places recorded relative to a directory.

A run records its dataset relative to its own directory, so that both can be moved together, and used from any working directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from urllib.parse import unquote, urlparse

from mathpipe.datasets.errors import UserError

_URL = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]+:(//|:)"
)  # two letters at least: C:\ is a drive; a second colon chains file systems


def is_url(location: str | Path) -> bool:
    """Whether a location is an fsspec URL such as ``s3://bucket/x``, and no path of this machine.

    >>> is_url("s3://bucket/x"), is_url("simplecache::s3://b/x"), is_url("data/x"), is_url("C:/x")
    (True, True, False, False)
    """
    return isinstance(location, str) and _URL.match(location) is not None


def expand(location: str) -> str:
    """A location with ``~`` and ``~user`` expanded, and ``file://`` removed; other URLs are unchanged."""
    if location.startswith("file://"):
        path = unquote(urlparse(location).path)
        return path[1:] if re.match(r"/[A-Za-z]:", path) else path  # file:///C:/x
    return location if is_url(location) else os.path.expanduser(location)  # noqa: PTH111 - Path drops a final slash


def local_path(location: str | Path, name: str) -> Path:
    """The local path of a location; UserError for a URL. ``name``: of the option or argument, such as ``--run``."""
    path = expand(str(location))
    if is_url(path):
        raise UserError(
            f"{name} is a URL, and must be a path of this machine",
            expected="a local or mounted path, such as runs/inverse or ~/runs/inverse",
            got=str(location),
            cause="only datasets and evaluations are read from and written to object stores",
            next_step="name a local path, and copy its files with the tool of the store (`aws s3 sync`, `gsutil rsync`)",
        )
    return Path(path)


def split_location(location: str) -> tuple[str, str]:
    """(directory or URL, name) of a file: ``/x.txt`` is ``("/", "x.txt")``, ``x.txt`` is ``(".", "x.txt")``."""
    if is_url(location):
        folder, _, name = location.rpartition("/")
        return folder, name
    path = Path(expand(location))
    return str(path.parent), path.name


def last_name(location: str) -> str:
    """The last part of a location, such as ``inverse`` of ``s3://bucket/inverse/`` and of ``data\\inverse`` on Windows."""
    return location.rstrip("/" + os.sep).replace(os.sep, "/").rsplit("/", 1)[-1]


def same_location(a: str, b: str) -> bool:
    """Whether two locations are the same directory, whatever their form, or the same URL."""
    if is_url(a) or is_url(b):
        return a.rstrip("/") == b.rstrip("/")
    return os.path.realpath(expand(a)) == os.path.realpath(expand(b))


def relative_location(location: str, base: Path) -> str:
    """A location as recorded in the directory ``base``: relative to it, with slashes.

    A URL stays as it is; a path on another drive, or one that shares the root directory alone, is absolute.
    """
    if not location or is_url(location):
        return location
    target, start = (os.path.abspath(path) for path in (expand(location), base))  # noqa: PTH100 - keeps links
    try:
        common = os.path.commonpath([target, start])
    except ValueError:  # on two drives
        return target
    if common == os.path.dirname(common):  # noqa: PTH120 - they share the root alone
        return target
    return PurePath(os.path.relpath(target, start)).as_posix()


def resolve_location(stored: str, base: Path, exists: Callable[[str], bool]) -> str:
    """The place of a recorded location: relative to ``base``; if there is nothing, below the parents of ``base`` or here.

    The parents serve a directory that was moved alone, as from ``runs/a`` to ``runs/old/a``.
    """
    if not stored or is_url(stored) or PurePath(stored).is_absolute():
        return stored
    candidates = list(_candidates(stored, base))
    return next((place for place in candidates if exists(place)), candidates[0])


def _candidates(stored: str, base: Path) -> Iterator[str]:
    yield os.path.normpath(base / stored)
    tail = PurePath(*(part for part in PurePath(stored).parts if part != ".."))
    for parent in base.absolute().parents:
        yield str(parent / tail)
    yield stored
