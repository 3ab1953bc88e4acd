"""``mathpipe import-model``: what is read is recorded, and what cannot be read is explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

transformers = pytest.importorskip("transformers")

from mathpipe.datasets.errors import UserError  # noqa: E402
from mathpipe.pipeline.cli import main  # noqa: E402
from mathpipe.pipeline.config.resolution import Source, gather, validated  # noqa: E402
from mathpipe.train.backbones.decoder_only import gpt2  # noqa: E402
from mathpipe.train.config import BodyConfig, TrainConfig  # noqa: E402


def call(*line: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in line])
    return int(stop.value.code or 0)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    shape = transformers.GPT2Config(vocab_size=20, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    transformers.GPT2LMHeadModel(shape).save_pretrained(tmp_path / "there")
    return tmp_path / "there"


def test_a_body_is_copied_and_recorded(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "here"
    assert call("import-model", saved, "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["model"], told["shape"]["n_layer"]) == ("gpt2", "frozen-gpt2", 1)
    assert json.loads((out / "mathpipe-body.json").read_text())["digest"] == told["digest"]
    assert gpt2(BodyConfig(weights=str(out))).config.n_embd == 8
    assert call("import-model", out, "--out", out) == 0 and told["digest"][:16] in capsys.readouterr().out  # again


def test_what_is_no_body_is_refused(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert call("import-model", tmp_path / "empty", "--out", tmp_path / "a") == 2
    assert "no body can be read" in capsys.readouterr().err and not (tmp_path / "a").exists()
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
    assert "holds another body" in capsys.readouterr().err


def test_a_misspelt_key_of_a_body_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown parameter train\.body\.train.*did you mean train\.body\.trains"):
        validated(TrainConfig, gather("train", Source(overrides=("body.train=nothing",)), {}), "train")
    found = gather("train", Source(preset="frozen/xor-5", overrides=("body.pretrained=false", "body.width=64")), {})
    body = validated(TrainConfig, {**found, "body": {**found["body"], "heads": 4}}, "train").body
    assert body is not None and (body.pretrained, body.width, body.read) == (False, 64, "last")
