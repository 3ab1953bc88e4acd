"""Where work runs. Alone in knowing Dask: everything else is an ordinary function of one shard."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from mathpipe.datasets.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


def default_workers() -> int:
    """One process for each CPU this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def run(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Results of ``function`` for every item, as they are done, in no order.

    ``workers`` local processes of one thread each; 0 runs everything in this process. A worker that dies loses its item in
    progress only: Dask runs it again elsewhere, and gives up on an item after several deaths. Errors of ``function`` are
    raised here at once.
    """
    if workers < 0:
        raise UserError("--workers is negative", expected="0 (in this process) or more", got=workers)
    if workers == 0 or not items:
        yield from map(function, items)
        return
    with _local_client(min(workers, len(items))) as client:
        yield from _as_done(client, function, items)


def _as_done(client: object, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    import distributed
    from distributed.scheduler import KilledWorker

    futures = client.map(function, items, pure=False)  # type: ignore[attr-defined]
    finished = distributed.as_completed(futures)  # type: ignore[no-untyped-call]
    del futures  # held by as_completed alone, so that each result is freed once it was handed out
    for future in finished:
        try:
            yield future.result()
        except KilledWorker as killed:
            raise UserError(
                "worker processes died again and again on one shard",
                cause="too little memory, or the workers are being killed from outside",
                next_step="try fewer --workers; finished shards are kept",
            ) from killed


@contextlib.contextmanager
def _local_client(workers: int) -> Iterator[object]:
    """Local worker processes, one thread each, no dashboard; they end with this process, however it ends."""
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.worker.daemon": True,
        "distributed.admin.large-graph-warning-threshold": "100MB",
        "distributed.scheduler.allowed-failures": 3,
        "distributed.worker.memory.terminate": 0.98,
        "logging.distributed": "error",
    }
    with (
        dask.config.set(settings),
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
            local_directory=None,
        ) as cluster,
        Client(cluster) as client,  # type: ignore[no-untyped-call]
    ):
        yield client
