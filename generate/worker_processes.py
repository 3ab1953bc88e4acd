"""Start worker processes that do not run the caller's script.

``spawn`` imports the file of ``__main__`` in every new process. Without a guard ``if __name__ == "__main__":`` the script would
then run again in each worker, and a program read from standard input has no file. Our workers need nothing from ``__main__``: what
Dask's workers run is pickled by value, and all other functions are mathpipe's own.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from multiprocessing import spawn
from typing import Any

_DASK_WORKER = "Dask Worker process"  # the name that Dask gives to the processes of local workers
_lock = threading.Lock()
_nesting = 0
_prepare = spawn.get_preparation_data


def _without_main(name: str) -> dict[str, Any]:
    """What a new process needs to know; without ``__main__`` for Dask's workers and process pools."""
    data = _prepare(name)
    if name.startswith((_DASK_WORKER, "SpawnProcess")):
        data = {key: value for key, value in data.items() if not key.startswith("init_main_from")}
    return data


@contextlib.contextmanager
def without_main_module() -> Iterator[None]:
    """Worker processes that are started while the context is open do not import ``__main__``."""
    global _nesting
    with _lock:
        _nesting += 1
        spawn.get_preparation_data = _without_main
    try:
        yield
    finally:
        with _lock:
            _nesting -= 1
            if not _nesting:
                spawn.get_preparation_data = _prepare
