"""Atomic writes of local directories: written beside their place under another name, then renamed."""

from __future__ import annotations

import contextlib
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.file_locks import lock_path
from mathpipe.datasets.io.foreign_files import is_foreign
from mathpipe.datasets.io.storage import sync_directory
from mathpipe.datasets.io.store_errors import local_errors

_MARK = ".writing-"


def is_free(directory: Path) -> bool:
    """Whether a directory is absent or holds at most marks of the system such as ``.DS_Store``: ``new_directory`` may write it."""
    if not directory.exists():
        return True
    return directory.is_dir() and all(is_foreign(path.name) for path in directory.iterdir())


@contextlib.contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """A temporary directory that is renamed to ``directory`` if the block ends without an error, and else removed.

    What killed writers of the same directory left is removed first. UserError if ``directory`` holds files.
    """
    directory = directory.resolve()  # a link to an empty directory, perhaps on another disk, stays
    temporary = directory.with_name(f".{directory.name}{_MARK}{uuid.uuid4().hex[:8]}")
    with local_errors(str(directory)):
        directory.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(directory)
        temporary.mkdir()
    try:
        with lock_path(temporary):
            yield temporary
            if not is_free(directory):
                raise _occupied(directory)
        if directory.exists():
            for path in directory.iterdir():  # marks of the system stay
                path.rename(temporary / path.name)
            directory.rmdir()  # Windows renames onto no directory
        temporary.rename(directory)
        sync_directory(directory.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_leftovers(directory: Path) -> None:
    """Remove the temporary directories of killed writers: those that are locked are in use."""
    pattern = re.compile(re.escape(f".{directory.name}{_MARK}") + "[0-9a-f]{8}")
    for leftover in directory.parent.iterdir():
        if pattern.fullmatch(leftover.name) and leftover.is_dir():
            with contextlib.suppress(BlockingIOError), lock_path(leftover) as is_exclusive:
                if is_exclusive:
                    shutil.rmtree(leftover, ignore_errors=True)


def _occupied(directory: Path) -> UserError:
    return UserError(
        f"{directory} holds other files",
        expected="an empty or absent directory",
        next_step="choose another directory with --out",
    )


def require_free(directory: Path) -> None:
    """UserError if ``directory`` holds files."""
    if not is_free(directory):
        raise _occupied(directory)
