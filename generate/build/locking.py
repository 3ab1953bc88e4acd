"""One run at a time in a directory.

A local directory is locked (``flock`` on the directory itself, so that no file of ours lies among those of the dataset); the lock
ends with the process, however it ends. An object store knows no such lock: there, and on a file system without locks, two runs
of one spec are harmless, since they write equal bytes under equal names; two of different specs are told apart by their records.
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

_TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


@contextlib.contextmanager
def claimed(storage: Storage) -> Iterator[bool]:
    """Hold a dataset's directory, made where it is absent. Yields whether this run is sure to be alone in it.

    UserError where another run holds it.
    """
    folder = storage.make()
    if folder is None or sys.platform == "win32":
        yield False
        return
    with contextlib.ExitStack() as held:
        yield any(_lock(path, held, folder) for path in (folder, log_file(folder)))


def log_file(folder: Path) -> Path:
    """The log of a dataset's timings, beside its directory: a file that may always be there, and so may carry the lock."""
    return folder.with_name(folder.name + ".log.jsonl")


def _lock(path: Path, held: contextlib.ExitStack, folder: Path) -> bool:
    """Lock a path until ``held`` ends; False where the file system knows no lock on it (NFS: on directories)."""
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return False
    held.callback(os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _TAKEN:
            return False
        raise UserError(
            f"{folder} is being written by another run of `mathpipe generate`",
            expected="one run at a time in a directory",
            next_step="wait for it to end or stop it; the same command then keeps what it finished. Or choose another --out",
        ) from None
    return True
