"""Run directories: locking, resume, rejection of other files and configurations."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.train.config import TrainConfig, first_difference
from mathpipe.train.run.run_directory import last_checkpoint, lock_run
from mathpipe.train.trainer import build_record, train


def test_directory_with_other_files_is_rejected(tiny: Callable[..., TrainConfig], data: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    for on_mismatch in ("error", "restart"):
        with pytest.raises(UserError, match=r"is not a training run.*'thesis\.tex'"):
            train(tiny(), data, None, tmp_path, on_mismatch=on_mismatch, dvclive=False)  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "name", ["curves.jsonl", "summary.json", "checkpoints/thesis.pt", "evaluation/table.tex", "wandb/notes"]
)
@pytest.mark.parametrize("on_mismatch", ["error", "restart"])
def test_files_named_as_those_of_a_run_are_not_a_run(
    tiny: Callable[..., TrainConfig], data: Any, run_dir: Path, name: str, on_mismatch: str
) -> None:
    """They are not replaced, whatever they are called: only a record makes a directory a run."""
    (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
    (run_dir / name).write_text("years")
    with pytest.raises(UserError, match=rf"is not a training run.*1 other file, such as '{name.split('/')[0]}'"):
        train(tiny(steps=5), data, None, run_dir, on_mismatch=on_mismatch, dvclive=False)  # type: ignore[arg-type]
    assert [p.relative_to(run_dir).as_posix() for p in run_dir.rglob("*") if p.is_file()] == [name]


def test_a_start_that_failed_leaves_the_directory_usable(
    tiny: Callable[..., TrainConfig], data: Any, run_dir: Path
) -> None:
    """Also if it has written curves before it failed."""
    with pytest.raises(UserError, match="wrong"), lock_run(run_dir, build_record(tiny(steps=4), data), "error"):
        (run_dir / "curves.jsonl").write_text("")
        raise UserError("wrong")
    assert not (run_dir / "run.json").exists()
    assert train(tiny(steps=5), data, None, run_dir, dvclive=False).step == 5
    assert not (run_dir / ".failed-start.json").exists()


def test_leftovers_before_first_record_are_ignored(tiny: Callable[..., TrainConfig], data: Any, run_dir: Path) -> None:
    run_dir.mkdir(parents=True)
    (run_dir / "run.json.tmp").write_text("{")
    (run_dir / ".gitignore").write_text("/checkpoint.pt")  # DVC writes it before the stage runs
    (run_dir / "evaluation").mkdir()
    assert train(tiny(steps=5), data, None, run_dir, dvclive=False).step == 5


def test_file_instead_of_directory_is_an_error(tiny: Callable[..., TrainConfig], data: Any, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="a file exists where a directory should be"):
        train(tiny(), data, None, tmp_path / "run", dvclive=False)


@pytest.mark.skipif(sys.platform == "win32", reason="directories are not locked there")
def test_run_directory_is_locked(tiny: Callable[..., TrainConfig], data: Any, run_dir: Path) -> None:
    lock_script = (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), 2); print(1, flush=True); input()"
    )
    run_dir.mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", lock_script, str(run_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"1\n"
        with (
            pytest.raises(UserError, match="in use by another process"),
            lock_run(run_dir, build_record(tiny(), data), "restart"),
        ):
            pass
        other.communicate(b"\n")
    with lock_run(run_dir, build_record(tiny(), data), "error"):
        assert last_checkpoint(run_dir) is None


def test_damaged_record_is_an_error(tiny: Callable[..., TrainConfig], data: Any, run_dir: Path) -> None:
    train(tiny(steps=5), data, None, run_dir, dvclive=False)
    (run_dir / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        train(tiny(steps=5), data, None, run_dir, dvclive=False)


def test_missing_keys_take_defaults_on_resume(tiny: Callable[..., TrainConfig], data: Any, run_dir: Path) -> None:
    config = tiny(steps=5)
    train(config, data, None, run_dir, dvclive=False)
    record = json.loads((run_dir / "run.json").read_text())
    del record["config"]["model"]["rotary"], record["config"]["track"], record["config"]["shrink"]
    (run_dir / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"model\.dropout differs.*model\.dropout = 0\.0, as in the run"):
        train(tiny(steps=5, model=config.model.model_copy(update={"dropout": 0.5})), data, None, run_dir)
    with pytest.raises(UserError, match=r"shrink differs.*shrink = 1\.0, as in the run.*shrink = 0\.5"):
        train(tiny(steps=5, shrink=0.5), data, None, run_dir)
    assert train(config, data, None, run_dir, dvclive=False).session_steps == 0
    assert json.loads((run_dir / "run.json").read_text())["config"] == config.model_dump(mode="json")


def test_configuration_of_other_version_is_compared_unchanged(
    tiny: Callable[..., TrainConfig], data: Any, run_dir: Path
) -> None:
    train(tiny(steps=5), data, None, run_dir, dvclive=False)
    record = json.loads((run_dir / "run.json").read_text())
    record["config"]["flux"] = 3
    (run_dir / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"flux differs.*flux = 3, as in the run"):
        train(tiny(steps=5), data, None, run_dir)


def test_first_difference() -> None:
    old = {"a": 1, "m": {"x": 1, "y": 2}, "threads": 1, "gone": 5}
    assert first_difference(old, {"a": 1, "m": {"x": 1, "y": 2}, "threads": 2, "gone": 5}) is None
    assert first_difference(old, {"a": 1, "m": {"x": 1, "y": 3}, "gone": 5}) == ("m.y", 2, 3)
    assert first_difference(old, {"a": 1, "m": {"x": 1, "y": 2}}) == ("gone", 5, None)
