"""Files of a dataset on any fsspec URL: a directory, ``s3://...``, ``memory://...``.

A file appears whole or not at all: locally it is written under a temporary name, synced and renamed; on an object store the
completed upload is the commit.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from mathpipe.datasets.errors import UserError

_TEMPORARY = ".writing-"


@dataclass(frozen=True)
class Storage:
    """One directory, by its URL."""

    url: str

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        try:
            fs, path = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as problem:
            raise UserError(
                f"{self.url} cannot be opened",
                expected="a directory, or a URL that fsspec knows (s3://..., gs://...)",
                got=str(problem),
                next_step="for an object store install its package, for example `pip install s3fs`",
            ) from problem
        return fs, path.rstrip("/") or "/"

    @property
    def local_path(self) -> Path | None:
        """The directory on this machine, or None for an object store."""
        fs, path = self._opened
        return Path(path) if isinstance(fs, LocalFileSystem) else None

    def path(self, name: str = "") -> str:
        """The file's path within its file system."""
        return f"{self._opened[1]}/{name}" if name else self._opened[1]

    @property
    def fs(self) -> Any:
        return self._opened[0]

    def size(self, name: str) -> int | None:
        """Bytes of a file, or None where there is none."""
        try:
            info = self.fs.info(self.path(name))
        except FileNotFoundError:
            return None
        return int(info["size"]) if info["type"] == "file" else None

    def read_text(self, name: str) -> str | None:
        """A small file whole, or None where there is none."""
        try:
            with self.fs.open(self.path(name), "rb") as file:
                return bytes(file.read()).decode()
        except FileNotFoundError:
            return None

    def list(self, folder: str = "") -> list[str]:
        """Names of what lies directly in a folder, sorted; empty where there is no such folder."""
        try:
            found = self.fs.ls(self.path(folder), detail=False)
        except FileNotFoundError:
            return []
        except NotADirectoryError as problem:
            raise UserError(f"{self.path(folder)} is a file", expected="a directory") from problem
        return sorted(str(p).rstrip("/").rsplit("/", 1)[-1] for p in found)

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens where there is none."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.path(name))

    def remove_unfinished(self, folder: str) -> None:
        """Remove what killed writers left behind in a folder."""
        for name in self.list(folder):
            if _TEMPORARY in name:
                self.remove(f"{folder}/{name}" if folder else name)

    def write_text(self, name: str, text: str) -> None:
        """Write a small file whole or not at all."""
        with self.write(name) as file:
            file.write(text.encode())

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        """A file opened for writing that takes its name only when the block ends without an error.

        Raises UserError for a full disk, a read-only directory or missing permission.
        """
        with _explained(self.path(name)):
            if self.local_path is None:
                with self.fs.open(self.path(name), "wb") as remote:
                    try:
                        yield remote
                    except BaseException:
                        discard = getattr(remote, "discard", None)
                        if discard is not None:
                            discard()
                        raise
                return
            target = Path(self.path(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}{_TEMPORARY}{uuid.uuid4().hex[:8]}")
            try:
                with temporary.open("wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_directory(target.parent)

    def checksum(self, name: str) -> str:
        """sha256 of a file, hexadecimal."""
        with self.fs.open(self.path(name), "rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()


class HashingFile:
    """A file to write to that knows the sha256 and the number of bytes that went through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._digest.update(view)
        self.bytes += view.nbytes
        self._file.write(view)
        return view.nbytes

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """The file underneath stays open: who opened it closes it."""
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_CAUSES: dict[int, tuple[str | None, str]] = {
    errno.ENOSPC: ("the disk is full", "free some space; the same command goes on where it stopped"),
    errno.EDQUOT: ("the disk quota is used up", "free some space; the same command goes on where it stopped"),
    errno.EACCES: ("no permission to write there", "choose another directory, or change its permissions"),
    errno.EPERM: ("no permission to write there", "choose another directory, or change its permissions"),
    errno.EROFS: ("the file system is read-only", "choose another directory"),
    errno.ENOTDIR: ("a file stands where a directory should be", "choose another directory"),
    errno.EEXIST: ("a file stands where a directory should be", "choose another directory"),
}


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Tell the file system's refusals as a UserError."""
    try:
        yield
    except OSError as problem:
        cause, next_step = _CAUSES.get(problem.errno or 0, (None, "choose another directory"))
        raise UserError(
            f"{path} cannot be written", cause=cause, got=problem.strerror or str(problem), next_step=next_step
        ) from problem


def set_aside(url: str) -> str:
    """Move a directory out of the way to ``<name>.old-<k>`` and return where it went; nothing is deleted."""
    storage = Storage(url)
    path = Path(storage.local_path) if storage.local_path is not None else None
    for k in range(1, 10_000):
        aside = f"{storage.path()}.old-{k}"
        if not storage.fs.exists(aside):
            break
    if path is not None:
        with _explained(str(path)):
            path.rename(aside)
    else:
        storage.fs.mv(storage.path(), aside, recursive=True)
    return aside
