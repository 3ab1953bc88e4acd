"""``run`` without a number of workers: work starts in this process and moves to workers if that pays for starting them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.execution.executors import LocalWorkers, RunItems, run, start_workers
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec

Contents = Callable[[Path], dict[str, bytes]]


def process_after(seconds: float) -> int:
    """The process that slept so long."""
    time.sleep(seconds)
    return os.getpid()


def threads_of_blas(_: object) -> set[int]:
    from threadpoolctl import threadpool_info

    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def fail(_: object) -> None:
    raise UserError("this item is wrong")


class Started:
    """Workers that repay their start after a tenth of a second, on two CPUs. No process is started: they return their items."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.local = LocalWorkers(workers=2, start_seconds=0.1, poll_seconds=0.02, start=self.start)

    @contextmanager
    def start(self, workers: int) -> Iterator[RunItems]:
        self.numbers.append(workers)
        yield lambda function, items: iter([("worker", item) for item in items])


@pytest.fixture
def started() -> Started:
    return Started()


@pytest.mark.parametrize(("seconds", "most", "workers"), [(1, 8, 0), (60, 8, 8), (4, 2, 0), (7, 2, 2), (1e9, 1, 0)])
def test_estimate_workers(seconds: float, most: int, workers: int) -> None:
    assert LocalWorkers(workers=most).estimate(seconds) == workers


def test_short_work_stays_in_process(started: Started) -> None:
    local = replace(started.local, start_seconds=60)
    assert list(run(process_after, [0.0] * 20, workers=None, local=local)) == [os.getpid()] * 20
    assert started.numbers == []


def test_remaining_work_moves_to_workers_once(started: Started) -> None:
    results = list(run(process_after, [0.6, *[0.3] * 9], workers=None, local=started.local))
    assert results == [os.getpid(), *[("worker", 0.3)] * 9]
    assert started.numbers == [2]


def test_no_more_workers_than_remaining_items(started: Started) -> None:
    assert list(run(process_after, [0.6, 0.3], workers=None, local=started.local)) == [os.getpid(), ("worker", 0.3)]
    assert started.numbers == [1]


def test_no_handover_while_the_caller_is_busy(started: Started) -> None:
    results = run(process_after, [0.05] * 4, workers=None, local=started.local)
    next(results)
    time.sleep(0.5)
    assert started.numbers == []
    results.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "mathpipe-start-workers"]


def test_errors_of_work_and_worker_start_are_raised(started: Started) -> None:
    with pytest.raises(UserError, match="this item is wrong"):
        list(run(fail, [1, 2], workers=None, local=started.local))

    def no_workers(workers: int) -> AbstractContextManager[RunItems]:
        raise OSError("no more processes")

    with pytest.raises(OSError, match="no more processes"):
        list(run(process_after, [0.6, *[0.3] * 9], workers=None, local=replace(started.local, start=no_workers)))


def test_blas_uses_one_thread_in_process() -> None:
    assert list(run(threads_of_blas, [0], workers=0)) == [{1}]
    assert list(run(threads_of_blas, [0], workers=None)) == [{1}]


def test_same_bytes_when_workers_join(tmp_path: Path, contents: Contents) -> None:
    """Real workers, for what is left while this process builds the first shards."""
    spec = DatasetSpec(task="inverse", problems=MatrixSpec(min_dim=3, max_dim=3))
    layout = Layout({"train": 60_000, "valid": 1_000, "test": 1_000}, 10_000)
    make_dataset(spec, layout, str(tmp_path / "here"), workers=0)
    num_handed_over = []

    @contextmanager
    def start(workers: int) -> Iterator[RunItems]:
        with start_workers(workers) as run_items:
            yield lambda function, items: num_handed_over.append(len(items)) or run_items(function, items)  # type: ignore[func-returns-value]

    local = LocalWorkers(workers=2, start_seconds=0, poll_seconds=0.001, start=start)
    make_dataset(spec, layout, str(tmp_path / "both"), workers=None, local=local)
    assert len(num_handed_over) == 1 and 0 < num_handed_over[0] < 8  # of 8 shards; the first is built here
    assert contents(tmp_path / "both") == contents(tmp_path / "here")
