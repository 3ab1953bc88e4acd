"""``run`` without a number of workers: work starts in this process and moves to workers if that pays for starting them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.execution import executors
from mathpipe.generate.execution.executors import estimate_workers, run
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


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are worth their start after a tenth of a second, on two CPUs."""
    monkeypatch.setattr(executors, "START_SECONDS", 0.1)
    monkeypatch.setattr(executors, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(executors, "available_cpus", lambda: 2)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The requested numbers of workers; threads replace the processes."""
    numbers = []

    @contextmanager
    def client(workers: int) -> Iterator[str]:
        numbers.append(workers)
        yield "client"

    def as_done(client: Any, function: Callable[[Any], Any], items: list[Any], scheduler: None) -> Iterator[Any]:
        assert client == "client"
        yield from (("worker", item) for item in items)

    monkeypatch.setattr(executors, "_local_client", client)
    monkeypatch.setattr(executors, "_as_completed", as_done)
    return numbers


@pytest.mark.parametrize(("seconds", "cpus", "workers"), [(1, 8, 0), (60, 8, 8), (4, 2, 0), (7, 2, 2), (1e9, 1, 0)])
def test_estimate_workers(seconds: float, cpus: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "available_cpus", lambda: cpus)
    assert estimate_workers(seconds) == workers


@pytest.mark.usefixtures("eager")
def test_short_work_stays_in_process(started: list[int]) -> None:
    assert list(run(process_after, [0.0] * 20, workers=None)) == [os.getpid()] * 20
    assert started == []


@pytest.mark.usefixtures("eager")
def test_remaining_work_moves_to_workers_once(started: list[int]) -> None:
    results = list(run(process_after, [0.6, *[0.3] * 9], workers=None))
    assert results == [os.getpid(), *[("worker", 0.3)] * 9]
    assert started == [2]


@pytest.mark.usefixtures("eager")
def test_no_more_workers_than_remaining_items(started: list[int]) -> None:
    assert list(run(process_after, [0.6, 0.3], workers=None)) == [os.getpid(), ("worker", 0.3)]
    assert started == [1]


@pytest.mark.usefixtures("eager")
def test_no_handover_while_the_caller_is_busy(started: list[int]) -> None:
    results = run(process_after, [0.05] * 4, workers=None)
    next(results)
    time.sleep(0.5)
    assert started == []
    results.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "mathpipe-start-workers"]


@pytest.mark.usefixtures("eager")
def test_errors_of_work_and_worker_start_are_raised(started: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="this item is wrong"):
        list(run(fail, [1, 2], workers=None))

    def no_client(workers: int) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(executors, "_local_client", no_client)
    with pytest.raises(OSError, match="no more processes"):
        list(run(process_after, [0.6, *[0.3] * 9], workers=None))


def test_blas_uses_one_thread_in_process() -> None:
    assert list(run(threads_of_blas, [0], workers=0)) == [{1}]
    assert list(run(threads_of_blas, [0], workers=None)) == [{1}]


@pytest.mark.usefixtures("eager")
def test_same_bytes_when_workers_join(tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real workers take the remaining shards while this process is busy with the first."""
    spec = DatasetSpec(task="inverse", problems=MatrixSpec(min_dim=3, max_dim=3))
    layout = Layout({"train": 60_000, "valid": 1_000, "test": 1_000}, 10_000)
    make_dataset(spec, layout, str(tmp_path / "here"), workers=0)
    processes: list[int] = []
    monkeypatch.setattr(executors, "_call", held_up(processes))
    make_dataset(spec, layout, str(tmp_path / "both"), workers=None)
    assert processes == [os.getpid()]  # one shard was built here
    assert contents(tmp_path / "both") == contents(tmp_path / "here")


def held_up(processes: list[int]) -> Callable[[Callable[[Any], Any], Any], Any]:
    def call(function: Callable[[Any], Any], item: Any) -> Any:
        processes.append(process_after(0.5))
        return function(item)

    return call
