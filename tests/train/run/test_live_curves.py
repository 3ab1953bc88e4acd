"""DVCLive logging in any kind of repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mathpipe.train.run.metrics_log import MetricsLog
from mathpipe.train.tracking.dvclive_tracker import open_dvclive


def test_dvc_repository_without_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], check=True, cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    live = open_dvclive(tmp_path / "dvclive")
    assert live is not None
    with MetricsLog(tmp_path / "curves.jsonl", 0, [live]) as curves:
        curves.add(1, {"train_loss": 2.0})
    lines = (tmp_path / "dvclive/plots/metrics/train_loss.tsv").read_text().split()
    assert lines == ["step", "train_loss", "1", "2.0"]
