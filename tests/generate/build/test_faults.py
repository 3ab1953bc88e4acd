"""After every fault there is a clear message, no row is lost or repeated, and the same command completes the dataset."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.generate.build import locking
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout

Bytes = dict[str, bytes]
Contents = Callable[[Path], Bytes]

# One run of the generator in a process of its own: spec, layout as "split:rows,...", shard rows, directory, workers.
SCRIPT = """
import json
import sys
from mathpipe.datasets.errors import UserError
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.task_registry import parse_spec

def main(spec, splits, shard_rows, url, workers):
    layout = Layout({name: int(rows) for name, rows in (s.split(":") for s in splits.split(","))}, int(shard_rows))
    try:
        make_dataset(parse_spec(json.loads(spec)), layout, url, workers=int(workers), on_shard=print_record)
    except UserError as problem:
        sys.exit(f"mathpipe: {problem}")

def print_record(record, built):
    print(record.file, built, flush=True)
    if "wait" in sys.argv:
        sys.stdin.readline()

if __name__ == "__main__":
    main(*sys.argv[1:6])
"""


@pytest.fixture
def command(tmp_path: Path, spec: DatasetSpec, layout: Layout) -> Callable[..., list[str]]:
    """``command(folder, workers)``: the arguments of a process that makes the dataset there."""
    script = tmp_path / "make.py"
    script.write_text(SCRIPT)
    splits = ",".join(f"{name}:{rows}" for name, rows in layout.splits.items())

    def arguments(folder: Path, workers: int = 0, *more: str) -> list[str]:
        return [
            sys.executable,
            str(script),
            spec.to_json(),
            splits,
            str(layout.shard_rows),
            str(folder),
            str(workers),
            *more,
        ]

    return arguments


def fails(command: list[str], **how: Any) -> str:
    """The only line on stderr of a run that fails."""
    process = subprocess.run(command, capture_output=True, text=True, check=False, **how)
    assert process.returncode == 1, process.stderr
    lines = process.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("mathpipe: "), process.stderr
    return lines[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system smaller than the dataset of these tests."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting needs root; the test with a limit on files shows the same without")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_full_disk(
    small_disk: Path, command: Callable[..., list[str]], undisturbed: Bytes, workers: int, contents: Contents
) -> None:
    assert "the disk is full" in fails(command(small_disk / "d", workers))
    assert 0 < len(list((small_disk / "d").rglob("*.parquet"))) < 13
    assert not list(small_disk.rglob("*.writing-*")) or workers  # a second worker may be stopped where it stands
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    process = subprocess.run(command(small_disk / "d", workers), check=True, capture_output=True, text=True)
    assert "False" in process.stdout and "True" in process.stdout  # some shards were found, some built
    assert contents(small_disk / "d") == undisturbed


def test_file_size_limit(
    command: Callable[..., list[str]], undisturbed: Bytes, tmp_path: Path, contents: Contents
) -> None:
    """As above without mounting: a limit on file sizes makes a write fail in the middle of a shard."""
    largest = max(map(len, undisturbed.values()))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 2, largest // 2))

    line = fails(command(tmp_path / "d"), preexec_fn=limit)
    assert "train/00000.parquet cannot be written" in line and os.strerror(errno.EFBIG) in line
    assert [p for p in (tmp_path / "d").rglob("*") if p.is_file()] == []
    subprocess.run(command(tmp_path / "d"), check=True, capture_output=True)
    assert contents(tmp_path / "d") == undisturbed


def test_read_only_disk(
    small_disk: Path, spec: DatasetSpec, layout: Layout, undisturbed: Bytes, contents: Contents
) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)

    def lock(record: Any, built: bool) -> None:
        if record.shard == 3:
            subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with pytest.raises(UserError, match="read-only"):
        make_dataset(spec, layout, str(small_disk / "d"), on_shard=lock)
    with pytest.raises(UserError, match="read-only"):
        make_dataset(spec, layout, str(small_disk / "d"))
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert make_dataset(spec, layout, str(small_disk / "d")).built_rows == 8_000
    assert contents(small_disk / "d") == undisturbed


def test_directory_without_permission(
    command: Callable[..., list[str]], undisturbed: Bytes, tmp_path: Path, contents: Contents
) -> None:
    """Run as an ordinary user, since root may write anywhere; a complete dataset there is still recognised."""
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o755)
    url = tmp_path / "d"
    (url / "train").mkdir(parents=True)
    read_only = stat.S_IRUSR | stat.S_IXUSR | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH
    (url / "train").chmod(read_only)
    url.chmod(read_only)
    assert "no permission" in fails([*as_nobody, *command(url)])
    for folder in (url, url / "train"):
        folder.chmod(0o755)
    subprocess.run(command(url), check=True, capture_output=True)
    assert contents(url) == undisturbed
    for folder in (url, *url.iterdir()):
        folder.chmod(read_only) if folder.is_dir() else None
    subprocess.run([*as_nobody, *command(url)], check=True, capture_output=True)
    for folder in (url, *url.iterdir()):
        folder.chmod(0o755) if folder.is_dir() else None


def test_concurrent_runs(
    command: Callable[..., list[str]],
    spec: DatasetSpec,
    layout: Layout,
    undisturbed: Bytes,
    tmp_path: Path,
    contents: Contents,
) -> None:
    """A second run is refused while the first works, even with ``on_mismatch="restart"``; readers are unaffected."""
    url = tmp_path / "d"
    first = subprocess.Popen(
        command(url, 0, "wait"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert first.stdin is not None and first.stdout is not None
    first.stdout.readline()  # it has built a shard and waits
    other = spec.model_copy(update={"seed": 1})
    for conflicting_spec in (spec, other):
        with pytest.raises(UserError, match=r"is being written by another run.*the same command"):
            make_dataset(conflicting_spec, layout, str(url), on_mismatch="restart")
    assert sorted(contents(url)) == ["__records/train/00000.json", "train/00000.parquet"]
    first.communicate("\n" * 20)
    assert first.returncode == 0 and contents(url) == undisturbed
    assert make_dataset(spec, layout, str(url)).built_rows == 0


def test_lock_ends_with_the_process(
    command: Callable[..., list[str]],
    spec: DatasetSpec,
    layout: Layout,
    undisturbed: Bytes,
    tmp_path: Path,
    contents: Contents,
) -> None:
    url = tmp_path / "d"
    first = subprocess.Popen(command(url, 0, "wait"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None and first.stdin is not None
    first.stdout.readline()
    first.kill()
    first.wait()
    first.stdout.close()
    first.stdin.close()
    assert make_dataset(spec, layout, str(url)).built_rows == 11_000
    assert contents(url) == undisturbed


def test_file_system_without_directory_locks(
    spec: DatasetSpec, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There (NFS) the log beside the directory carries the lock; where there are no locks at all, the run goes on."""
    import fcntl

    flock = fcntl.flock

    def nfs(handle: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(handle, operation)

    def none(handle: int, operation: int) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    storage = locking.Storage(str(tmp_path / "d"))
    monkeypatch.setattr(fcntl, "flock", nfs)
    with locking.lock_directory(storage) as alone:
        assert alone
        with pytest.raises(UserError, match="another run"), locking.lock_directory(storage):
            pass
    monkeypatch.setattr(fcntl, "flock", none)
    with locking.lock_directory(storage) as alone:
        assert not alone


JUMPING = """
import time
real, calls = time.time, [0]
def jumping():
    calls[0] += 1
    return real() + (0, 7200, -7200, 86400)[calls[0] // 500 % 4]
time.time = jumping
time.time_ns = lambda: int(jumping() * 1e9)
"""


def test_jumping_clock(
    spec: DatasetSpec,
    layout: Layout,
    undisturbed: Bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    contents: Contents,
) -> None:
    """Every clock of this process, hours back and forth, the monotonic ones included: no result depends on a clock."""
    dice = random.Random(1)
    for name in ("time", "monotonic", "perf_counter", "process_time"):
        monkeypatch.setattr(time, name, lambda: dice.uniform(-1e6, 1e6))
    with pytest.raises(KeyboardInterrupt):
        make_dataset(spec, layout, str(tmp_path / "d"), on_shard=stop_at(4))
    for k, path in enumerate(sorted((tmp_path / "d").rglob("*"))):
        os.utime(path, (k * 1e8, k * 1e8))  # nor on the times of files
    assert make_dataset(spec, layout, str(tmp_path / "d")).built_rows == 7_000
    assert verify_dataset(str(tmp_path / "d")).damage == ()
    monkeypatch.undo()
    assert contents(tmp_path / "d") == undisturbed


def stop_at(shard: int) -> Callable[[Any, bool], None]:
    def on_shard(record: Any, built: bool) -> None:
        if record.shard == shard:
            raise KeyboardInterrupt

    return on_shard


@pytest.mark.slow
def test_jumping_clocks_of_workers(
    command: Callable[..., list[str]], undisturbed: Bytes, tmp_path: Path, contents: Contents
) -> None:
    """The wall clock of every process, Dask's scheduler and workers too: hours on and back, each time it was read 500 times.

    Steps, as a clock that is set makes them. Under a clock that is random at every reading Dask itself may hang; no rows are lost.
    """
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(JUMPING)
    path = os.pathsep.join([str(tmp_path / "clock"), *filter(None, [os.environ.get("PYTHONPATH")])])
    subprocess.run(
        command(tmp_path / "d", 2), check=True, capture_output=True, timeout=200, env={**os.environ, "PYTHONPATH": path}
    )
    assert contents(tmp_path / "d") == undisturbed


def test_truncated_shards_are_rebuilt(
    spec: DatasetSpec, layout: Layout, undisturbed: Bytes, tmp_path: Path, contents: Contents
) -> None:
    """A flipped byte anywhere, with or without a manifest; also records that are truncated, empty or of another shard."""
    url = tmp_path / "d"
    make_dataset(spec, layout, str(url))
    dice = random.Random(2)
    for with_manifest in (True, False):
        for k in (0, 3, 10):
            file = url / "train" / f"{k:05d}.parquet"
            os.truncate(file, dice.randrange(file.stat().st_size))
        os.truncate(url / "__records/train/00001.json", dice.randrange(100))
        (url / "__records/valid/00000.json").write_bytes(b"")
        shutil.copy(url / "__records/train/00005.json", url / "__records/train/00006.json")
        if not with_manifest:
            (url / "manifest.json").unlink()
        assert make_dataset(spec, layout, str(url)).built_rows == 3 * 1_000 - 500 + 1_000 + 1_000 + 1_000
        assert contents(url) == undisturbed


def test_shard_removed_during_the_build_raises(
    spec: DatasetSpec, layout: Layout, undisturbed: Bytes, tmp_path: Path, contents: Contents
) -> None:
    def remove(record: Any, built: bool) -> None:
        if record.shard == 4:
            (tmp_path / "d" / "train" / "00002.parquet").unlink()

    with pytest.raises(UserError, match=r"train/00002.parquet is not what was written.*no such file"):
        make_dataset(spec, layout, str(tmp_path / "d"), on_shard=remove)
    assert not (tmp_path / "d" / "manifest.json").exists()
    assert make_dataset(spec, layout, str(tmp_path / "d")).built_rows == 1_000
    assert contents(tmp_path / "d") == undisturbed


def test_unwritable_log_is_ignored(spec: DatasetSpec, layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "d.log.jsonl").mkdir()
    assert make_dataset(spec, layout, str(tmp_path / "d")).built_rows == 12_000
