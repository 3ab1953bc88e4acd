"""Disks and stores that are full, slow or failing: nothing half-whole, an error that names the file, and resumable."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from torture_figures import figures, number_of_trials, share
from torture_processes import isolated
from torture_stores import FailingStore

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.store_errors import StoreError
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec

pytestmark = pytest.mark.torture

SPEC = DatasetSpec(task="transpose", problems=MatrixSpec(min_dim=1, max_dim=1), chunk_rows=10)
LAYOUT = Layout({"train": 20, "test": 10}, 10)


def make(url: str) -> int:
    return make_dataset(SPEC, LAYOUT, url, workers=0, retry_seconds=0.0).built_rows


def test_store_that_fails_at_each_byte() -> None:
    """The k-th byte that is written, for every k: the store then holds whole files alone, and the same command resumes."""
    FailingStore.objects.clear()
    FailingStore.prepare(None)
    make("failing://whole")
    whole = {name.removeprefix("whole/"): data for name, data in FailingStore.objects.items()}
    size = sum(map(len, whole.values()))
    with figures("disks", "store that fails at byte k of a dataset") as counts:
        step = max(1, size // number_of_trials(25, size))
        for k in range(0, size, step):
            FailingStore.objects.clear()
            FailingStore.prepare(k)
            with pytest.raises(StoreError, match=r"failing://d/\S+ cannot be written"):
                make("failing://d")
            partial = {name.removeprefix("d/"): data for name, data in FailingStore.objects.items()}
            FailingStore.prepare(None)
            make("failing://d")
            resumed = {name.removeprefix("d/"): data for name, data in FailingStore.objects.items()}
            if partial.items() <= whole.items() and "manifest.json" not in partial and resumed == whole:
                counts.survived()
            else:
                counts.failed(f"at byte {k}: {sorted(partial)}")
        counts.details["bytes of the dataset"] = size


def _local_with_limit(folder: str, whole: dict[str, bytes], limits: list[int]) -> list[str]:
    """Build it once for each limit of the size of a file, in a process of its own; what was lost."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    failures = []
    for k in limits:
        target = Path(folder) / str(k)
        resource.setrlimit(resource.RLIMIT_FSIZE, (k, resource.RLIM_INFINITY))
        try:
            make(str(target))
            failures.append(f"no error at byte {k}")
        except UserError as error:
            if str(target) not in str(error) or os.strerror(errno.EFBIG) not in str(error):
                failures.append(f"at byte {k}: {error}")
        except Exception as error:
            failures.append(f"at byte {k}: {error!r}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if not _files(target).items() <= whole.items() or (target / "manifest.json").exists():
            failures.append(f"half-whole at byte {k}: {sorted(_files(target))}")
        make(str(target))
        if _files(target) != whole:
            failures.append(f"not resumed at byte {k}")
        shutil.rmtree(target)
    return failures


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_local_file_that_ends_at_each_byte(tmp_path: Path) -> None:
    """The operating system refuses the k-th byte of any file, for every k below the size of the largest."""
    make(str(tmp_path / "whole"))
    whole = _files(tmp_path / "whole")
    largest = max(map(len, whole.values()))
    with figures("disks", "local files that cannot grow beyond byte k") as counts:
        limits = list(range(0, largest, max(1, largest // number_of_trials(15, largest))))
        outcome = isolated(_local_with_limit, str(tmp_path), whole, limits, seconds=600.0)
        assert outcome.ending == "value", outcome
        for fault in outcome.value:
            counts.failed(fault)
        counts.survived(len(limits) - len(outcome.value))
        counts.details["bytes of the largest file"] = largest


def test_slow_store(monkeypatch: pytest.MonkeyPatch) -> None:
    FailingStore.objects.clear()
    FailingStore.prepare(None)
    make("failing://whole")
    monkeypatch.setattr(FailingStore, "delay", 0.002)
    with figures("disks", "slow store") as counts:
        make("failing://slow")
        assert verify_dataset("failing://slow").damage == ()
        names = [name.removeprefix("slow/") for name in FailingStore.objects if name.startswith("slow/")]
        assert all(FailingStore.objects[f"slow/{n}"] == FailingStore.objects[f"whole/{n}"] for n in names) and names
        counts.survived()


class _HalfBodies:
    """Answers GET with the first half of each object, and closes the connection."""

    def __init__(self, application: Any) -> None:
        self.application, self.active = application, False

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        body = b"".join(self.application(environ, start_response))
        return [body[: len(body) // 2] if self.active and environ["REQUEST_METHOD"] == "GET" else body]


@pytest.mark.parametrize("error", ["InternalError", "SlowDown"], ids=["500", "503"])
def test_s3_that_answers_errors(error: str, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request in turn, from the k-th on."""
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    make(f"s3://bucket/whole-{error}")
    whole = s3.objects(f"whole-{error}/")
    with figures(
        "disks", f"S3 that answers {'500' if error == 'InternalError' else '503'} from the k-th request on"
    ) as counts:
        for k in range(1, number_of_trials(2, 20) + 1):
            requests, prefix = [0], f"{error}-{k}"

            def spoil(request: dict[str, Any], requests: list[int] = requests, k: int = k) -> str | None:
                requests[0] += 1
                return error if requests[0] >= k else None

            s3.spoil = spoil
            with pytest.raises(StoreError, match=f"s3://bucket/{prefix}"):
                make(f"s3://bucket/{prefix}")
            s3.spoil = lambda request: None
            partial = s3.objects(f"{prefix}/")
            make(f"s3://bucket/{prefix}")
            if (
                partial.items() <= whole.items()
                and "manifest.json" not in partial
                and s3.objects(f"{prefix}/") == whole
            ):
                counts.survived()
            else:
                counts.failed(f"from request {k} on: {sorted(partial)}")


def test_s3_that_sends_half_bodies(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was cut off is taken for a shard; nothing is lost once the server is whole again."""
    if share() is None:
        pytest.skip("part of `make torture` alone: the client waits before it tries again")
    make("s3://bucket/half")
    half = _HalfBodies(s3._moto)
    monkeypatch.setattr(s3, "_moto", half)
    half.active = True
    with figures("disks", "S3 that sends half of each body") as counts:
        with pytest.raises(UserError, match="s3://bucket/half"):
            list(_chunks("s3://bucket/half"))
        half.active = False
        assert sum(_chunks("s3://bucket/half")) == 20
        counts.survived()


def _chunks(url: str) -> list[int]:
    from mathpipe.datasets.dataset import open_dataset

    return [len(chunk) for chunk in open_dataset(url).chunks()]
