"""A store in memory, behind fsspec, that fails after a number of written bytes, or is slow."""

from __future__ import annotations

import errno
import io
import os
import time
from typing import Any, ClassVar

import fsspec
from fsspec.spec import AbstractFileSystem


class FailingStore(AbstractFileSystem):
    """``failing://NAME``: an upload appears when it is closed, as on an object store.

    ``budget``: bytes that can still be written, None for any number; ``delay``: seconds that each request takes.
    """

    protocol = "failing"
    cachable = False
    objects: ClassVar[dict[str, bytes]] = {}
    budget: ClassVar[int | None] = None
    num_bytes: ClassVar[int] = 0
    delay: ClassVar[float] = 0.0

    @classmethod
    def prepare(cls, budget: int | None) -> None:
        cls.budget, cls.num_bytes = budget, 0

    def wait(self) -> None:
        if self.delay:
            time.sleep(self.delay)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        self.wait()
        prefix = f"{self._strip_protocol(path)}/"
        names = {prefix + name.removeprefix(prefix).split("/")[0] for name in self.objects if name.startswith(prefix)}
        if not names:
            raise FileNotFoundError(path)
        return [self.info(name) if detail else name for name in sorted(names)]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if path in self.objects:
            return {"name": path, "size": len(self.objects[path]), "type": "file"}
        if any(name.startswith(f"{path}/") for name in self.objects):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def rm_file(self, path: str) -> None:
        self.objects.pop(self._strip_protocol(path), None)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        self.wait()
        path = self._strip_protocol(path)
        if mode == "wb":
            return _Upload(self, path)
        if path not in self.objects:
            raise FileNotFoundError(path)
        return io.BytesIO(self.objects[path])


class _Upload(io.BytesIO):
    def __init__(self, store: FailingStore, path: str) -> None:
        super().__init__()
        self._store, self._path, self._discarded = store, path, False

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._store.wait()
        if self._store.budget is not None and type(self._store).num_bytes + size > self._store.budget:
            super().write(memoryview(data)[: self._store.budget - type(self._store).num_bytes])
            type(self._store).num_bytes = self._store.budget
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        type(self._store).num_bytes += size
        return super().write(data)

    def discard(self) -> None:
        self._discarded = True

    def close(self) -> None:
        if not self.closed and not self._discarded:
            self._store.objects[self._path] = self.getvalue()
        super().close()


fsspec.register_implementation("failing", FailingStore, clobber=True)
