"""Exclusive locks of files and directories, which the operating system releases when the process ends."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCKED_ERRORS = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


@contextmanager
def lock_path(path: Path) -> Iterator[bool]:
    """Lock a directory, or a file that is created if needed. Yields False where the platform or the file system has no such lock.

    BlockingIOError if another process holds the lock.
    """
    if sys.platform == "win32":  # has no flock
        yield False
        return
    try:
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        yield False
        return
    try:
        yield _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Lock an open file; False if the file system does not support it (NFS: on directories)."""
    import fcntl  # not on Windows

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _LOCKED_ERRORS:
            raise BlockingIOError(error.errno, "locked by another process") from None
        return False
    return True
