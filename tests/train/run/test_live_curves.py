"""Curves for DVCLive: they are written wherever a run lies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mathpipe.train.run.metrics_log import Curves


def test_a_dvc_repository_without_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    subprocess.run(["dvc", "init", "--quiet"], check=True, cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    with Curves(tmp_path / "curves.jsonl", 0, tmp_path / "dvclive") as curves:
        curves.add(1, {"train_loss": 2.0})
    lines = (tmp_path / "dvclive/plots/metrics/train_loss.tsv").read_text().split()
    assert lines == ["step", "train_loss", "1", "2.0"]
