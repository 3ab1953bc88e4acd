"""Making and verifying datasets on a Dask cluster: the same bytes as in one process, and one line for each lost process."""

from __future__ import annotations

import operator
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import ShardRecord
from mathpipe.datasets.io.storage import Storage
from mathpipe.generate.build import dataset_builder
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.execution.executors import run
from mathpipe.generate.layout import Layout
from mathpipe.pipeline.cli import main

Bytes = dict[str, bytes]
Contents = Callable[[Path], Bytes]
WaitFor = Callable[[Callable[[], object], str], None]
DaskCluster = Any  # of conftest.py, which tests cannot import
NewCluster = Callable[..., DaskCluster]


def count_tasks(address: str) -> int:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        num_tasks: int = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
    return num_tasks


def test_cluster_builds_and_verifies_the_same_bytes(
    shared_cluster: DaskCluster,
    spec: DatasetSpec,
    layout: Layout,
    undisturbed: Bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    contents: Contents,
    wait_for: WaitFor,
) -> None:
    """A relative path is relative to the directory of this process, not to those of the workers."""
    monkeypatch.chdir(tmp_path)
    result = make_dataset(spec, layout, "d", scheduler=shared_cluster.address)
    assert (result.built_rows, result.retried) == (12_000, {})
    assert contents(tmp_path / "d") == undisturbed
    assert verify_dataset("d", scheduler=shared_cluster.address).damage == ()
    (tmp_path / "d" / "train" / "00003.parquet").unlink()
    assert [d.what for d in verify_dataset("d", scheduler=shared_cluster.address).damage] == ["is missing"]
    wait_for(lambda: count_tasks(shared_cluster.address) == 0, "the scheduler to forget what was done")


def test_scheduler_forgets_finished_tasks(shared_cluster: DaskCluster, wait_for: WaitFor) -> None:
    assert sorted(run(operator.neg, range(300), scheduler=shared_cluster.address)) == list(range(-299, 1))
    wait_for(lambda: count_tasks(shared_cluster.address) == 0, "the scheduler to forget what was done")


def test_worker_error_is_raised_unchanged(shared_cluster: DaskCluster) -> None:
    with pytest.raises(ZeroDivisionError):
        list(run(divide_one_by, [1, 0], scheduler=shared_cluster.address))


divide_one_by = (1).__truediv__


def kill_in_the_middle_of_a_shard(process: subprocess.Popen[bytes], wait_for: WaitFor) -> None:
    """SIGKILL a worker while it has an unfinished shard open: it is stopped first, so that the shard cannot be finished."""

    def writing() -> bool:
        links = [str(fd.readlink()) for fd in Path(f"/proc/{process.pid}/fd").iterdir() if fd.is_symlink()]
        return any(".parquet.writing-" in link for link in links)

    def caught() -> bool:
        try:
            if not writing():
                return False
            os.kill(process.pid, signal.SIGSTOP)
            if writing():
                return True
            os.kill(process.pid, signal.SIGCONT)
        except FileNotFoundError:
            pass  # a descriptor was closed while it was read
        return False

    wait_for(caught, "the worker to write a shard")
    os.killpg(process.pid, signal.SIGKILL)


def test_killed_worker_loses_only_its_shard(
    new_cluster: NewCluster,
    spec: DatasetSpec,
    layout: Layout,
    undisturbed: Bytes,
    tmp_path: Path,
    contents: Contents,
    wait_for: WaitFor,
) -> None:
    dask_cluster = new_cluster("one", "two")
    killer = threading.Thread(target=kill_in_the_middle_of_a_shard, args=[dask_cluster.processes["one"], wait_for])
    killer.start()
    shard_counts: Counter[str] = Counter()
    make_dataset(
        spec,
        layout,
        str(tmp_path / "d"),
        scheduler=dask_cluster.address,
        on_shard=lambda record, new: shard_counts.update([record.file]),
    )
    killer.join()
    assert dask_cluster.processes["one"].wait() == -signal.SIGKILL
    assert set(shard_counts.values()) == {1} and len(shard_counts) == 13
    assert contents(tmp_path / "d") == undisturbed


def test_lost_scheduler_raises_and_a_new_cluster_resumes(
    new_cluster: NewCluster,
    spec: DatasetSpec,
    layout: Layout,
    undisturbed: Bytes,
    tmp_path: Path,
    capfd: Any,
    contents: Contents,
) -> None:
    dask_cluster = new_cluster("one", "two")

    def kill(record: ShardRecord, built: bool) -> None:
        if "scheduler" in dask_cluster.processes:
            dask_cluster.kill("scheduler")

    with pytest.raises(UserError, match=r"the scheduler tcp://.* is gone.*repeat the same command"):
        make_dataset(spec, layout, str(tmp_path / "d"), scheduler=dask_cluster.address, on_shard=kill)
    assert "Traceback" not in capfd.readouterr().err
    assert not (tmp_path / "d" / "manifest.json").exists()
    dask_cluster.stop()
    dask_cluster.start_scheduler(elsewhere=True)
    dask_cluster.start_worker("three")
    result = make_dataset(spec, layout, str(tmp_path / "d"), scheduler=dask_cluster.address)
    assert result.built_rows < 12_000
    assert contents(tmp_path / "d") == undisturbed


def ask(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    err = capsys.readouterr().err
    assert len([text for text in err.splitlines() if text.startswith("mathpipe: ")]) == 1 and "Traceback" not in err
    return int(stop.value.code or 0), err


def test_no_scheduler_at_the_address(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as silent:  # a port that is taken, where nobody listens
        silent.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UserError, match=f"--scheduler {address} does not answer"):
            list(run(abs, [-1], scheduler=address, connect_timeout=2))
        silent.listen()  # something listens that is no scheduler
        with pytest.raises(UserError, match=f"--scheduler {address} does not answer"):
            list(run(abs, [-1], scheduler=address, connect_timeout=2))
    code, err = ask(f"generate --task add --n 1k --out {tmp_path}/d --scheduler nonsense", capsys)
    assert code == 2 and "missing port" in err
    assert list(tmp_path.glob("d/*")) == []


def test_workers_and_scheduler_are_exclusive(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for line in (f"generate --task add --out {tmp_path}/d", f"verify {tmp_path}/d"):
        code, err = ask(f"{line} --workers 2 --scheduler tcp://127.0.0.1:8786", capsys)
        assert code == 2 and "--workers and --scheduler exclude each other" in err


OLDER_NUMPY = """
import importlib.metadata
real = importlib.metadata.version
importlib.metadata.version = lambda name: "1.26.4" if name == "numpy" else real(name)
"""


def test_workers_of_another_version_raise(
    new_cluster: NewCluster, spec: DatasetSpec, layout: Layout, tmp_path: Path
) -> None:
    """A worker that joins later is refused at its first shard; one that is there at the start, by the check before it."""
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "sitecustomize.py").write_text(OLDER_NUMPY)
    path = os.pathsep.join([str(tmp_path / "older"), *filter(None, [os.environ.get("PYTHONPATH")])])
    odd = new_cluster()
    messages: list[str] = []

    def join(text: str) -> None:
        messages.append(text)
        odd.start_worker("older", env={"PYTHONPATH": path})

    with pytest.raises(UserError, match=r"a worker that joined runs other versions.*numpy 2.*Got: numpy 1\.26\.4"):
        make_dataset(spec, layout, str(tmp_path / "d"), scheduler=odd.address, log=join)
    assert "has no worker yet" in messages[0]
    with pytest.raises(UserError, match=r"worker tcp://.* runs other versions.*numpy 2.*Got: numpy 1\.26\.4"):
        make_dataset(spec, layout, str(tmp_path / "d"), scheduler=odd.address)
    assert list((tmp_path / "d").rglob("*")) == []


NO_MATHPIPE = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "mathpipe":
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Nothing())
"""


def test_worker_without_mathpipe(new_cluster: NewCluster, spec: DatasetSpec, layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text(NO_MATHPIPE)
    bare = new_cluster()
    bare.start_worker("bare", env={"PYTHONPATH": str(tmp_path / "bare")})
    bare.wait_for_workers(1)
    with pytest.raises(UserError, match=r"worker tcp://.* cannot import mathpipe.*install mathpipe"):
        make_dataset(spec, layout, str(tmp_path / "d"), scheduler=bare.address)


def test_unshared_disk(spec: DatasetSpec, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker returns a record, but its file is missing: reported after several further checks."""
    pauses: list[float] = []
    monkeypatch.setattr(dataset_builder.time, "sleep", pauses.append)
    record = ShardRecord(
        split="train", shard=0, first_row=0, rows=10, bytes=99, sha256="", fingerprint=spec.fingerprint, rejected={}
    )
    with pytest.raises(UserError, match=r"finished train/00000.parquet.*no such file.*do not share.*s3://"):
        dataset_builder._check_arrived(Storage(str(tmp_path)), record, "tcp://far:8786")
    assert len(pauses) > 1


def can_mount(folder: Path) -> bool:
    """Whether this process may give others a disk of their own (root outside of a strict container)."""
    folder.mkdir(exist_ok=True)
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", str(folder)]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_workers_with_another_disk(
    new_cluster: NewCluster, spec: DatasetSpec, layout: Layout, undisturbed: Bytes, tmp_path: Path, contents: Contents
) -> None:
    """The same with a real worker, which has a disk of its own mounted where the dataset goes."""
    if not can_mount(tmp_path / "probe"):
        pytest.skip("mounting needs root; the test before shows the message")
    (tmp_path / "data").mkdir()
    mount = f'mount -t tmpfs none {tmp_path}/data && exec "$@"'
    cluster = new_cluster()
    cluster.start_worker("remote", before=("unshare", "--mount", "sh", "-c", mount, "sh"))
    with pytest.raises(UserError, match=r"a disk that the workers do not share"):
        make_dataset(spec, layout, str(tmp_path / "data" / "d"), scheduler=cluster.address)
    make_dataset(spec, layout, str(tmp_path / "data" / "d"), workers=0)
    assert contents(tmp_path / "data" / "d") == undisturbed
    cluster.kill("remote")
    cluster.start_worker("blind", before=("unshare", "--mount", "sh", "-c", mount, "sh"))
    with pytest.raises(UserError, match=r"cannot find (train|valid|test)/.*do not share"):
        verify_dataset(str(tmp_path / "data" / "d"), scheduler=cluster.address)


@pytest.mark.slow
def test_shard_that_kills_every_worker_raises() -> None:
    with pytest.raises(UserError, match="died repeatedly"):
        list(run(os._exit, [1], workers=1))
