"""Exclusive locks of files and directories, which the operating system releases when the process ends.

POSIX locks the file or directory itself with ``flock``. Windows cannot lock a directory: there a hidden file beside it is locked.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mathpipe.datasets.io.operating_system import on_windows

_LOCKED_ERRORS = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}


@contextmanager
def lock_path(path: Path) -> Iterator[bool]:
    """Lock a directory, or a file that is created if needed. Yields False where the platform or the file system has no such lock.

    BlockingIOError if another process holds the lock.
    """
    beside = on_windows() and path.is_dir()
    target = path.with_name(f".{path.name}.lock") if beside else path
    try:
        handle = os.open(target, os.O_RDONLY if target.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        yield False
        return
    try:
        yield _lock(handle)
    finally:
        os.close(handle)
        if beside:
            with contextlib.suppress(OSError):  # another process has opened it
                target.unlink()


def _lock(handle: int) -> bool:
    """Lock an open file; False if the file system does not support it (NFS: on directories)."""
    try:
        _lock_windows(handle) if on_windows() else _lock_posix(handle)
    except OSError as error:
        if error.errno in _LOCKED_ERRORS:
            raise BlockingIOError(error.errno, "locked by another process") from None
        return False
    except ImportError:  # a Python without these modules
        return False
    return True


def _lock_posix(handle: int) -> None:
    import fcntl  # not on Windows

    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_windows(handle: int) -> None:
    msvcrt: Any = importlib.import_module("msvcrt")  # only on Windows
    msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
