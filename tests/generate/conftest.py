"""Clusters and stores to make datasets with: Dask processes, and an S3 server that can be made to fail."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec

WAIT_TIMEOUT = 120.0  # seconds that any condition of these tests may take on a loaded machine


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll until a condition holds; the limit is generous, since only a hang should meet it."""
    deadline = time.monotonic() + WAIT_TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_TIMEOUT:.0f} s for {what}"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], object], str], None]:
    return wait_until


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """``contents(folder)``: every file's bytes by its relative name."""
    return contents_of


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


SPEC = DatasetSpec(task="inverse", problems=MatrixSpec(min_dim=3, max_dim=3), chunk_rows=1_000)
LAYOUT = Layout({"train": 10_500, "valid": 1_000, "test": 500}, 1_000)


@pytest.fixture(scope="session")
def spec() -> DatasetSpec:
    return SPEC


@pytest.fixture(scope="session")
def layout() -> Layout:
    """13 shards of a tenth of a second each."""
    return LAYOUT


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of the dataset (spec, layout), built in this process."""
    folder = tmp_path_factory.mktemp("undisturbed") / "d"
    make_dataset(SPEC, LAYOUT, str(folder), workers=0)
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

    def start(
        self, name: str, *arguments: str, before: tuple[str, ...] = (), env: dict[str, str] | None = None
    ) -> None:
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

    def start_scheduler(self, *, elsewhere: bool = False) -> None:
        self.port = free_port() if elsewhere else self.port
        self.start("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")

    def start_worker(self, name: str, **how: Any) -> None:
        """One worker process without a nanny that would start it again."""
        self.start(name, self.address, "--no-nanny", "--nthreads", "1", "--no-dashboard", "--name", name, **how)

    def wait_for_workers(self, number: int) -> None:
        from distributed import Client

        if not number:
            return
        with Client(self.address, timeout=WAIT_TIMEOUT, set_as_default=False) as client:
            client.wait_for_workers(number, timeout=WAIT_TIMEOUT)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for name in list(self.processes):
            self.kill(name)


SCHEDULER = "distributed.cli.dask_scheduler"


@pytest.fixture
def new_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., DaskCluster]]:
    """``new_cluster("one", "two")``: a scheduler and workers of these names, for a test that breaks them."""
    clusters: list[DaskCluster] = []

    def make(*workers: str) -> DaskCluster:
        clusters.append(_cluster(tmp_path_factory.mktemp("cluster"), *workers))
        return clusters[-1]

    try:
        yield make
    finally:
        for cluster in clusters:
            cluster.stop()


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A scheduler and two workers, for tests that leave them as they are."""
    cluster = _cluster(tmp_path_factory.mktemp("cluster"), "one", "two")
    try:
        yield cluster
    finally:
        cluster.stop()


def _cluster(folder: Path, *workers: str) -> DaskCluster:
    cluster = DaskCluster(folder)
    try:
        cluster.start_scheduler()
        for name in workers:
            cluster.start_worker(name)
        cluster.wait_for_workers(len(workers))
    except BaseException:
        cluster.stop()
        raise
    return cluster


class FailingStore:
    """A real S3 server (moto) on a port of this machine, whose answers a test can spoil, and which can be stopped and started.

    What it holds stays when it is stopped. ``spoil(request)`` names an S3 error for a request, or None.
    """

    BUCKET = "bucket"

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app

        self.port = free_port()
        self.spoil: Callable[[dict[str, Any]], str | None] = lambda request: None
        self.requests: list[str] = []
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server: Any = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        code = self.spoil(environ)
        if code is None:
            return self._moto(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status = {"AccessDenied": "403 Forbidden", "SlowDown": "503 Slow Down"}.get(code, "500 Internal Server Error")
        body = f"<Error><Code>{code}</Code><Message>spoilt by the test</Message></Error>".encode()
        start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def start(self) -> None:
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, type: str, message: str, *args: Any) -> None:
                pass

        self._server = make_server("127.0.0.1", self.port, self, threaded=True, request_handler=Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._thread = None

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Every object under a prefix of the bucket, asked of moto itself."""
        from moto.s3.models import s3_backends

        keys = s3_backends["123456789012"]["aws"].buckets[self.BUCKET].keys
        return {k.removeprefix(prefix): key.value for k, key in keys.items() if k.startswith(prefix)}


@pytest.fixture(scope="module")
def s3_server() -> Iterator[FailingStore]:
    store = FailingStore()
    store.start()
    try:
        yield store
    finally:
        store.stop()


@pytest.fixture
def s3(s3_server: FailingStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingStore]:
    """The server with one bucket, in this process's environment and that of the workers it starts."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server.url,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",  # of the client below: what is counted here are our own tries
    }.items():
        monkeypatch.setenv(name, value)
    fresh()
    urllib.request.urlopen(urllib.request.Request(f"{s3_server.url}/{s3_server.BUCKET}", method="PUT")).close()
    try:
        yield s3_server
    finally:
        s3_server.spoil = lambda request: None
        s3_server.stop()
        s3_server.start()
        fresh()


def fresh() -> None:
    """Forget connections to stores: the next request reads the environment again."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def many() -> int:
    """How many pairs the long proofs check: 1,000, or as many as MATHPIPE_PAIRS says."""
    return int(os.environ.get("MATHPIPE_PAIRS", "1000"))
