"""Equal keys brought together by Dask's shuffle, at any scale: through disk in one process, from worker to worker on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mathpipe.generate.execution.executors import Tell, connected

Item = TypeVar("Item")
Keys = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]


def later_of_equal(
    keys: Callable[[Item], Keys],
    items: Sequence[Item],
    workers: int = 0,
    scheduler: str | None = None,
    tell: Tell = lambda text: None,
) -> NDArray[np.int64]:
    """The places, in order, of all entries whose key stands at a smaller place too.

    ``keys(item)`` gives of one part (two 64-bit halves of each key, its place). 24 bytes an entry travel; 8 bytes for each
    entry found come back.
    """
    import dask
    import dask.dataframe as dd

    if not items:
        return np.empty(0, dtype=np.int64)
    # distributed first: settings that it brings along must outlive the change below
    import distributed  # noqa: F401

    with dask.config.set({"dataframe.convert-string": False}):
        frame = dd.from_map(_Frames(keys), list(items), meta=_frame(*_NOTHING))  # type: ignore[no-untyped-call]
        with connected(workers, scheduler, tell) as client:
            if client is None:
                found = _found(frame, "disk").compute(scheduler="synchronous")
            else:
                with client.as_current():
                    found = _found(frame, "p2p").compute(scheduler=client)
    return np.sort(found["place"].to_numpy())


_NOTHING = (np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64))


class _Frames:
    """``keys`` as a data frame, to be called on workers."""

    def __init__(self, keys: Callable[[Any], Keys]) -> None:
        self._keys = keys

    def __call__(self, item: Any) -> Any:
        return _frame(*self._keys(item))


def _frame(first: NDArray[np.uint64], second: NDArray[np.uint64], place: NDArray[np.int64]) -> Any:
    import pandas

    return pandas.DataFrame({"first": first, "second": second, "place": place})


def _found(frame: Any, method: str) -> Any:
    return frame.shuffle("first", shuffle_method=method).map_partitions(_later, meta=_frame(*_NOTHING)[["place"]])


def _later(part: Any) -> Any:
    ordered = part.sort_values("place")
    return ordered.loc[ordered.duplicated(["first", "second"], keep="first"), ["place"]]
