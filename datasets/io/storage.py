"""Files of a dataset on any fsspec URL: a directory, ``s3://...``, ``memory://...``.

Writes are atomic: a local file is written under a temporary name, synced and renamed; on an object store the completed upload is
the commit. Exceptions of an object store's client become a ``StoreError``, or a ``TransientStoreError`` if a retry may help.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.file_locks import lock_path
from mathpipe.datasets.io.operating_system import on_windows
from mathpipe.datasets.io.store_errors import Action, local_errors, store_errors

_TEMPORARY = ".writing-"


def is_temporary(name: str) -> bool:
    """Whether a name is that of a file, or of a directory, whose writer has not finished."""
    return name.startswith(".") and _TEMPORARY in name


@dataclass(frozen=True)
class Storage:
    """One directory, by its URL."""

    url: str

    @cached_property
    def _filesystem(self) -> tuple[Any, str]:
        try:
            # listings are never cached: other processes write here
            fs, path = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise UserError(
                f"{self.url} cannot be opened",
                expected="a directory, or a URL that fsspec supports (s3://..., gs://...)",
                got=str(error),
                next_step="for an object store install its package: `pip install 'mathpipe[s3]'`, `pip install gcsfs`",
            ) from error
        return fs, path.rstrip("/") or "/"

    @property
    def local_path(self) -> Path | None:
        """The directory on this machine, or None for an object store."""
        fs, path = self._filesystem
        return Path(path) if isinstance(fs, LocalFileSystem) else None

    @property
    def absolute_url(self) -> str:
        """The URL, independent of the working directory: a local path is made absolute."""
        return self.url if self.local_path is None else str(self.local_path)

    def path(self, name: str = "") -> str:
        """The path of a file within its file system."""
        return f"{self._filesystem[1]}/{name}" if name else self._filesystem[1]

    @property
    def fs(self) -> Any:
        return self._filesystem[0]

    def _translate_errors(self, name: str, action: Action) -> contextlib.AbstractContextManager[None]:
        """Context of a request: turns an object store's errors into StoreErrors, and leaves local errors as they are."""
        url = f"{self.url.rstrip('/')}/{name}" if name else self.url
        return contextlib.nullcontext() if self.local_path is not None else store_errors(url, action)

    def make_directory(self) -> Path | None:
        """Create the local directory and return its path; None for an object store, which has no directories."""
        if self.local_path is not None:
            with local_errors(str(self.local_path)):
                self.local_path.mkdir(parents=True, exist_ok=True)
        return self.local_path

    def size(self, name: str) -> int | None:
        """Size of a file in bytes, or None if it does not exist."""
        try:
            with self._translate_errors(name, "read"):
                info = self.fs.info(self.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return int(info["size"]) if info["type"] == "file" else None

    def sizes(self, folder: str) -> dict[str, int]:
        """Sizes in bytes of the files in a folder by name, from a single listing. Links count as what they lead to."""
        if self.local_path is not None:
            return _local_sizes(self.local_path / folder)
        try:
            with self._translate_errors(folder, "read"):
                entries = self.fs.ls(self.path(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {str(f["name"]).rsplit("/", 1)[-1]: int(f["size"]) for f in entries if f["type"] == "file"}

    def read_text(self, name: str) -> str | None:
        """The text of a small file without a byte-order mark, or None if it does not exist."""
        return self.read_texts([name]).get(name)

    def read_texts(self, names: Sequence[str]) -> dict[str, str]:
        """The texts of the small files that exist, by name; an object store gets all requests at once."""
        if self.local_path is None and len(names) > 1:
            with self._translate_errors("", "read"):
                results = self.fs.cat([self.path(name) for name in names], on_error="return")
                for result in results.values():
                    if isinstance(result, Exception) and not isinstance(result, FileNotFoundError):
                        raise result
            contents = {name: results[self.path(name)] for name in names}
            return {
                name: data.decode("utf-8-sig", errors="replace")
                for name, data in contents.items()
                if isinstance(data, bytes)
            }
        texts: dict[str, str] = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), self._translate_errors(name, "read"):
                texts[name] = bytes(self.fs.cat_file(self.path(name))).decode("utf-8-sig", errors="replace")
        return texts

    def list(self, folder: str = "") -> list[str]:
        """Sorted names of the files and folders directly in a folder; empty if it does not exist."""
        try:
            with self._translate_errors(folder, "read"):
                paths = self.fs.ls(self.path(folder), detail=False)
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            raise UserError(f"{self.path(folder)} is a file", expected="a directory") from error
        return sorted(str(p).rstrip("/").rsplit("/", 1)[-1] for p in paths)

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with (
            local_errors(self.path(name)),
            contextlib.suppress(FileNotFoundError),
            self._translate_errors(name, "removed"),
        ):
            self.fs.rm_file(self.path(name))

    def move(self, name: str, target: str) -> None:
        """Rename a file within the directory; it replaces ``target``."""
        if self.local_path is None:
            with self._translate_errors(target, "written"):
                self.fs.mv(self.path(name), self.path(target))
            return
        with local_errors(self.path(target)):
            path = Path(self.path(target))
            path.parent.mkdir(parents=True, exist_ok=True)
            Path(self.path(name)).replace(path)
            sync_directory(path.parent)

    def remove_empty_folder(self, name: str) -> None:
        """Remove a local folder if it exists and is empty (an object store has no folders)."""
        if self.local_path is not None:
            with contextlib.suppress(OSError):
                (self.local_path / name).rmdir()

    def remove_unfinished(self, folder: str) -> None:
        """Remove temporary files of killed writers from a local folder (unfinished uploads leave no object)."""
        for name in self.list(folder) if self.local_path is not None else ():
            if is_temporary(name):
                self.remove(f"{folder}/{name}" if folder else name)

    def remove_leftovers(self, name: str) -> None:
        """Remove what killed writers of one local file left beside it; temporary files that are in use stay."""
        if self.local_path is None or not self.local_path.is_dir():
            return
        pattern = re.compile(re.escape(f".{name}{_TEMPORARY}") + "[0-9a-f]{8}")
        for path in self.local_path.iterdir():
            if pattern.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                with contextlib.suppress(OSError), lock_path(path) as is_exclusive:  # in use, or of another user
                    if is_exclusive or on_windows():
                        path.unlink()

    def write_text(self, name: str, text: str) -> None:
        """Write a small file atomically."""
        with self.write(name) as file:
            file.write(text.encode())

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for writing; it appears under its name only if the block ends without an error.

        Raises UserError for a full disk, a read-only directory or missing permission; StoreError if an object store fails.
        """
        if self.local_path is None:
            with self._upload(name) as upload:
                yield upload
            return
        with local_errors(self.path(name)):
            target = Path(self.path(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}{_TEMPORARY}{uuid.uuid4().hex[:8]}")
            try:
                with temporary.open("wb") as file, _in_use(temporary):
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
            sync_directory(target.parent)

    @contextlib.contextmanager
    def _upload(self, name: str) -> Iterator[IO[bytes]]:
        """An upload: closing it commits it, which does not happen if the block fails."""
        with self._translate_errors(name, "written"):
            remote = self.fs.open(self.path(name), "wb")
        wrapper: Any = _RemoteFile(self, name, remote, "written")
        try:
            yield wrapper
            wrapper.close()
        except BaseException:
            with contextlib.suppress(Exception):
                remote.discard()
            with contextlib.suppress(Exception):
                remote.closed = True  # otherwise the garbage collector would close, and so commit, it
            raise

    @contextlib.contextmanager
    def read(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for reading; FileNotFoundError if it does not exist."""
        with self._translate_errors(name, "read"):
            file = self.fs.open(self.path(name), "rb")
        with file:
            wrapper: Any = file if self.local_path is not None else _RemoteFile(self, name, file, "read")
            yield wrapper

    def fetch(self, name: str, target: Path, sha256: str) -> None:
        """Download a file atomically to a local path and verify its checksum.

        FileNotFoundError if it does not exist, ValueError if its checksum differs.
        """
        temporary = target.with_name(f".{target.name}{_TEMPORARY}{uuid.uuid4().hex[:8]}")
        try:
            with local_errors(str(target)):
                target.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError), self._translate_errors(name, "read"):
                    self.fs.get_file(self.path(name), str(temporary))
            if Storage(str(target.parent)).checksum(temporary.name) != sha256:
                raise ValueError("its checksum differs from that of its record")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def checksum(self, name: str) -> str:
        """Hexadecimal sha256 of a file."""
        with self.read(name) as file:
            digest = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()


def _in_use(temporary: Path) -> contextlib.AbstractContextManager[bool]:
    """Lock a temporary file while it is written. Windows never removes an open file, and its locks would hinder the writer."""
    return contextlib.nullcontext(False) if on_windows() else lock_path(temporary)


def _local_sizes(folder: Path) -> dict[str, int]:
    """Sizes of the files in a local folder. Links are followed, as DVC's cache needs it, and broken ones left out."""
    sizes: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # a broken link, or a file removed meanwhile
                if entry.is_file():
                    sizes[entry.name] = entry.stat().st_size
    return sizes


class _RemoteFile:
    """A file on an object store that raises StoreErrors."""

    def __init__(self, storage: Storage, name: str, file: Any, action: Action) -> None:
        self._storage, self._name, self._file, self._action = storage, name, file, action

    def _call(self, method: str, *arguments: Any) -> Any:
        with self._storage._translate_errors(self._name, self._action):
            return getattr(self._file, method)(*arguments)

    def read(self, size: int = -1) -> bytes:
        return bytes(self._call("read", size))

    def write(self, data: Any) -> int:
        return int(self._call("write", data))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._call("seek", offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def flush(self) -> None:
        self._call("flush")

    def close(self) -> None:
        self._call("close")

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def readable(self) -> bool:
        return self._action == "read"

    def writable(self) -> bool:
        return self._action == "written"

    def seekable(self) -> bool:
        return self._action == "read"


class HashingFile:
    """A writable file that computes the sha256 and counts the bytes written."""

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
        """Leave the underlying file open; its owner closes it."""
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


def sync_directory(folder: Path) -> None:
    """Sync the names in a directory, where the platform can: Windows and some network file systems cannot, and do without."""
    if on_windows():
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(descriptor)


_NO_DIRECTORY_SYNC = {errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EISDIR}


def move_to_backup(url: str) -> str:
    """Rename a directory to ``<name>.old-<k>`` and return the new path or URL; nothing is deleted.

    On an object store everything is copied before anything is removed, so that an interruption loses nothing.
    """
    storage = Storage(url)
    with storage._translate_errors("", "read"):
        backup = next(path for k in range(1, 10_000) if not storage.fs.exists(path := f"{storage.path()}.old-{k}"))
    if storage.local_path is not None:
        with local_errors(str(storage.local_path)):
            storage.local_path.rename(backup)
        return backup
    # file by file: the recursive move of s3fs fails on folders that are not objects
    with storage._translate_errors("", "moved"):
        files = storage.fs.find(storage.path())
        storage.fs.copy(files, [backup + file.removeprefix(storage.path()) for file in files], on_error="raise")
        storage.fs.rm(files)
    return str(storage.fs.unstrip_protocol(backup))
