"""Atomic writes of local directories: written beside their place under another name, then renamed."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.file_locks import lock_path

_MARK = ".writing-"


def is_free(directory: Path) -> bool:
    """Whether a directory is absent or empty, so that ``new_directory`` may write it."""
    return not directory.exists() or (directory.is_dir() and not any(directory.iterdir()))


@contextlib.contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """A temporary directory that is renamed to ``directory`` if the block ends without an error, and else removed.

    What killed writers of the same directory left is removed first. UserError if ``directory`` holds files.
    """
    directory = directory.resolve()  # a link to an empty directory, perhaps on another disk, stays
    directory.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{directory.name}{_MARK}"
    for leftover in directory.parent.glob(f"{prefix}*"):
        with contextlib.suppress(BlockingIOError), lock_path(leftover):
            shutil.rmtree(leftover, ignore_errors=True)
    temporary = directory.with_name(f"{prefix}{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        with lock_path(temporary):
            yield temporary
            if not is_free(directory):
                raise _occupied(directory)
            temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
