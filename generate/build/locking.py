"""Lock the directory of a dataset, so that one run at a time writes to it.

A local directory is locked with ``flock`` on the directory itself, without a lock file; the lock ends with the process. Object
stores and some file systems have no such lock. There, two runs of the same spec are harmless, since they write equal bytes
under equal names; runs of different specs are recognised by their records.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.file_locks import lock_path
from mathpipe.datasets.io.storage import Storage


@contextlib.contextmanager
def lock_directory(storage: Storage) -> Iterator[bool]:
    """Create and lock the directory of a dataset. Yields whether the lock guarantees that no other run uses it.

    UserError if another run has locked it.
    """
    folder = storage.make_directory()
    if folder is None:
        yield False
        return
    with contextlib.ExitStack() as locks:
        try:
            is_exclusive = any(locks.enter_context(lock_path(path)) for path in (folder, log_file(folder)))
        except BlockingIOError:
            raise UserError(
                f"{folder} is being written by another run of `mathpipe generate`",
                expected="one run at a time per directory",
                next_step="wait for it or stop it, then repeat the same command, which keeps finished shards; "
                "or choose another --out",
            ) from None
        yield is_exclusive


def log_file(folder: Path) -> Path:
    """The timing log beside the directory of a dataset. It may always exist, so it can carry the lock."""
    return folder.with_name(folder.name + ".log.jsonl")
