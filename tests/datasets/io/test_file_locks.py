"""Locks of files and directories."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from mathpipe.datasets.io.file_locks import lock_path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no flock")


@pytest.mark.parametrize("name", ["", "new.log"], ids=["directory", "file"])
def test_second_lock_is_refused_until_the_first_is_released(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with lock_path(path) as is_locked:
        assert is_locked
        with pytest.raises(BlockingIOError), lock_path(path):
            pass
    with lock_path(path) as is_locked:
        assert is_locked


def test_missing_support_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def unsupported(handle: int, operation: int) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    with lock_path(tmp_path / "missing" / "file") as is_locked:
        assert not is_locked
    monkeypatch.setattr(fcntl, "flock", unsupported)
    with lock_path(tmp_path) as is_locked:
        assert not is_locked
