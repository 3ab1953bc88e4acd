"""Run work in process, on local workers or on a Dask cluster. No other module but ``shuffle`` depends on Dask."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from threadpoolctl import threadpool_limits

from mathpipe.datasets.allocator import keep_freed_memory
from mathpipe.datasets.errors import UserError
from mathpipe.generate.execution.worker_functions import WorkerFunction
from mathpipe.generate.execution.worker_memory import bytes_per_worker, log_little_memory, workers_that_fit
from mathpipe.generate.provenance import library_versions
from mathpipe.generate.worker_processes import without_main_module

Item = TypeVar("Item")
Result = TypeVar("Result")
LogFunction = Callable[[str], None]

# Dask's default gives each array above 128 kB its own memory mapping; page faults then made a row 50 % more expensive.
_RETAINED_BYTES = 256 << 20  # freed memory that a worker may keep for the next chunk
_WORKER_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1),
    **dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), _RETAINED_BYTES),
}
CONNECT_TIMEOUT = 10.0  # seconds to connect to a scheduler
RunItems = Callable[
    [Callable[[Any], Any], Sequence[Any]], Iterator[Any]
]  # (function, items) -> results as they complete


@contextlib.contextmanager
def start_workers(workers: int) -> Iterator[RunItems]:
    """Local worker processes, and the function that runs items on them."""
    with _local_client(workers) as client:
        yield lambda function, items: _as_completed(client, function, items, None)


@dataclass(frozen=True)
class LocalWorkers:
    """Local worker processes: ``start`` starts a number of them, which takes ``start_seconds``, by default at most ``workers``.

    ``poll_seconds``: interval between two estimates of the remaining work. Starting takes 3 s on an AMD EPYC (AVX2): importing
    Dask, and two workers.
    """

    workers: int = field(default_factory=workers_that_fit)
    start_seconds: float = 3.0
    poll_seconds: float = 0.25
    start: Callable[[int], contextlib.AbstractContextManager[RunItems]] = start_workers

    def estimate(self, seconds: float) -> int:
        """The number of workers for work of ``seconds`` in one process: all, or 0 if they cannot repay their start."""
        return self.workers if seconds * (1 - 1 / self.workers) > self.start_seconds else 0


def run(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None = 0,
    scheduler: str | None = None,
    log: LogFunction = lambda text: None,
    *,
    local: LocalWorkers | None = None,
    connect_timeout: float = CONNECT_TIMEOUT,
) -> Iterator[Result]:
    """Yield the results of ``function`` for every item as they complete, in any order.

    ``workers``: number of local single-threaded processes; 0 runs everything in this process. None starts in this process and
    hands the remaining items to ``workers_that_fit`` workers once that repays their start. With ``scheduler`` the existing Dask
    cluster there does the work. There are never more workers than items. A worker that dies loses only its current item: Dask runs
    it elsewhere, and fails after several deaths on one item. Errors of ``function`` are raised here at once.
    ``local``: how local workers are started, and when; ``connect_timeout``: seconds to connect to the scheduler.
    """
    if workers is not None and workers < 0:
        raise UserError("--workers is negative", expected="0 (in this process) or more", got=workers)
    if not items:
        return
    if scheduler is not None:
        with _client(scheduler, connect_timeout) as client:
            _check_workers(client, scheduler, log)
            yield from _as_completed(
                client, functools.partial(_with_version_check, library_versions(), function), items, scheduler
            )
    elif workers is None:
        yield from _local_then_workers(function, items, local or LocalWorkers(), log)
    elif workers:
        log_little_memory(min(workers, len(items)), False, log)
        with (local or LocalWorkers()).start(min(workers, len(items))) as run_items:
            yield from run_items(function, items)
    else:
        yield from (_call(function, item) for item in items)


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    """``function(item)`` as on workers: freed memory is kept, and BLAS has one thread, on whose number the last bits may depend."""
    keep_freed_memory()
    with threadpool_limits(limits=1):
        return function(item)


class _Queue(Generic[Item]):
    """Items that have not started: this process takes one at a time, or workers take all of them at once."""

    def __init__(self, items: Sequence[Item], local: LocalWorkers) -> None:
        self._items, self._lock, self._local = deque(items), threading.Lock(), local
        self._done, self._seconds = 0, 0.0  # items finished in this process, and their total time
        self._since: float | None = None  # start time of the current item

    def results(self, function: Callable[[Item], Result]) -> Iterator[Result]:
        """Results of the items that this process takes."""
        while True:
            with self._lock:
                if not self._items:
                    return
                item, self._since = self._items.popleft(), time.monotonic()
            result = _call(function, item)
            with self._lock:
                self._seconds += time.monotonic() - self._since
                self._done, self._since = self._done + 1, None
            yield result

    def take_all(self) -> list[Item]:
        """All items that have not started, if workers repay their start; else none.

        The remaining time is estimated from the finished items. While no item is in progress, the caller is not waiting.
        """
        with self._lock:
            if self._since is None:
                return []
            elapsed = self._seconds + time.monotonic() - self._since
            remaining_seconds = elapsed / (self._done + 1) * len(self._items)
            if elapsed < self._local.start_seconds or not self._local.estimate(remaining_seconds):
                return []
            items = list(self._items)
            self._items.clear()
            return items


def _local_then_workers(
    function: Callable[[Item], Result], items: Sequence[Item], local: LocalWorkers, log: LogFunction
) -> Iterator[Result]:
    """Work in this process, while a thread starts workers for the remaining items once that repays their start."""
    queue, stop = _Queue(items, local), threading.Event()
    started: Future[tuple[RunItems, list[Item]] | None] = Future()

    def hand_over() -> None:
        try:
            remaining: list[Item] = []
            while not remaining and not stop.wait(local.poll_seconds):
                remaining = queue.take_all()
            workers = min(local.workers, len(remaining))
            if remaining:
                log_little_memory(workers, True, log)
            started.set_result((stack.enter_context(local.start(workers)), remaining) if remaining else None)
        except BaseException as error:
            started.set_exception(error)

    thread = threading.Thread(target=hand_over, name="mathpipe-start-workers", daemon=True)
    with contextlib.ExitStack() as stack:
        thread.start()
        try:
            yield from queue.results(function)
        finally:
            stop.set()
            thread.join()
        if (handed_over := started.result()) is not None:
            run_items, remaining_items = handed_over
            yield from run_items(function, remaining_items)


@contextlib.contextmanager
def dask_client(workers: int = 0, scheduler: str | None = None, log: LogFunction = lambda text: None) -> Iterator[Any]:
    """A Dask client of local worker processes or of the cluster at ``scheduler``; None if this process does all the work."""
    if scheduler is not None:
        with _client(scheduler, CONNECT_TIMEOUT) as client:
            _check_workers(client, scheduler, log)
            yield client
    elif workers:
        with _local_client(workers) as client:
            yield client
    else:
        yield None


def _as_completed(
    client: Any, function: Callable[[Item], Result], items: Sequence[Item], scheduler: str | None
) -> Iterator[Result]:
    import distributed
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError
    from distributed.scheduler import KilledWorker

    try:
        futures = client.map(WorkerFunction(function), items, pure=False)
        completed = distributed.as_completed(futures, loop=client.loop)  # type: ignore[no-untyped-call]
        del futures  # only as_completed refers to them, so that each result is freed after it was yielded
        for batch in completed.batches():  # type: ignore[no-untyped-call]
            results = client.gather(batch)
            del batch
            yield from results
    except KilledWorker as error:
        raise UserError(
            "worker processes died repeatedly on one shard",
            cause="too little memory, or another program kills the workers",
            next_step="use fewer --workers, or workers with more memory; finished shards are kept",
        ) from error
    except (FutureCancelledError, CommClosedError) as error:
        raise UserError(
            f"the scheduler {scheduler or 'of the local workers'} is gone",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            cause="it was stopped, its job ended, or the network failed",
            next_step="start a cluster and repeat the same command; finished shards are kept",
        ) from error


@contextlib.contextmanager
def _client(scheduler: str, timeout: float) -> Iterator[Any]:
    """A connection to an existing cluster, which stays unchanged; Dask's logs in this process are silenced."""
    from distributed import Client
    from distributed.utils import silence_logging_cmgr

    with contextlib.ExitStack() as quiet:
        for logger in ("distributed", "distributed.client"):
            quiet.enter_context(silence_logging_cmgr(logging.CRITICAL + 1, logger))
        # Dask warns with a table of versions; ``_check_workers`` raises an error of one line
        quiet.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="Mismatched versions found")
        _check_scheduler(scheduler, timeout)
        client = Client(scheduler, timeout=timeout, set_as_default=False, name="mathpipe")  # type: ignore[no-untyped-call]
        try:
            yield client
        finally:
            client.close(timeout=timeout)  # type: ignore[no-untyped-call]


def _check_scheduler(scheduler: str, timeout: float) -> None:
    """UserError if no Dask scheduler answers at the address. (A ``Client`` that cannot connect does not close cleanly.)"""
    from distributed.core import rpc
    from distributed.security import Security

    async def ask() -> Any:
        arguments = Security().get_connection_args("client")  # type: ignore[no-untyped-call]
        async with rpc(scheduler, connection_args=arguments, timeout=timeout) as remote:  # type: ignore[no-untyped-call]
            return (await remote.identity())["type"]

    try:
        with ThreadPoolExecutor(1) as thread:  # this thread may run an event loop, as in a notebook
            kind = thread.submit(lambda: asyncio.run(asyncio.wait_for(ask(), timeout))).result()
        if kind != "Scheduler":
            raise OSError(f"a Dask {kind} answers there")
    except (OSError, ValueError, TimeoutError) as error:
        raise UserError(
            f"--scheduler {scheduler} does not answer",
            expected="the address of a Dask scheduler, such as tcp://host:8786",
            got=str(error).splitlines()[0] if str(error) else f"no answer within {timeout:g} seconds",
            cause="no scheduler runs there, or this machine cannot connect to it",
            next_step="`dask scheduler` prints its address; without --scheduler the work runs on this machine",
        ) from None


def _check_workers(client: Any, scheduler: str, log: LogFunction) -> None:
    """Query the present workers once; UserError if one runs other versions than this process."""
    versions_by_worker = client.run(library_versions, on_error="return")
    if not versions_by_worker:
        log(f"{scheduler} has no worker yet: waiting for one to join")
    for worker, versions in sorted(versions_by_worker.items()):
        if isinstance(versions, Exception) and "No module named 'mathpipe" in str(versions):
            raise UserError(
                f"worker {worker} cannot import mathpipe",
                expected="the same mathpipe on every worker",
                got=str(versions),
                next_step="install mathpipe where the workers run, and start them with that Python",
            )
        if isinstance(
            versions, OSError
        ):  # it died just now; each item is checked where it runs, by _with_version_check
            log(f"worker {worker} does not answer: {versions}")
            continue
        if isinstance(versions, Exception):
            raise UserError(f"worker {worker} does not answer", got=str(versions), next_step="restart it")
        _check_versions(library_versions(), versions, f"worker {worker}")


def _with_version_check(expected: dict[str, str], function: Callable[[Item], Result], item: Item) -> Result:
    """``function(item)`` on a worker that may have joined after ``_check_workers``."""
    _check_versions(expected, library_versions(), "a worker that joined")
    return function(item)


def _check_versions(expected: dict[str, str], actual: dict[str, str], worker: str) -> None:
    different = [name for name in expected if expected[name] != actual.get(name)]
    if different:
        raise UserError(
            f"{worker} runs other versions, and bytes may differ between versions",
            expected=", ".join(f"{name} {expected[name]}" for name in different),
            got=", ".join(f"{name} {actual.get(name, 'none')}" for name in different),
            cause="the workers were started in another environment",
            next_step="install the same versions there, and restart the workers",
        )


@contextlib.contextmanager
def _local_client(workers: int) -> Iterator[Any]:
    """Local worker processes, one thread each, no dashboard; they end with this process, however it ends."""
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT,
        "distributed.worker.daemon": True,
        "distributed.admin.large-graph-warning-threshold": "100MB",
        "distributed.scheduler.allowed-failures": 3,
        "distributed.worker.memory.terminate": 0.98,
        "distributed.worker.memory.pause": False,  # it would wait for memory, which these workers keep when it is free
        "distributed.p2p.comm.buffer": "128 MiB",
        "logging.distributed": "error",
    }
    with (
        without_main_module(),
        dask.config.set(settings),
        _closing_cluster(
            LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=bytes_per_worker(workers),
                dashboard_address="127.0.0.1:0",  # any free port, so that concurrent runs do not collide
                silence_logs=50,
                local_directory=None,
            )
        ) as cluster,
        # not the default client, which only its own thread can close
        contextlib.closing(Client(cluster, set_as_default=False)) as client,  # type: ignore[no-untyped-call]
    ):
        yield client


@contextlib.contextmanager
def _closing_cluster(cluster: Any) -> Iterator[Any]:
    """Close the cluster at the end. Dask may fail to join a worker that it is restarting; this is harmless by then."""
    try:
        yield cluster
    finally:
        with contextlib.suppress(AssertionError):
            cluster.close()
