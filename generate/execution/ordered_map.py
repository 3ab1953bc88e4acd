"""Apply a function to a stream of items in worker processes, with the results in the order of the items.

Unlike Dask's workers these are no daemons, so that a function may start a process of its own, as the SymPy fallback does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from threadpoolctl import threadpool_limits

from mathpipe.datasets.errors import UserError
from mathpipe.generate.worker_processes import without_main_module

Item = TypeVar("Item")
Result = TypeVar("Result")

_ITEMS_AHEAD = 2  # items that wait for each worker: memory stays bounded for any stream


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order; 0 workers: in this process. Errors of ``function`` are raised here.

    ``function`` and the items are pickled. A worker that dies is an error: nothing is skipped.
    """
    if workers < 0:
        raise UserError("--workers is negative", expected="0 (in this process) or more", got=workers)
    if workers == 0:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker)
    with without_main_module(), pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > workers * (1 + _ITEMS_AHEAD):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process died",
                cause="too little memory, or another program killed it",
                next_step="use fewer --workers, or 0 to work in this process",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _prepare_worker() -> None:
    """One BLAS thread; Ctrl-C is the parent's; the worker ends with its parent, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(limits=1)
    threading.Thread(target=_exit_with_parent, name="mathpipe-parent", daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
