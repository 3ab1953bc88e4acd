"""Windows, simulated: no sync of directories, locks by ``msvcrt``, no POSIX modules, paths with drives and backslashes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io import file_locks, locations, storage
from mathpipe.datasets.io.atomic_directories import new_directory
from mathpipe.datasets.io.file_locks import lock_path
from mathpipe.datasets.io.locations import is_url, last_name
from mathpipe.datasets.io.storage import Storage, sync_directory
from mathpipe.evaluate.evaluation_directory import lock_evaluation
from mathpipe.generate.build.locking import lock_directory

BLOCKED = """
import importlib, pkgutil, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "resource", "pwd", "grp", "termios"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules.pop(name, None)
import mathpipe
"""


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Windows' rules for locks, and for opening directories; inodes that are locked -> the handle that holds the lock."""
    locked: dict[int, int] = {}
    close, open_file = os.close, os.open

    def locking(handle: int, mode: int, size: int) -> None:
        inode = os.fstat(handle).st_ino
        if inode in locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        locked[inode] = handle

    def close_and_unlock(handle: int) -> None:
        for inode in [inode for inode, holder in locked.items() if holder == handle]:
            del locked[inode]
        close(handle)

    def open_no_directory(path: str | Path, flags: int, mode: int = 0o777, **rest: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open_file(path, flags, mode, **rest)

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(file_locks, "on_windows", lambda: True)
    monkeypatch.setattr(storage, "on_windows", lambda: True)
    monkeypatch.setattr(os, "close", close_and_unlock)
    monkeypatch.setattr(os, "open", open_no_directory)
    return locked


def test_directory_is_not_synced(tmp_path: Path, windows: dict[int, int]) -> None:
    with pytest.raises(PermissionError):
        os.open(tmp_path, os.O_RDONLY)
    sync_directory(tmp_path)
    Storage(str(tmp_path)).write_text("a", "1")
    Storage(str(tmp_path)).move("a", "b/c")
    with new_directory(tmp_path / "model") as temporary:
        (temporary / "weights").write_text("1")
    assert (tmp_path / "b/c").read_text() == "1" == (tmp_path / "model/weights").read_text()


@pytest.mark.parametrize("name", ["", "new.log"], ids=["directory", "file"])
def test_second_lock_is_refused(tmp_path: Path, windows: dict[int, int], name: str) -> None:
    path = tmp_path / "place" / name
    (tmp_path / "place").mkdir()
    for _ in range(2):
        with lock_path(path) as is_locked:
            assert is_locked and windows
            with pytest.raises(BlockingIOError), lock_path(path):
                pass
        assert not windows
    assert not list(tmp_path.glob(".*.lock"))


def test_locked_directory_can_be_renamed(tmp_path: Path, windows: dict[int, int]) -> None:
    """The lock file lies beside it, since Windows renames no directory with an open file."""
    (tmp_path / "a").mkdir()
    with lock_path(tmp_path / "a"):
        assert not list((tmp_path / "a").iterdir())


def test_datasets_and_evaluations_are_locked(tmp_path: Path, windows: dict[int, int]) -> None:
    target = Storage(str(tmp_path / "x"))
    with lock_directory(target), pytest.raises(UserError, match="being written by another run"), lock_directory(target):
        pass
    with lock_evaluation(target), pytest.raises(UserError, match="in use by another process"), lock_evaluation(target):
        pass


def test_without_msvcrt_nothing_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_locks, "on_windows", lambda: True)
    with lock_path(tmp_path) as is_locked:
        assert not is_locked


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES, errno.ENOTSUP])
def test_file_systems_without_sync_of_directories(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems."""
    fsync = os.fsync

    def fail_on_directories(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").is_dir():
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail_on_directories)
    Storage(str(tmp_path)).write_text("a", "1")
    assert (tmp_path / "a").read_text() == "1"


def test_full_disk_at_the_sync_of_a_directory_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        sync_directory(tmp_path)


def test_every_module_of_the_commands_is_imported_without_posix() -> None:
    script = BLOCKED + (
        "from mathpipe.pipeline.cli import COMMANDS\n"
        "for module, attribute, _ in COMMANDS.values():\n"
        "    getattr(importlib.import_module(module), attribute)\n"
        "print(len(COMMANDS))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and int(done.stdout) > 10, done.stderr[-2000:]


def test_paths_with_drives(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_url("C:\\data\\add") and not is_url("D:/data")
    monkeypatch.setattr(locations, "PurePath", PureWindowsPath)
    monkeypatch.setattr(os, "sep", "\\")
    assert last_name("C:\\data\\add\\") == "add" == last_name("data/add") == last_name("s3://b/add/")
