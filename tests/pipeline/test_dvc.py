"""``dvc repro``: the whole pipeline at a toy size, which stages it reruns, and how it resumes after a kill."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TOY = """
generate: {task: add, spec: {dim: 2}, n: 20k, valid: 500, test: 500, seed: 0}
train:
  lr: 0.001
  steps: 30
  warmup: 5
  batch: 16
  eval_every: 15
  checkpoint_every: 5
  log_every: 5
  valid_examples: 50
  threads: 2
  model: {encoder_width: 32, decoder_width: 32, encoder_heads: 2, decoder_heads: 2}
evaluate: {limit: 200}
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A Git and DVC repository with the dvc.yaml of the project and toy parameters."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copy(ROOT / ".dvcignore", tmp_path)
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
    (tmp_path / "params.yaml").write_text(TOY)
    (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    for command in ("init --quiet", "add --all", "-c user.name=t -c user.email=t@example.org commit --quiet -m begin"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    return tmp_path


def environment() -> dict[str, str]:
    variables = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
    }
    return {
        **variables,
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@e.org",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@e.org",
    }


def dvc(directory: Path, line: str) -> str:
    completed = subprocess.run(
        [sys.executable, "-m", "dvc", *line.split()],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


def git_status(directory: Path) -> str:
    command = ["git", "status", "--porcelain"]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout


def experiments(directory: Path) -> list[dict[str, str]]:
    """The experiments in ``dvc exp show``, sorted by learning rate."""
    rows = csv.DictReader(io.StringIO(dvc(directory, "exp show --csv")))
    return sorted((row for row in rows if row["typ"].startswith("branch")), key=lambda row: row["train.lr"])


def weights(directory: Path) -> dict[str, torch.Tensor]:
    model: dict[str, torch.Tensor] = torch.load(directory / "runs/default/checkpoint.pt", weights_only=True)["model"]
    return model


def test_repro_and_experiments(repository: Path) -> None:
    first = dvc(repository, "repro")
    assert all(f"Running stage '{stage}'" in first for stage in ("generate", "train", "evaluate"))
    metrics = json.loads((repository / "runs/default/evaluation/metrics.json").read_text())
    assert metrics["n"] == 200

    assert "Running stage" not in dvc(repository, "repro")

    before_plots = git_status(repository)
    dvc(repository, "plots show")
    assert (repository / "dvc_plots" / "index.html").exists() and git_status(repository) == before_plots
    shown = json.loads(dvc(repository, "metrics show --json"))[""]["data"]
    assert [*shown] == ["runs/default/evaluation/metrics.json"], "what a person compares, and nothing else"
    figures = shown["runs/default/evaluation/metrics.json"]["data"]
    assert figures["n"] == 200 and len(figures) == 8 and not any(isinstance(value, dict) for value in figures.values())

    before = weights(repository)
    trained = []
    for lr in ("0.002", "0.003"):
        text = dvc(repository, f"exp run -S train.lr={lr}")
        assert "Running stage 'train'" in text and "Running stage 'evaluate'" in text
        assert "Running stage 'generate'" not in text
        assert json.loads((repository / "runs/default/run.json").read_text())["config"]["lr"] == float(lr)
        trained.append(weights(repository))
    for a, b in ((before, trained[0]), (trained[0], trained[1])):
        assert not any(torch.equal(a[key], b[key]) for key in a if a[key].ndim == 2)
    dvc(repository, "exp run --queue -S train.lr=0.004,0.005")
    dvc(repository, "exp run --run-all")
    compared = experiments(repository)
    assert [row["train.lr"] for row in compared] == ["0.002", "0.003", "0.004", "0.005"]
    assert all(row["n"] == "200" and 0 <= float(row["accuracy"]) <= 1 for row in compared)
    assert not any(column.startswith("metrics.") for column in compared[0])


def test_killed_stage_resumes_on_next_repro(repository: Path) -> None:
    dvc(repository, "repro train")
    uninterrupted = weights(repository)
    shutil.rmtree(repository / "runs")
    shutil.rmtree(repository / ".dvc" / "cache")
    (repository / "dvc.lock").unlink()

    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "train"],
        cwd=repository, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    curves, start = repository / "runs/default/curves.jsonl", time.monotonic()
    while not (curves.exists() and len(curves.read_text().splitlines()) >= 3) and time.monotonic() - start < 120:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (repository / "runs/default/checkpoint.pt").exists()
    killed_at = json.loads(curves.read_text().splitlines()[-1])["step"]
    assert killed_at < 30

    dvc(repository, "repro train")
    steps = [json.loads(line)["step"] for line in curves.read_text().splitlines()]
    assert steps == [5, 10, 15, 20, 25, 30]
    assert all(torch.equal(a, b) for a, b in zip(uninterrupted.values(), weights(repository).values(), strict=True))
    assert not list((repository / "runs").glob("*.old-*")), "the run was resumed, not restarted"
