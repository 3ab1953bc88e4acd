"""Whose directory it is."""

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
from mathpipe.train.run.run_directory import claimed, last_checkpoint
from mathpipe.train.trainer import record_of, train


def test_a_directory_of_other_files_is_left_alone(tiny: Callable[..., TrainConfig], data: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    for on_mismatch in ("error", "restart"):
        with pytest.raises(UserError, match=r"no run of training.*'thesis\.tex'"):
            train(tiny(), data, None, tmp_path, on_mismatch=on_mismatch, dvclive=False)  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_kill_or_dvc_leaves_before_the_first_record_is_no_obstacle(
    tiny: Callable[..., TrainConfig], data: Any, run_dir: Path
) -> None:
    run_dir.mkdir(parents=True)
    (run_dir / "run.json.tmp").write_text("{")
    (run_dir / ".gitignore").write_text("/checkpoint.pt")  # DVC writes it before the stage runs
    (run_dir / "evaluation").mkdir()
    assert train(tiny(steps=5), data, None, run_dir, dvclive=False).step == 5


def test_a_file_in_the_way_is_told(tiny: Callable[..., TrainConfig], data: Any, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        train(tiny(), data, None, tmp_path / "run", dvclive=False)


@pytest.mark.skipif(sys.platform == "win32", reason="directories are not locked there")
def test_two_processes_do_not_train_one_run(tiny: Callable[..., TrainConfig], data: Any, run_dir: Path) -> None:
    hold = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), 2); print(1, flush=True); input()"
    run_dir.mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(run_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"1\n"
        with (
            pytest.raises(UserError, match="by another process"),
            claimed(run_dir, record_of(tiny(), data), "restart"),
        ):
            pass
        other.communicate(b"\n")
    with claimed(run_dir, record_of(tiny(), data), "error"):
        assert last_checkpoint(run_dir) is None


def test_a_damaged_record_is_told(tiny: Callable[..., TrainConfig], data: Any, run_dir: Path) -> None:
    train(tiny(steps=5), data, None, run_dir, dvclive=False)
    (run_dir / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        train(tiny(steps=5), data, None, run_dir, dvclive=False)


def test_a_run_begun_before_a_key_existed_goes_on(tiny: Callable[..., TrainConfig], data: Any, run_dir: Path) -> None:
    config = tiny(steps=5)
    train(config, data, None, run_dir, dvclive=False)
    record = json.loads((run_dir / "run.json").read_text())
    del record["config"]["model"]["rotary"], record["config"]["tensorboard"], record["config"]["shrink"]
    (run_dir / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"model\.dropout differs.*model\.dropout = 0\.0, as in the run"):
        train(tiny(steps=5, model=config.model.model_copy(update={"dropout": 0.5})), data, None, run_dir)
    with pytest.raises(UserError, match=r"shrink differs.*shrink = 1\.0, as in the run.*shrink = 0\.5"):
        train(tiny(steps=5, shrink=0.5), data, None, run_dir)
    assert train(config, data, None, run_dir, dvclive=False).steps_taken == 0
    assert json.loads((run_dir / "run.json").read_text())["config"] == config.model_dump(mode="json")


def test_a_configuration_of_another_version_is_compared_as_it_is(
    tiny: Callable[..., TrainConfig], data: Any, run_dir: Path
) -> None:
    train(tiny(steps=5), data, None, run_dir, dvclive=False)
    record = json.loads((run_dir / "run.json").read_text())
    record["config"]["flux"] = 3
    (run_dir / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"flux differs.*flux = 3, as in the run"):
        train(tiny(steps=5), data, None, run_dir)


def test_the_first_difference_is_named_with_both_values() -> None:
    old = {"a": 1, "m": {"x": 1, "y": 2}, "threads": 1, "gone": 5}
    assert first_difference(old, {"a": 1, "m": {"x": 1, "y": 2}, "threads": 2, "gone": 5}) is None
    assert first_difference(old, {"a": 1, "m": {"x": 1, "y": 3}, "gone": 5}) == ("m.y", 2, 3)
    assert first_difference(old, {"a": 1, "m": {"x": 1, "y": 2}}) == ("gone", 5, None)
