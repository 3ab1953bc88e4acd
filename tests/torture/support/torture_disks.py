"""Disks that are full or read-only, as the operating system makes them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SmallDisk:
    """A file system in memory whose size, a multiple of 4 kB, can change, and which can become read-only."""

    folder: Path

    def resize(self, kilobytes: int) -> None:
        """No smaller than what the disk holds; the space of a file that was just removed may be counted for a moment."""
        for _ in range(20):
            with contextlib.suppress(subprocess.CalledProcessError):
                return self._remount(f"size={kilobytes}k")
            time.sleep(0.05)
        self._remount(f"size={kilobytes}k")

    def set_read_only(self, read_only: bool) -> None:
        self._remount("ro" if read_only else "rw")

    def clear(self) -> None:
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def kilobytes(self) -> int:
        """The space in use."""
        status = os.statvfs(self.folder)
        return (status.f_blocks - status.f_bfree) * status.f_bsize // 1024

    def _remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.folder)], check=True, capture_output=True)


@contextlib.contextmanager
def mounted_disk(folder: Path) -> Iterator[SmallDisk]:
    """A disk of 64 MB at an empty folder. Mounting needs root: without it the test is skipped."""
    mounting = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting needs root")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def folder_in_memory(otherwise: Path) -> Iterator[Path]:
    """A temporary folder in memory where the system has such a place: thousands of trials then do not wait for a disk."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield otherwise
        return
    with tempfile.TemporaryDirectory(prefix="mathpipe-torture-", dir=shared) as folder:
        yield Path(folder)
