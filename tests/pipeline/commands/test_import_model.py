"""``mathpipe import-model``: the model is recorded, and unreadable models are reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

transformers = pytest.importorskip("transformers")

from mathpipe.datasets.errors import UserError  # noqa: E402
from mathpipe.pipeline.cli import main  # noqa: E402
from mathpipe.pipeline.config.resolution import ParameterSource, resolve, validate  # noqa: E402
from mathpipe.train.backbones.decoder_only import gpt2  # noqa: E402
from mathpipe.train.config import BackboneConfig, TrainConfig  # noqa: E402


def call(*line: object) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main([str(argument) for argument in line])
    return int(exit_info.value.code or 0)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    shape = transformers.GPT2Config(vocab_size=20, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    transformers.GPT2LMHeadModel(shape).save_pretrained(tmp_path / "there")
    return tmp_path / "there"


def test_model_is_copied_and_recorded(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "here"
    assert call("import-model", saved, "--out", out, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["kind"], record["model"], record["shape"]["n_layer"]) == ("gpt2", "frozen-gpt2", 1)
    assert json.loads((out / "mathpipe-backbone.json").read_text())["digest"] == record["digest"]
    assert gpt2(BackboneConfig(weights=str(out))).config.n_embd == 8
    assert call("import-model", out, "--out", out) == 0 and record["digest"][:16] in capsys.readouterr().out  # again


def test_unreadable_models_are_rejected(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert call("import-model", tmp_path / "empty", "--out", tmp_path / "a") == 2
    assert "cannot read a backbone" in capsys.readouterr().err and not (tmp_path / "a").exists()
    other = transformers.BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    transformers.BertModel(other).save_pretrained(tmp_path / "bert")
    assert call("import-model", tmp_path / "bert", "--out", tmp_path / "a") == 2
    assert "holds a bert" in capsys.readouterr().err
    assert call("import-model", saved, "--out", tmp_path / "bert") == 2
    assert "holds other files" in capsys.readouterr().err
    shape = transformers.GPT2Config(vocab_size=20, n_positions=16, n_embd=8, n_layer=2, n_head=2)
    transformers.GPT2LMHeadModel(shape).save_pretrained(tmp_path / "second")
    assert call("import-model", saved, "--out", tmp_path / "a") == 0
    assert call("import-model", tmp_path / "second", "--out", tmp_path / "a") == 2
    assert "holds another backbone" in capsys.readouterr().err


def test_misspelt_key_suggests_nearest() -> None:
    with pytest.raises(
        UserError, match=r"unknown parameter train\.backbone\.train.*did you mean train\.backbone\.trainable"
    ):
        validate(TrainConfig, resolve("train", ParameterSource(overrides=("backbone.train=none",)), {}), "train")
    values = resolve(
        "train",
        ParameterSource(preset="frozen/xor-5", overrides=("backbone.pretrained=false", "backbone.width=64")),
        {},
    )
    backbone = validate(TrainConfig, {**values, "backbone": {**values["backbone"], "heads": 4}}, "train").backbone
    assert backbone is not None and (backbone.pretrained, backbone.width, backbone.readout) == (False, 64, "last")
