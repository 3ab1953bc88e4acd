"""Lock the directory of a dataset, so that one run at a time writes to it.

A local directory is locked with ``flock`` on the directory itself, without a lock file; the lock ends with the process. Object
stores and some file systems have no such lock. There, two runs of the same spec are harmless, since they write equal bytes
under equal names; runs of different specs are recognised by their records.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.storage import Storage

_ALREADY_LOCKED = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


@contextlib.contextmanager
def lock_directory(storage: Storage) -> Iterator[bool]:
    """Create and lock the directory of a dataset. Yields whether the lock guarantees that no other run uses it.

    UserError if another run has locked it.
    """
    folder = storage.make_directory()
    if folder is None or sys.platform == "win32":
        yield False
        return
    with contextlib.ExitStack() as locks:
        yield any(_lock(path, locks, folder) for path in (folder, log_file(folder)))


def log_file(folder: Path) -> Path:
    """The timing log beside the directory of a dataset. It may always exist, so it can carry the lock."""
    return folder.with_name(folder.name + ".log.jsonl")


def _lock(path: Path, locks: contextlib.ExitStack, folder: Path) -> bool:
    """Lock a path until ``locks`` is closed; False if the file system does not support it (NFS: on directories)."""
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return False
    locks.callback(os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _ALREADY_LOCKED:
            return False
        raise UserError(
            f"{folder} is being written by another run of `mathpipe generate`",
            expected="one run at a time per directory",
            next_step="wait for it or stop it, then repeat the same command, which keeps finished shards; or choose another --out",
        ) from None
    return True
