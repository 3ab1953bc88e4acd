"""Disks and stores of files that fail or are slow: nothing half-whole, an error that names the file, and resumable."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
from torture_disks import folder_in_memory
from torture_figures import figures, number_of_trials
from torture_processes import isolated
from torture_stores import FailingStore
from torture_work import make_tiny

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.store_errors import StoreError
from mathpipe.generate.curate.dataset_verification import verify_dataset

pytestmark = pytest.mark.torture


def test_store_that_fails_at_each_byte() -> None:
    """The k-th byte that is written, for every k: the store then holds whole files alone, and the same command resumes."""
    FailingStore.objects.clear()
    FailingStore.prepare(None)
    make_tiny("failing://whole")
    whole = {name.removeprefix("whole/"): data for name, data in FailingStore.objects.items()}
    size = sum(map(len, whole.values()))
    with figures("disks", "store that fails at byte k of a dataset") as counts:
        step = max(1, size // number_of_trials(25, size))
        for k in range(0, size, step):
            FailingStore.objects.clear()
            FailingStore.prepare(k)
            with pytest.raises(StoreError, match=r"failing://d/\S+ cannot be written"):
                make_tiny("failing://d")
            partial = {name.removeprefix("d/"): data for name, data in FailingStore.objects.items()}
            FailingStore.prepare(None)
            make_tiny("failing://d")
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
            make_tiny(str(target))
            failures.append(f"no error at byte {k}")
        except UserError as error:
            if str(target) not in str(error) or os.strerror(errno.EFBIG) not in str(error):
                failures.append(f"at byte {k}: {error}")
        except Exception as error:
            failures.append(f"at byte {k}: {error!r}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if not _files(target).items() <= whole.items() or (target / "manifest.json").exists():
            failures.append(f"half-whole at byte {k}: {sorted(_files(target))}")
        make_tiny(str(target))
        if _files(target) != whole:
            failures.append(f"not resumed at byte {k}")
        shutil.rmtree(target)
    return failures


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_local_file_that_ends_at_each_byte(tmp_path: Path) -> None:
    """The operating system refuses the k-th byte of any file, for every k below the size of the largest."""
    make_tiny(str(tmp_path / "whole"))
    whole = _files(tmp_path / "whole")
    largest = max(map(len, whole.values()))
    with figures("disks", "local files that cannot grow beyond byte k") as counts, folder_in_memory(tmp_path) as folder:
        limits = list(range(0, largest, max(1, largest // number_of_trials(10, largest))))
        outcome = isolated(_local_with_limit, str(folder), whole, limits, seconds=1_200.0)
        assert outcome.ending == "value", outcome
        for fault in outcome.value:
            counts.failed(fault)
        counts.survived(len(limits) - len(outcome.value))
        counts.details["bytes of the largest file"] = largest


def test_slow_store(monkeypatch: pytest.MonkeyPatch) -> None:
    FailingStore.objects.clear()
    FailingStore.prepare(None)
    make_tiny("failing://whole")
    monkeypatch.setattr(FailingStore, "delay", 0.002)
    with figures("disks", "slow store") as counts:
        make_tiny("failing://slow")
        assert verify_dataset("failing://slow").damage == ()
        names = [name.removeprefix("slow/") for name in FailingStore.objects if name.startswith("slow/")]
        assert all(FailingStore.objects[f"slow/{n}"] == FailingStore.objects[f"whole/{n}"] for n in names) and names
        counts.survived()
