"""Clusters and stores to make datasets with: Dask processes, and an S3 server that can be made to fail."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mathpipe.generate.dataset import make_dataset
from mathpipe.generate.law import Law, MatrixLaw
from mathpipe.generate.layout import Layout

PATIENCE = 120.0  # seconds that any condition of these tests may take on a loaded machine


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll until a condition holds; the limit is generous, since only a hang should meet it."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


LAW = Law(task="inverse", operands=MatrixLaw(min_dim=3, max_dim=3), block_rows=1_000)
LAYOUT = Layout({"train": 10_500, "valid": 1_000, "test": 500}, 1_000)


@pytest.fixture(scope="session")
def law() -> Law:
    return LAW


@pytest.fixture(scope="session")
def layout() -> Layout:
    """13 shards of a tenth of a second each."""
    return LAYOUT


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of the dataset (law, layout), made in this process."""
    folder = tmp_path_factory.mktemp("undisturbed") / "d"
    make_dataset(LAW, LAYOUT, str(folder), workers=0)
    return contents_of(folder)


@dataclass
class DaskCluster:
    """A scheduler and workers, each a process of its own, as on a real cluster."""

    folder: Path
    port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def start(self, name: str, *arguments: str, before: tuple[str, ...] = (), env: dict[str, str] | None = None) -> None:
        command = [*before, sys.executable, "-m", "distributed.cli.dask_worker" if name != "scheduler" else SCHEDULER]
        log = (self.folder / f"{name}.log").open("wb")
        self.processes[name] = subprocess.Popen(
            [*command, *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={**os.environ, "DASK_LOGGING__DISTRIBUTED": "warning", **(env or {})},
            start_new_session=True,
        )
        log.close()

    def start_scheduler(self) -> None:
        self.start("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")

    def start_worker(self, name: str, **how: Any) -> None:
        """One worker process without a nanny that would start it again."""
        self.start(name, self.address, "--no-nanny", "--nthreads", "1", "--no-dashboard", "--name", name, **how)

    def wait_for_workers(self, number: int) -> None:
        from distributed import Client

        with Client(self.address, timeout=PATIENCE, set_as_default=False) as client:
            client.wait_for_workers(number, timeout=PATIENCE)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for name in list(self.processes):
            self.kill(name)


SCHEDULER = "distributed.cli.dask_scheduler"


@pytest.fixture
def dask_cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    """A scheduler and two workers, for a test that breaks them."""
    cluster = DaskCluster(_folder(tmp_path / "cluster"))
    cluster.start_scheduler()
    for name in ("one", "two"):
        cluster.start_worker(name)
    try:
        cluster.wait_for_workers(2)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A scheduler and two workers, for tests that leave them as they are."""
    cluster = DaskCluster(tmp_path_factory.mktemp("cluster"))
    cluster.start_scheduler()
    for name in ("one", "two"):
        cluster.start_worker(name)
    try:
        cluster.wait_for_workers(2)
        yield cluster
    finally:
        cluster.stop()


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
