"""Where work runs. Alone in knowing Dask: everything else is an ordinary function of one shard."""

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
from typing import Any, Generic, TypeVar

from threadpoolctl import threadpool_limits

from mathpipe.datasets.errors import UserError
from mathpipe.generate.execution.cpus import available_cpus
from mathpipe.generate.provenance import byte_versions

Item = TypeVar("Item")
Result = TypeVar("Result")
Tell = Callable[[str], None]

# Dask's own setting makes every array of more than 128 kB a map of its own, and a row cost half as much again in page faults.
_KEPT = 256 << 20  # bytes of freed memory a worker may keep for the next chunk
_WORKER_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1),
    **dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), _KEPT),
}
PATIENCE = 10  # seconds to reach a scheduler

START_SECONDS = 3.0  # what importing Dask and starting two workers takes on an AMD EPYC (AVX2)
_LOOK_SECONDS = 0.25  # how often the work that is left is estimated


def workers_for(seconds: float) -> int:
    """Local workers for work that takes so long in one process: one a CPU, or 0 where starting them takes longer than they save."""
    cpus = available_cpus()
    return cpus if seconds * (1 - 1 / cpus) > START_SECONDS else 0


def run(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None = 0,
    scheduler: str | None = None,
    tell: Tell = lambda text: None,
) -> Iterator[Result]:
    """Results of ``function`` for every item, as they are done, in no order.

    ``workers`` local processes of one thread each, 0 runs everything in this process; None begins in this process and hands
    to workers, one a CPU, what is left when that is worth their start. Or the workers of the Dask cluster at ``scheduler``,
    whoever started it. There are never more workers than items. A worker that dies loses its item in progress only: Dask
    runs it again elsewhere, and gives up on an item after several deaths. Errors of ``function`` are raised here at once.
    """
    if workers is not None and workers < 0:
        raise UserError("--workers is negative", expected="0 (in this process) or more", got=workers)
    if not items:
        return
    if scheduler is not None:
        with _client(scheduler) as client:
            _check_workers(client, scheduler, tell)
            yield from _as_done(client, functools.partial(_checked, byte_versions(), function), items, scheduler)
    elif workers is None:
        yield from _here_then_workers(function, items)
    elif workers:
        with _local_client(min(workers, len(items))) as client:
            yield from _as_done(client, function, items, None)
    else:
        yield from (_call(function, item) for item in items)


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    """``function(item)`` with one thread for linear algebra, as on workers: its last bits may depend on the number."""
    with threadpool_limits(limits=1):
        return function(item)


class _Left(Generic[Item]):
    """Items that nobody has begun: this process takes one after the other, or workers take all of them at once."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items, self._lock = deque(items), threading.Lock()
        self._done, self._seconds = 0, 0.0  # items finished in this process, and the time they took
        self._since: float | None = None  # when the item in progress was begun

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
        """The items that nobody has begun, if workers are worth their start; else none.

        What they will take is estimated from what the others took. While no item is in progress nobody waits for results.
        """
        with self._lock:
            if self._since is None:
                return []
            spent = self._seconds + time.monotonic() - self._since
            if spent < START_SECONDS or not workers_for(spent / (self._done + 1) * len(self._items)):
                return []
            taken = list(self._items)
            self._items.clear()
            return taken


def _here_then_workers(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Work begins here; while an item is worked on, a thread starts workers for the rest as soon as that is worth it."""
    left, stop = _Left(items), threading.Event()
    started: Future[tuple[Any, list[Item]] | None] = Future()

    def start_workers() -> None:
        try:
            rest: list[Item] = []
            while not rest and not stop.wait(_LOOK_SECONDS):
                rest = left.take_all()
            workers = min(available_cpus(), len(rest))
            started.set_result((stack.enter_context(_local_client(workers)), rest) if rest else None)
        except BaseException as error:
            started.set_exception(error)

    thread = threading.Thread(target=start_workers, name="mathpipe-start-workers", daemon=True)
    with contextlib.ExitStack() as stack:
        thread.start()
        try:
            yield from left.results(function)
        finally:
            stop.set()
            thread.join()
        if (others := started.result()) is not None:
            yield from _as_done(others[0], function, others[1], None)


@contextlib.contextmanager
def connected(workers: int = 0, scheduler: str | None = None, tell: Tell = lambda text: None) -> Iterator[Any]:
    """A Dask client of local worker processes or of the cluster at ``scheduler``; None where this process does everything."""
    if scheduler is not None:
        with _client(scheduler) as client:
            _check_workers(client, scheduler, tell)
            yield client
    elif workers:
        with _local_client(workers) as client:
            yield client
    else:
        yield None


def _as_done(
    client: Any, function: Callable[[Item], Result], items: Sequence[Item], scheduler: str | None
) -> Iterator[Result]:
    import distributed
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError
    from distributed.scheduler import KilledWorker

    try:
        futures = client.map(function, items, pure=False)
        finished = distributed.as_completed(futures, loop=client.loop)  # type: ignore[no-untyped-call]
        del futures  # held by as_completed alone, so that each result is freed once it was handed out
        for batch in finished.batches():  # type: ignore[no-untyped-call]
            results = client.gather(batch)
            del batch
            yield from results
    except KilledWorker as killed:
        raise UserError(
            "worker processes died again and again on one shard",
            cause="too little memory, or the workers are being killed from outside",
            next_step="try fewer --workers, or workers with more memory; finished shards are kept",
        ) from killed
    except (FutureCancelledError, CommClosedError) as lost:
        raise UserError(
            f"the scheduler {scheduler or 'of the local workers'} is gone",
            got=str(lost).splitlines()[0] if str(lost) else type(lost).__name__,
            cause="it was stopped, its job ended, or the network broke",
            next_step="start a cluster again; the same command goes on, finished shards are kept",
        ) from lost


@contextlib.contextmanager
def _client(scheduler: str) -> Iterator[Any]:
    """A connection to a cluster that exists; nothing of the cluster is changed, and this process's logs stay quiet."""
    from distributed import Client
    from distributed.utils import silence_logging_cmgr

    with contextlib.ExitStack() as quiet:
        for logger in ("distributed", "distributed.client"):
            quiet.enter_context(silence_logging_cmgr(logging.CRITICAL + 1, logger))
        # Dask's own table of versions is a warning of many lines; ``_check_workers`` refuses in one
        quiet.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="Mismatched versions found")
        _reach(scheduler)
        client = Client(scheduler, timeout=PATIENCE, set_as_default=False, name="mathpipe")  # type: ignore[no-untyped-call]
        try:
            yield client
        finally:
            client.close(timeout=PATIENCE)  # type: ignore[no-untyped-call]


def _reach(scheduler: str) -> None:
    """UserError where no Dask scheduler answers at an address. (A ``Client`` that cannot connect does not end cleanly.)"""
    from distributed.core import rpc
    from distributed.security import Security

    async def ask() -> Any:
        arguments = Security().get_connection_args("client")  # type: ignore[no-untyped-call]
        async with rpc(scheduler, connection_args=arguments, timeout=PATIENCE) as there:  # type: ignore[no-untyped-call]
            return (await there.identity())["type"]

    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook has a loop of its own running in this one
            kind = thread.submit(lambda: asyncio.run(asyncio.wait_for(ask(), PATIENCE))).result()
        if kind != "Scheduler":
            raise OSError(f"a Dask {kind} is there")
    except (OSError, ValueError, TimeoutError) as error:
        raise UserError(
            f"--scheduler {scheduler} does not answer",
            expected="the address of a Dask scheduler, such as tcp://host:8786",
            got=str(error).splitlines()[0] if str(error) else f"no answer within {PATIENCE} seconds",
            cause="no scheduler runs there, or this machine cannot reach it",
            next_step="`dask scheduler` prints its address; without --scheduler the work runs on this machine",
        ) from None


def _check_workers(client: Any, scheduler: str, tell: Tell) -> None:
    """Ask the workers that are there once; UserError where one runs other versions than this process."""
    there = client.run(byte_versions, on_error="return")
    if not there:
        tell(f"{scheduler} has no worker yet: the work waits until one joins")
    for worker, found in sorted(there.items()):
        if isinstance(found, Exception) and "No module named 'mathpipe" in str(found):
            raise UserError(
                f"worker {worker} cannot import mathpipe",
                expected="the same mathpipe on every worker",
                got=str(found),
                next_step="install mathpipe where the workers run, and start them with that Python",
            )
        if isinstance(found, Exception):
            raise UserError(f"worker {worker} does not answer", got=str(found), next_step="start it anew")
        _compare(byte_versions(), found, f"worker {worker}")


def _checked(expected: dict[str, str], function: Callable[[Item], Result], item: Item) -> Result:
    """``function(item)`` on a worker that may have joined after the others were asked."""
    _compare(expected, byte_versions(), "a worker that joined")
    return function(item)


def _compare(expected: dict[str, str], found: dict[str, str], worker: str) -> None:
    different = [name for name in expected if expected[name] != found.get(name)]
    if different:
        raise UserError(
            f"{worker} runs other versions, and bytes may differ between versions",
            expected=", ".join(f"{name} {expected[name]}" for name in different),
            got=", ".join(f"{name} {found.get(name, 'none')}" for name in different),
            cause="the workers were started in another environment",
            next_step="install the same versions there, and start the workers anew",
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
        "logging.distributed": "error",
    }
    with (
        dask.config.set(settings),
        _ended(
            LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",  # any free port: two runs at once do not meet
                silence_logs=50,
                local_directory=None,
            )
        ) as cluster,
        # not the default client, which has to be closed by the thread that started it
        contextlib.closing(Client(cluster, set_as_default=False)) as client,  # type: ignore[no-untyped-call]
    ):
        yield client


@contextlib.contextmanager
def _ended(cluster: Any) -> Iterator[Any]:
    """The cluster, ended at last. Dask fails to join a worker that it was just starting again; by then nobody waits for it."""
    try:
        yield cluster
    finally:
        with contextlib.suppress(AssertionError):
            cluster.close()
