"""Warm start from the weights of another run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.problem_types.type_registry import problem_type_of
from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.run.checkpoint import load_model, read_checkpoint
from mathpipe.train.trainer import TrainResult, train

Tiny = Callable[..., TrainConfig]


def train_quietly(config: TrainConfig, data: Any, run_dir: Path, **more: Any) -> TrainResult:
    return train(config, data, data, run_dir, dvclive=False, **more)


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_model(run_dir)[0].state_dict()


def test_init_from_other_run(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    learned = train_quietly(tiny(), data, tmp_path / "first")
    still = tiny(init_from=str(tmp_path / "first"), seed=1, optimiser="sgd", steps=1, warmup=0, lr=1e-12)
    result = train_quietly(still, data, tmp_path / "second")
    assert result.metrics["valid_loss"] == pytest.approx(learned.metrics["valid_loss"], rel=1e-6)
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    started = read_checkpoint(tmp_path / "second" / "checkpoint.pt")["state"]["initialised_from"]
    assert f"dataset {data.digest}" in started and "step 12" in started
    permanent = train_quietly(tiny(keep_every=6), data, tmp_path / "permanent")
    assert permanent.step == 12
    early = tiny(init_from=str(tmp_path / "permanent" / "checkpoints" / "step-00000006.pt"), steps=1, warmup=0)
    assert train_quietly(early, data, tmp_path / "third").step == 1


def test_resume_does_not_need_init_from(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    train_quietly(tiny(), data, tmp_path / "first")
    config = tiny(init_from=str(tmp_path / "first"), seed=1)
    train_quietly(config, data, tmp_path / "whole")

    class Stop(Exception):
        pass

    calls = []

    def interrupted(_: object) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:  # at step 10, after the checkpoint of step 8
            raise Stop
        return {}

    with pytest.raises(Stop):
        train_quietly(config, data, tmp_path / "resumed", evaluate=interrupted)
    shutil.rmtree(tmp_path / "first")
    train_quietly(config, data, tmp_path / "resumed")
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "resumed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_mismatching_weights_are_rejected(tiny: Tiny, data: Any, tmp_path: Path) -> None:
    train_quietly(tiny(), data, tmp_path / "first")
    first = str(tmp_path / "first")
    wide = ModelConfig(**(tiny().model.model_dump() | {"decoder_width": 32, "decoder_heads": 2}))
    other_heads = tiny().model.model_copy(update={"encoder_heads": 1})
    gelu = tiny().model.model_copy(update={"activation": "gelu"})
    for change, message in (
        ({"init_from": str(tmp_path / "none")}, "names no run with a checkpoint"),
        ({"init_from": first, "model": wide}, r"has another model: model.decoder_width differs.*Expected: 32"),
        (
            {"init_from": first, "model": other_heads},
            r"has another model: model.encoder_heads differs.*Expected: 1.*Got: 3",
        ),
        ({"init_from": first, "model": gelu}, "has another model: model.activation differs.*gelu"),
        ({"init_from": first, "output_encoding": "P1000"}, "other tokens.*P10 -> P1000.*P10 -> P10"),
        ({"init_from": first, "precision": 3}, "other tokens.*precision 3.*precision 2"),
    ):
        config = tiny(**change)
        encodings = config.input_encoding, config.output_encoding
        source, target = problem_type_of(data.spec).tokenizers(data.spec, *encodings, config.precision)
        with pytest.raises(UserError, match=f"(?s){message}"):
            train_quietly(config, replace(data, source=source, target=target), tmp_path / "second")
