"""A checkpoint whose parts were changed before its checksum was computed: every reader names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.train.config import TrainConfig
from mathpipe.train.run.checkpoint import load_model, read_checkpoint, save_checkpoint
from mathpipe.train.run.run_record import CHECKPOINT
from mathpipe.train.trainer import train


def rename_weight(state: dict[str, Any]) -> None:
    name = next(iter(state["model"]))
    state["model"][f"{name}x"] = state["model"].pop(name)


def drop_record(state: dict[str, Any]) -> None:
    del state["record"]


def replace_weights(state: dict[str, Any]) -> None:
    state["model"] = [1, 2]


@pytest.mark.parametrize("change", [rename_weight, drop_record, replace_weights])
def test_changed_state(
    change: Callable[[dict[str, Any]], None],
    tiny: Callable[..., TrainConfig],
    data: Any,
    run_dir: Path,
    tmp_path: Path,
) -> None:
    train(tiny(steps=4), data, data, run_dir, dvclive=False)
    state = read_checkpoint(run_dir / CHECKPOINT)
    change(state)
    save_checkpoint(run_dir / CHECKPOINT, state)
    with pytest.raises(UserError, match=str(run_dir / CHECKPOINT)):
        load_model(run_dir)
    with pytest.raises(UserError, match=str(run_dir)):
        train(tiny(init_from=str(run_dir)), data, data, tmp_path / "other", dvclive=False)
    if change is not drop_record:  # training continues from its own record
        with pytest.raises(UserError, match=str(run_dir / CHECKPOINT)):
            train(tiny(steps=4), data, data, run_dir, dvclive=False)
