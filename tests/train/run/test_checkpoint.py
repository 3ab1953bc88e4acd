"""Checkpoints: atomic writes, detection of damage, safe loading."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.errors import UserError
from mathpipe.train.config import TrainConfig
from mathpipe.train.run import checkpoint
from mathpipe.train.run.checkpoint import build_model, load_model, read_checkpoint, save_checkpoint
from mathpipe.train.run.run_record import RunRecord
from mathpipe.train.trainer import train

Tiny = Callable[..., TrainConfig]


@pytest.fixture
def trained(tiny: Tiny, data: Any, run_dir: Path) -> Path:
    train(tiny(steps=5), data, None, run_dir, dvclive=False)
    return run_dir


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", {"a": torch.arange(3), "b": {"c": [1, "x", None, 2.5]}})
    state = read_checkpoint(tmp_path / "c.pt")
    assert state["a"].tolist() == [0, 1, 2] and state["b"] == {"c": [1, "x", None, 2.5]}
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


@given(place=st.floats(0, 1, exclude_max=True), truncated=st.booleans())
def test_damage_is_detected(tmp_path_factory: pytest.TempPathFactory, place: float, truncated: bool) -> None:
    path = tmp_path_factory.mktemp("damage") / "c.pt"
    save_checkpoint(path, {"a": torch.arange(5)})
    content = bytearray(path.read_bytes())
    at = int(place * len(content))
    content[at] ^= 1
    path.write_bytes(content[:at] if truncated else content)
    with pytest.raises(UserError, match="is damaged"):
        read_checkpoint(path)


def test_damaged_checkpoint_stops_training_and_is_not_overwritten(tiny: Tiny, data: Any, trained: Path) -> None:
    path = trained / "checkpoint.pt"
    damaged = path.read_bytes()[:-1000]
    path.write_bytes(damaged)
    for on_mismatch in ("error", "restart"):
        with pytest.raises(UserError, match="is damaged"):
            train(tiny(steps=5), data, None, trained, on_mismatch=on_mismatch, dvclive=False)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="is damaged"):
        load_model(trained)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_write_keeps_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"a": 1})

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os if call == "fsync" else Path, call, fail)
        with pytest.raises(UserError, match="No space left on device"):
            save_checkpoint(path, {"a": 2})
    assert read_checkpoint(path)["a"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_killed_write_keeps_previous_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", {"a": 1})
    code = """
import os, signal, sys
from pathlib import Path
from mathpipe.train.run.checkpoint import save_checkpoint
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
save_checkpoint(Path(sys.argv[1]), {"a": 2})
"""
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path / "c.pt")], check=False)
    assert child.returncode == -9
    assert read_checkpoint(tmp_path / "c.pt")["a"] == 1
    save_checkpoint(tmp_path / "c.pt", {"a": 3})
    assert read_checkpoint(tmp_path / "c.pt")["a"] == 3


def test_full_disk_keeps_previous_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", {"a": torch.zeros(10)})
    code = """
import resource, signal, sys, torch
from pathlib import Path
from mathpipe.datasets.errors import UserError
from mathpipe.train.run.checkpoint import save_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    save_checkpoint(Path(sys.argv[1]), {"a": torch.ones(1_000_000)})
except UserError as problem:
    sys.exit(str(problem))
"""
    child = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "c.pt")], check=False, capture_output=True, text=True
    )
    assert child.returncode == 1 and "cannot be written" in child.stderr
    assert read_checkpoint(tmp_path / "c.pt")["a"].sum() == 0
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo ran > /dev/null",)


def test_reading_checkpoint_runs_no_code(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"format": checkpoint.FORMAT, "evil": Evil()}, buffer)
    content = buffer.getvalue()
    (tmp_path / "c.pt").write_bytes(content + hashlib.sha256(content).digest())
    with pytest.raises((UserError, pickle.UnpicklingError)):
        read_checkpoint(tmp_path / "c.pt")


def test_other_checkpoint_format_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as other:
        other.setattr(checkpoint, "FORMAT", 99)
        save_checkpoint(tmp_path / "c.pt", {})
    with pytest.raises(UserError, match="another format"):
        read_checkpoint(tmp_path / "c.pt")


def test_directory_without_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        load_model(tmp_path)


def test_run_without_checkpoint_is_an_error(trained: Path) -> None:
    (trained / "checkpoint.pt").unlink()
    with pytest.raises(UserError, match="no checkpoint yet"):
        load_model(trained)


def test_record_round_trip(tiny: Tiny) -> None:
    record = RunRecord("data/x", "d", "add", {"seed": 3}, "P10", "FP15", 2, tiny(), 7)
    assert RunRecord.from_dict(record.to_dict(), Path("x")) == record


def test_record_of_other_version_is_an_error(tiny: Tiny) -> None:
    values = RunRecord("data/x", "d", "add", {}, "P10", "P10", 2, tiny()).to_dict()
    values["config"]["flux"] = 1
    with pytest.raises(UserError, match="this version cannot read"):
        RunRecord.from_dict(values, Path("x"))


def test_cotraining_header_includes_task_token(tiny: Tiny) -> None:
    for task, header in (("add", 2), ("cotraining", 3)):
        model = build_model(RunRecord("data/x", "d", task, {"task": task, "problems": {}}, "P10", "FP15", 2, tiny()))
        assert model.source_format.header == header and len(model.encoder.positions.offset.weight) == header + 5
