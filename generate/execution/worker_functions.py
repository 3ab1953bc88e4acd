"""Functions that are unpickled on workers only: a scheduler unpickles the graph of a job, but may lack the code of a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerFunction(Generic[Item, Result]):
    """``function``, pickled as bytes that are opaque to whoever passes them on; each worker unpickles it at its first call."""

    def __init__(self, function: Callable[[Item], Result]) -> None:
        from distributed.protocol.pickle import dumps

        self._pickled: bytes = dumps(function)  # type: ignore[no-untyped-call]
        self._function: Callable[[Item], Result] | None = None

    def __call__(self, item: Item) -> Result:
        if self._function is None:
            from distributed.protocol.pickle import loads

            self._function = loads(self._pickled)  # type: ignore[no-untyped-call]
        assert self._function is not None
        return self._function(item)

    def __getstate__(self) -> dict[str, Any]:
        return {"_pickled": self._pickled, "_function": None}
