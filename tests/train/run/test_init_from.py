"""Weights of another run as the first ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mathpipe.datasets.errors import UserError
from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.run.checkpoint import load_model, read_checkpoint
from mathpipe.train.trainer import TrainResult, train

Tiny = Callable[..., TrainConfig]


def quiet(config: TrainConfig, data: Any, run_dir: Path, **more: Any) -> TrainResult:
    return train(config, data, data, run_dir, dvclive=False, **more)


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_model(run_dir)[0].state_dict()


def test_a_run_begins_with_the_weights_of_another(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    learned = quiet(tiny(), data, tmp_path / "first")
    still = tiny(start_from=str(tmp_path / "first"), seed=1, optimiser="sgd", steps=1, warmup=0, lr=1e-12)
    result = quiet(still, data, tmp_path / "second")
    assert result.metrics["valid_loss"] == pytest.approx(learned.metrics["valid_loss"], rel=1e-6)
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    started = read_checkpoint(tmp_path / "second" / "checkpoint.pt")["state"]["started_from"]
    assert f"dataset {data.digest}" in started and "step 12" in started
    kept = quiet(tiny(keep_every=6), data, tmp_path / "kept")
    assert kept.step == 12
    early = tiny(start_from=str(tmp_path / "kept" / "checkpoints" / "step-00000006.pt"), steps=1, warmup=0)
    assert quiet(early, data, tmp_path / "third").step == 1


def test_a_resumed_run_does_not_need_the_other_any_more(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    quiet(tiny(), data, tmp_path / "first")
    config = tiny(start_from=str(tmp_path / "first"), seed=1)
    quiet(config, data, tmp_path / "whole")

    class Stop(Exception):
        pass

    calls = []

    def interrupted(_: object) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:  # at step 10, after the checkpoint of step 8
            raise Stop
        return {}

    with pytest.raises(Stop):
        quiet(config, data, tmp_path / "resumed", evaluate=interrupted)
    shutil.rmtree(tmp_path / "first")
    quiet(config, data, tmp_path / "resumed")
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "resumed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_weights_that_do_not_fit_are_refused(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    quiet(tiny(), data, tmp_path / "first")
    first = str(tmp_path / "first")
    wide = ModelConfig(**(tiny().model.model_dump() | {"decoder_width": 32, "decoder_heads": 2}))
    other_heads = tiny().model.model_copy(update={"encoder_heads": 1})
    gelu = tiny().model.model_copy(update={"activation": "gelu"})
    for change, message in (
        ({"start_from": str(tmp_path / "none")}, "names no run with a checkpoint"),
        ({"start_from": first, "model": wide}, r"another model: model.decoder_width differs.*Expected: 32"),
        (
            {"start_from": first, "model": other_heads},
            r"another model: model.encoder_heads differs.*Expected: 1.*Got: 3",
        ),
        ({"start_from": first, "model": gelu}, "another model: model.activation differs.*gelu"),
        ({"start_from": first, "output_encoding": "P1000"}, "other words.*P10 -> P1000.*P10 -> P10"),
        ({"start_from": first, "precision": 3}, "other words.*precision 3.*precision 2"),
    ):
        with pytest.raises(UserError, match=f"(?s){message}"):
            quiet(tiny(**change), data, tmp_path / "second")
