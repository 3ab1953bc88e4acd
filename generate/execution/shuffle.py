"""Find duplicate keys with Dask's shuffle, at any scale: through disk in one process, between workers on a cluster."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mathpipe.generate.execution.executors import LogFunction, dask_client
from mathpipe.generate.execution.worker_functions import WorkerFunction

_TOPIC = "mathpipe-keys"  # Dask events with which workers report progress
Item = TypeVar("Item")
Keys = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]


def find_duplicates(
    keys: Callable[[Item], Keys],
    items: Sequence[Item],
    workers: int = 0,
    scheduler: str | None = None,
    log: LogFunction = lambda text: None,
    on_keys: Callable[[int], object] = lambda count: None,
) -> NDArray[np.int64]:
    """The sorted positions of all entries whose key also occurs at a smaller position.

    ``keys(item)`` returns, for one item, (two 64-bit halves of each key, their positions). 24 bytes per entry are shuffled;
    8 bytes per duplicate are returned. ``on_keys(count)`` is called when the keys of an item are known.
    """
    import dask
    import dask.dataframe as dd

    if not items:
        return np.empty(0, dtype=np.int64)
    # import distributed first: the settings it loads must not be undone by the change below
    import distributed  # noqa: F401

    with dask.config.set({"dataframe.convert-string": False}), dask_client(workers, scheduler, log) as client:
        report = on_keys if client is None else _send_count
        frame = dd.from_map(_ToDataFrame(keys, report), list(items), meta=_frame(*_NOTHING))  # type: ignore[no-untyped-call]
        if client is None:
            duplicates = _duplicates(frame, "disk").compute(scheduler="synchronous")
        else:
            client.subscribe_topic(_TOPIC, lambda event: on_keys(event[1]))
            with client.as_current():
                duplicates = _duplicates(frame, "p2p").compute(scheduler=client)
    return np.sort(duplicates["position"].to_numpy())


_NOTHING = (np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64))


class _ToDataFrame:
    """Calls ``keys`` on a worker, reports their number, and returns a data frame."""

    def __init__(self, keys: Callable[[Any], Keys], report: Callable[[int], object]) -> None:
        self._keys, self._report = WorkerFunction(keys), report

    def __call__(self, item: Any) -> Any:
        first, second, position = self._keys(item)
        self._report(len(position))
        return _frame(first, second, position)

    def __dask_tokenize__(self) -> str:
        """A new name for each computation: a progress bar cannot be pickled, and nothing is to be reused."""
        return uuid.uuid4().hex


def _send_count(count: int) -> None:
    """Send the number of keys from a worker to the client."""
    import distributed

    distributed.get_worker().log_event(_TOPIC, count)


def _frame(first: NDArray[np.uint64], second: NDArray[np.uint64], position: NDArray[np.int64]) -> Any:
    import pandas

    return pandas.DataFrame({"first": first, "second": second, "position": position})


def _duplicates(frame: Any, method: str) -> Any:
    return frame.shuffle("first", shuffle_method=method).map_partitions(
        _later_duplicates, meta=_frame(*_NOTHING)[["position"]]
    )


def _later_duplicates(part: Any) -> Any:
    ordered = part.sort_values("position")
    return ordered.loc[ordered.duplicated(["first", "second"], keep="first"), ["position"]]
