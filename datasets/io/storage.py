"""Files of a dataset on any fsspec URL: a directory, ``s3://...``, ``memory://...``.

A file appears whole or not at all: locally it is written under a temporary name, synced and renamed; on an object store the
completed upload is the commit. What an object store's client raises is told as a ``StoreError``; where trying again may help,
as a ``PassingStoreError``.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal

import fsspec
from fsspec.implementations.local import LocalFileSystem

from mathpipe.datasets.errors import UserError

_TEMPORARY = ".writing-"
_Doing = Literal["read", "written", "removed", "moved"]


class StoreError(UserError):
    """An object store refused what was asked of it, or could not be reached."""


class PassingStoreError(StoreError):
    """An object store that is slow, overloaded or out of reach: trying again later may help."""


@dataclass(frozen=True)
class Storage:
    """One directory, by its URL."""

    url: str

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        try:
            # listings are never cached: other processes write here
            fs, path = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise UserError(
                f"{self.url} cannot be opened",
                expected="a directory, or a URL that fsspec knows (s3://..., gs://...)",
                got=str(error),
                next_step="for an object store install its package: `pip install s3fs`, `pip install gcsfs`",
            ) from error
        return fs, path.rstrip("/") or "/"

    @property
    def local_path(self) -> Path | None:
        """The directory on this machine, or None for an object store."""
        fs, path = self._opened
        return Path(path) if isinstance(fs, LocalFileSystem) else None

    @property
    def absolute_url(self) -> str:
        """The URL that means the same in a process that works elsewhere: a local path made absolute."""
        return self.url if self.local_path is None else str(self.local_path)

    def path(self, name: str = "") -> str:
        """The file's path within its file system."""
        return f"{self._opened[1]}/{name}" if name else self._opened[1]

    @property
    def fs(self) -> Any:
        return self._opened[0]

    def _asked(self, name: str, doing: _Doing) -> contextlib.AbstractContextManager[None]:
        """Around every request: an object store's errors become StoreErrors, a directory's stay what they are."""
        url = f"{self.url.rstrip('/')}/{name}" if name else self.url
        return contextlib.nullcontext() if self.local_path is not None else _store_explained(url, doing)

    def make(self) -> Path | None:
        """Make the directory on this machine and return it; None for an object store, which has no directories."""
        if self.local_path is not None:
            with _explained(str(self.local_path)):
                self.local_path.mkdir(parents=True, exist_ok=True)
        return self.local_path

    def size(self, name: str) -> int | None:
        """Bytes of a file, or None where there is none."""
        try:
            with self._asked(name, "read"):
                info = self.fs.info(self.path(name))
        except FileNotFoundError:
            return None
        return int(info["size"]) if info["type"] == "file" else None

    def sizes(self, folder: str) -> dict[str, int]:
        """Name and bytes of every file directly in a folder: one listing, however many there are."""
        try:
            with self._asked(folder, "read"):
                found = self.fs.ls(self.path(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {str(f["name"]).rsplit("/", 1)[-1]: int(f["size"]) for f in found if f["type"] == "file"}

    def read_text(self, name: str) -> str | None:
        """A small file whole, or None where there is none."""
        return self.read_texts([name]).get(name)

    def read_texts(self, names: Sequence[str]) -> dict[str, str]:
        """Small files whole, those that are there; an object store is asked for many at once."""
        if self.local_path is None and len(names) > 1:
            with self._asked("", "read"):
                found = self.fs.cat([self.path(name) for name in names], on_error="return")
                for answer in found.values():
                    if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
                        raise answer
            texts = {name: found[self.path(name)] for name in names}
            return {name: text.decode(errors="replace") for name, text in texts.items() if isinstance(text, bytes)}
        read: dict[str, str] = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError), self._asked(name, "read"):
                read[name] = bytes(self.fs.cat_file(self.path(name))).decode(errors="replace")
        return read

    def list(self, folder: str = "") -> list[str]:
        """Names of what lies directly in a folder, sorted; empty where there is no such folder."""
        try:
            with self._asked(folder, "read"):
                found = self.fs.ls(self.path(folder), detail=False)
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            raise UserError(f"{self.path(folder)} is a file", expected="a directory") from error
        return sorted(str(p).rstrip("/").rsplit("/", 1)[-1] for p in found)

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens where there is none."""
        with _explained(self.path(name)), contextlib.suppress(FileNotFoundError), self._asked(name, "removed"):
            self.fs.rm_file(self.path(name))

    def remove_unfinished(self, folder: str) -> None:
        """Remove what killed writers left behind in a folder (locally; an unfinished upload leaves no object)."""
        for name in self.list(folder) if self.local_path is not None else ():
            if _TEMPORARY in name:
                self.remove(f"{folder}/{name}" if folder else name)

    def write_text(self, name: str, text: str) -> None:
        """Write a small file whole or not at all."""
        with self.write(name) as file:
            file.write(text.encode())

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        """A file opened for writing that takes its name only when the block ends without an error.

        Raises UserError for a full disk, a read-only directory or missing permission; StoreError for an object store's refusal.
        """
        if self.local_path is None:
            with self._upload(name) as upload:
                yield upload
            return
        with _explained(self.path(name)):
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

    @contextlib.contextmanager
    def _upload(self, name: str) -> Iterator[IO[bytes]]:
        """An upload: closing it is the commit, which is left out when the block fails."""
        with self._asked(name, "written"):
            remote = self.fs.open(self.path(name), "wb")
        guarded: Any = _Guarded(self, name, remote, "written")
        try:
            yield guarded
            guarded.close()
        except BaseException:
            with contextlib.suppress(Exception):
                remote.discard()
            with contextlib.suppress(Exception):
                remote.closed = True  # else the garbage collector would close, that is commit, it
            raise

    @contextlib.contextmanager
    def read(self, name: str) -> Iterator[IO[bytes]]:
        """A file opened for reading; FileNotFoundError where there is none."""
        with self._asked(name, "read"):
            file = self.fs.open(self.path(name), "rb")
        with file:
            guarded: Any = file if self.local_path is not None else _Guarded(self, name, file, "read")
            yield guarded

    def fetch(self, name: str, target: Path, sha256: str) -> None:
        """Copy a file to a path on this machine, which appears whole and with this checksum, or not at all.

        FileNotFoundError where there is no such file, ValueError where its checksum is another.
        """
        temporary = target.with_name(f".{target.name}{_TEMPORARY}{uuid.uuid4().hex[:8]}")
        try:
            with _explained(str(target)):
                target.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError), self._asked(name, "read"):
                    self.fs.get_file(self.path(name), str(temporary))
            if Storage(str(target.parent)).checksum(temporary.name) != sha256:
                raise ValueError("its checksum differs from its record's")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def checksum(self, name: str) -> str:
        """sha256 of a file, hexadecimal."""
        with self.read(name) as file:
            digest = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()


class _Guarded:
    """A file on an object store whose errors are told as StoreErrors."""

    def __init__(self, storage: Storage, name: str, file: Any, doing: _Doing) -> None:
        self._storage, self._name, self._file, self._doing = storage, name, file, doing

    def _ask(self, method: str, *arguments: Any) -> Any:
        with self._storage._asked(self._name, self._doing):
            return getattr(self._file, method)(*arguments)

    def read(self, size: int = -1) -> bytes:
        return bytes(self._ask("read", size))

    def write(self, data: Any) -> int:
        return int(self._ask("write", data))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._ask("seek", offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def flush(self) -> None:
        self._ask("flush")

    def close(self) -> None:
        self._ask("close")

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def readable(self) -> bool:
        return self._doing == "read"

    def writable(self) -> bool:
        return self._doing == "written"

    def seekable(self) -> bool:
        return self._doing == "read"


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
    except OSError as error:
        cause, next_step = _CAUSES.get(error.errno or 0, (None, "choose another directory"))
        raise UserError(
            f"{path} cannot be written", cause=cause, got=error.strerror or str(error), next_step=next_step
        ) from error


@contextlib.contextmanager
def _store_explained(url: str, doing: _Doing) -> Iterator[None]:
    """Tell what an object store's client raises as a StoreError; only that a file is not there is an answer, not an error."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        if doing != "written":
            raise
        raise StoreError(
            f"{url} cannot be written",
            got=_first_line(error),
            cause="there is no such bucket",
            next_step="create the bucket, or choose another --out; what is finished is kept",
        ) from error
    except PermissionError as error:
        raise StoreError(
            f"{url} cannot be {doing}",
            got=_first_line(error),
            cause="the store denies access: missing, wrong or expired credentials",
            next_step="set credentials that may list, read, write and delete there (for s3 AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY), also on the workers; the same command then goes on",
        ) from error
    except Exception as error:  # each store's client has its own errors
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise  # of the disk to which a file is fetched
        if type(error).__name__ in _NO_CREDENTIALS:
            raise StoreError(
                f"{url} cannot be {doing}",
                got=_first_line(error),
                cause="this process has no credentials for the store",
                next_step="for s3 set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
            ) from error
        if isinstance(error, (ValueError, TypeError)) or getattr(error, "errno", None) in _REFUSALS:
            raise StoreError(
                f"{url} cannot be {doing}",
                got=_first_line(error),
                cause="the store does not accept this request",
                next_step="check the URL, the region and the endpoint (for s3 AWS_ENDPOINT_URL)",
            ) from error
        raise PassingStoreError(
            f"{url} cannot be {doing}",
            got=_first_line(error),
            cause="the store is out of reach or overloaded",
            next_step="check the network and the endpoint (for s3 AWS_ENDPOINT_URL); the same command goes on where it stopped",
        ) from error


_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError"}
_REFUSALS = {errno.EINVAL, errno.ENOSYS, errno.EPERM}


def _first_line(problem: Exception) -> str:
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0][:200]}" if lines else type(problem).__name__


def set_aside(url: str) -> str:
    """Move a directory out of the way to ``<name>.old-<k>`` and return where it went; nothing is deleted.

    On an object store everything is copied before anything is removed; if it is stopped between, the copy is whole.
    """
    storage = Storage(url)
    with storage._asked("", "read"):
        aside = next(a for k in range(1, 10_000) if not storage.fs.exists(a := f"{storage.path()}.old-{k}"))
    if storage.local_path is not None:
        with _explained(str(storage.local_path)):
            storage.local_path.rename(aside)
        return aside
    with storage._asked(
        "", "moved"
    ):  # file by file: the recursive move of s3fs stumbles over folders that are no objects
        files = storage.fs.find(storage.path())
        storage.fs.copy(files, [aside + file.removeprefix(storage.path()) for file in files], on_error="raise")
        storage.fs.rm(files)
    return str(storage.fs.unstrip_protocol(aside))
