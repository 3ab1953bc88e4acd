"""Datasets on an S3 server: built, resumed, verified, read and backed up; and each way in which the server can fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import ShardRecord, read_manifest
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.io.store_errors import StoreError
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.pipeline.cli import main

Bytes = dict[str, bytes]
S3 = Any  # FailingStore of conftest.py, which tests cannot import
Request = dict[str, Any]

GENERATE = "generate --task add --dim 2 --n 3k --valid 200 --test 200"


def ask(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return int(stop.value.code or 0), captured.out, captured.err


def test_commands_on_s3(s3: S3, capsys: pytest.CaptureFixture[str]) -> None:
    url = "s3://bucket/line/add"
    code, out, _ = ask(f"{GENERATE} --workers 2 --out {url}", capsys)
    assert code == 0 and "train 3k" in out
    assert "nothing left to build" in ask(f"{GENERATE} --workers 0 --out {url}", capsys)[1]
    assert "complete and correct, 3,400 answers" in ask(f"verify {url} --workers 0", capsys)[1]
    shown = json.loads(ask(f"show {url} --json -k 2", capsys)[1])
    assert [p["row"] for p in shown["problems"]] == [0, 1]
    code, _, err = ask(f"{GENERATE} --workers 0 --seed 1 --out {url}", capsys)
    assert code == 2 and "holds another dataset" in err
    before = s3.objects("line/add/")
    code, _, err = ask(f"{GENERATE} --workers 0 --seed 1 --out {url} --on-mismatch restart", capsys)
    assert code == 0 and "moved to s3://bucket/line/add.old-1" in err, err
    assert s3.objects("line/add.old-1/") == before
    assert read_manifest(url).spec["seed"] == 1


def test_s3_objects_are_equal_and_manifest_is_last(
    s3: S3, spec: DatasetSpec, layout: Layout, undisturbed: Bytes
) -> None:
    first = len(s3.requests)
    make_dataset(spec, layout, "s3://bucket/same/", workers=0)
    assert s3.objects("same/") == undisturbed
    uploads = [line.split("/bucket/")[1] for line in s3.requests[first:] if line.startswith("PUT /bucket/same/")]
    assert uploads[-1] == "same/manifest.json" and len(uploads) == len(undisturbed)


def test_s3_runs_resume(s3: S3, spec: DatasetSpec, layout: Layout, undisturbed: Bytes) -> None:
    def stop(record: ShardRecord, built: bool) -> None:
        if record.shard == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_dataset(spec, layout, "s3://bucket/stopped", workers=0, on_shard=stop)
    Storage("s3://bucket/stopped").write_text("train/00001.parquet", "truncated")
    built_flags: list[bool] = []
    result = make_dataset(spec, layout, "s3://bucket/stopped", on_shard=lambda record, built: built_flags.append(built))
    assert (built_flags.count(False), result.built_rows) == (4, 8_000)
    assert s3.objects("stopped/") == undisturbed


def test_failing_chunk_leaves_no_object(s3: S3, spec: DatasetSpec, layout: Layout) -> None:
    """Neither a small file, sent when it is closed, nor a large one, sent in parts, appears if writing fails."""
    for size in (10, 60 << 20):
        with pytest.raises(RuntimeError), Storage("s3://bucket/failing").write("x") as file:
            file.write(bytes(size))
            raise RuntimeError
    assert s3.objects("failing/") == {}


def test_batches_from_s3_equal_local_batches(
    s3: S3, spec: DatasetSpec, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards are downloaded once and cached by checksum in the directory MATHPIPE_CACHE."""
    monkeypatch.setenv("MATHPIPE_CACHE", str(tmp_path / "cache"))
    make_dataset(spec, layout, "s3://bucket/batches")
    make_dataset(spec, layout, str(tmp_path / "d"))
    streams = [open_dataset(url).batches(size=64, seed=3) for url in ("s3://bucket/batches", tmp_path / "d")]
    for _ in range(200):  # more than one epoch
        remote, local = (next(stream) for stream in streams)
        assert remote.rows.equal(local.rows) and remote.source.equal(local.source) and remote.target.equal(local.target)
    for stream in streams:
        stream.close()
    checksums = {record.sha256 for record in open_dataset(tmp_path / "d").shards.shards}
    assert {p.stem for p in (tmp_path / "cache").iterdir()} == checksums
    s3.stop()  # the manifest is read, the shards are here
    s3.start()
    fetched = len([line for line in s3.requests if line.endswith(".parquet")])
    assert sum(map(len, open_dataset("s3://bucket/batches").chunks())) == 10_500
    assert len([line for line in s3.requests if line.endswith(".parquet")]) == fetched


def test_damaged_shard_is_not_cached(
    s3: S3, spec: DatasetSpec, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATHPIPE_CACHE", str(tmp_path / "cache"))
    make_dataset(spec, layout, "s3://bucket/damaged")
    Storage("s3://bucket/damaged").write_text("test/00000.parquet", "damage")
    with pytest.raises(UserError, match=r"test/00000.parquet is damaged.*checksum"):
        list(open_dataset("s3://bucket/damaged", "test").chunks())
    assert list((tmp_path / "cache").iterdir()) == []
    assert {d.file for d in verify_dataset("s3://bucket/damaged").damage} == {"test/00000.parquet"}


def puts(number: int, error: str) -> Callable[[Request], str | None]:
    """Make this many uploads fail, then let all succeed."""
    left = [number]

    def spoil(request: Request) -> str | None:
        if request["REQUEST_METHOD"] != "PUT" or left[0] == 0:
            return None
        left[0] -= 1
        return error

    return spoil


def test_transient_errors_are_retried_and_reported(
    s3: S3, spec: DatasetSpec, layout: Layout, undisturbed: Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3.spoil = puts(2, "SlowDown")
    messages: list[str] = []
    result = make_dataset(spec, layout, "s3://bucket/passing", log=messages.append, retry_seconds=0.01)
    assert list(result.retried.values()) == [2] and "spoilt by the test" in next(iter(result.retried))
    assert len(messages) == 1 and "train/00000.parquet was retried 2 times" in messages[0]
    assert s3.objects("passing/") == undisturbed


def test_persistent_error_raises_and_the_run_resumes(
    s3: S3, spec: DatasetSpec, layout: Layout, undisturbed: Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)

    def break_off(record: ShardRecord, built: bool) -> None:
        s3.spoil = puts(1_000, "SlowDown")

    with pytest.raises(StoreError, match=r"train/00001.parquet cannot be written \(tried 4 times\).*the same command"):
        make_dataset(spec, layout, "s3://bucket/lasting", on_shard=break_off, retry_seconds=0.01)
    s3.spoil = lambda request: None
    make_dataset(spec, layout, "s3://bucket/lasting")
    assert s3.objects("lasting/") == undisturbed


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_s3_server_stops_during_the_build(
    s3: S3, spec: DatasetSpec, layout: Layout, undisturbed: Bytes, workers: int
) -> None:

    def stop(record: ShardRecord, built: bool) -> None:
        s3.stop()

    with pytest.raises(StoreError, match=r"s3://bucket/middle.*unreachable.*run the same command again") as messages:
        make_dataset(spec, layout, f"s3://bucket/middle-{workers}", workers=workers, on_shard=stop, retry_seconds=0.01)
    assert "\n" not in str(messages.value)
    assert "manifest.json" not in s3.objects(f"middle-{workers}/")
    s3.start()
    result = make_dataset(spec, layout, f"s3://bucket/middle-{workers}", workers=workers)
    assert result.built_rows < 12_000
    assert s3.objects(f"middle-{workers}/") == undisturbed


def test_unreachable_store_is_not_damage(s3: S3, spec: DatasetSpec, layout: Layout) -> None:
    make_dataset(spec, layout, "s3://bucket/reach")
    with pytest.raises(StoreError, match="unreachable"):
        verify_dataset("s3://bucket/reach", on_shard=lambda record: s3.stop())
    s3.start()
    data = open_dataset("s3://bucket/reach")
    s3.stop()
    with pytest.raises(StoreError, match="unreachable"):
        list(data.chunks())


def test_s3_errors_are_one_line(s3: S3, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(url: str, *parts: str) -> None:
        code, out, err = ask(f"{GENERATE} --workers 0 --out {url}", capsys)
        lines = [line for line in err.splitlines() if line.startswith("mathpipe: ")]
        assert code == 2 and out == "" and len(lines) == 1 and all(part in lines[0] for part in parts), err

    refused("s3://nobucket/add", "s3://nobucket/add/", "bucket does not exist", "create the bucket")
    s3.spoil = lambda request: "AccessDenied"
    refused("s3://bucket/denied", "denies access", "AWS_ACCESS_KEY_ID")
    s3.spoil = lambda request: "AccessDenied" if request["REQUEST_METHOD"] == "PUT" else None
    refused("s3://bucket/denied", "cannot be written", "denies access")
    s3.spoil = lambda request: None
    assert ask(f"{GENERATE} --workers 0 --out s3://bucket/denied", capsys)[0] == 0
    s3.stop()
    refused("s3://bucket/denied", "unreachable", "AWS_ENDPOINT_URL")


def test_concurrent_runs_on_s3_are_harmless(s3: S3, spec: DatasetSpec, layout: Layout, undisturbed: Bytes) -> None:
    """There are no locks on S3: two runs write equal bytes under equal names."""
    meet = threading.Barrier(2, timeout=60)

    def run() -> None:
        first = [True]

        def on_shard(record: ShardRecord, built: bool) -> None:
            if first.pop() if first else False:
                meet.wait()

        make_dataset(spec, layout, "s3://bucket/twice", on_shard=on_shard)

    other = threading.Thread(target=run)
    other.start()
    run()
    other.join()
    assert s3.objects("twice/") == undisturbed
    assert verify_dataset("s3://bucket/twice").damage == ()
