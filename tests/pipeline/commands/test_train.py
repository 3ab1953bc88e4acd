"""What ``mathpipe train`` says about the optional DVCLive."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mathpipe.pipeline.cli import main

SMALL = "-S steps=2 -S warmup=1 -S batch=8 -S valid_examples=0 -S model.encoder_width=16 -S model.decoder_width=16"
MESSAGE = "metrics go to runs/add/curves.jsonl only; `pip install 'mathpipe[dvc]'` adds DVCLive"


@pytest.fixture
def without_dvclive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dvclive.live", None)


def train(addition: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, options: str = "") -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as exit_info:
        main(f"train --data {addition} --run runs/add {SMALL} {options}".split())
    assert not exit_info.value.code


@pytest.mark.usefixtures("without_dvclive")
def test_missing_dvclive_is_logged_once(
    addition: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(addition, tmp_path, monkeypatch)
    assert capsys.readouterr().err.count(MESSAGE) == 1
    assert (tmp_path / "runs/add/curves.jsonl").exists() and not (tmp_path / "runs/add/dvclive").exists()


@pytest.mark.usefixtures("without_dvclive")
def test_quiet_hides_missing_dvclive(
    addition: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(addition, tmp_path, monkeypatch, "--quiet")
    assert "DVCLive" not in capsys.readouterr().err


def test_installed_dvclive_is_not_mentioned(
    addition: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dvclive")
    train(addition, tmp_path, monkeypatch)
    assert "DVCLive" not in capsys.readouterr().err
    assert (tmp_path / "runs/add/dvclive").is_dir()
