"""Errors about parameters name the file that sets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.pipeline.config.resolution import ParameterSource, resolve, validate
from mathpipe.train.config import TrainConfig


def message(text: str, tmp_path: Path, *overrides: str) -> str:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    source = ParameterSource(file=file, overrides=overrides)
    with pytest.raises(UserError) as error:
        validate(TrainConfig, resolve("train", source, {}), "train", source)
    return str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "train: {b&tch: 4}",
        "train: {batch: many}",
        "train: {model: {nrom: pre}}",
        "train: {model: 'norm:ypre'}",
        "train: {warmup: 100, steps: 10}",
    ],
)
def test_errors_of_a_file_name_it(text: str, tmp_path: Path) -> None:
    assert message(text, tmp_path).startswith(f"{tmp_path / 'own.yaml'}: ")


@pytest.mark.parametrize("override", ["train.lr=much", "lr=much", "optimiser=adm"])
def test_errors_of_overrides_do_not_name_the_file(override: str, tmp_path: Path) -> None:
    assert "own.yaml" not in message("train: {batch: 4, lr: 1e-3}", tmp_path, override)
