"""Unknown parameters are named with the one that was meant: of another place, of another library, or misspelt."""

from __future__ import annotations

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.pipeline.config.resolution import ParameterSource, resolve, validate
from mathpipe.train.config import TrainConfig


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("model.dim", "model.encoder_width"),
        ("dim", "model.encoder_width"),
        ("model.d_model", "model.encoder_width"),
        ("model.widht", "model.encoder_width"),
        ("model.heads", "model.encoder_heads"),
        ("model.encodr_width", "model.encoder_width"),
        ("backbone.dim", "backbone.width"),
        ("encoder_width", "model.encoder_width"),
        ("model.lr", "lr"),
        ("learning_rate", "lr"),
        ("batch_size", "batch"),
        ("epochs", "steps"),
        ("lrr", "lr"),
        ("weight-decay", "weight_decay"),
    ],
)
def test_unknown_keys_are_named_with_the_one_that_was_meant(key: str, meant: str) -> None:
    values = resolve("train", ParameterSource(overrides=(f"{key}=64",)), {})
    with pytest.raises(UserError) as error:
        validate(TrainConfig, values, "train")
    assert error.value.next_step == f"did you mean train.{meant}?"


def test_a_name_like_no_other_has_no_suggestion() -> None:
    values = resolve("train", ParameterSource(overrides=("zzzzzz=64",)), {})
    with pytest.raises(UserError) as error:
        validate(TrainConfig, values, "train")
    assert error.value.next_step is None
