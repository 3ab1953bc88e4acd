"""Commands called in this process, and a small run trained once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mathpipe.pipeline.cli import main

Run = Callable[..., str]
GENERATE = ("generate", "--task", "add", "--dim", 2, "--n", 200, "--valid", 50, "--test", 50, "--quiet", "--workers", 0)
MODEL = ("encoder_layers=1", "decoder_layers=1", "encoder_width=16", "decoder_width=16", "encoder_heads=2")
SETTINGS = (
    *(f"model.{name}" for name in (*MODEL, "decoder_heads=2")),
    "steps=2",
    "batch=8",
    "eval_every=2",
    "warmup=0",
)
TRAIN = ("train", "--quiet", *(argument for setting in SETTINGS for argument in ("-S", setting)))


def call_main(*line: object) -> int:
    """Run a command in this process; its exit code."""
    with pytest.raises(SystemExit) as exit_info:
        main([str(argument) for argument in line])
    return int(exit_info.value.code or 0)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command that has to end with exit code ``code``; what it printed, or its error."""

    def call(*line: object, code: int = 0) -> str:
        result = call_main(*line)
        output = capsys.readouterr()
        assert result == code, output.err
        return output.err if code == 2 else output.out

    return call


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data/add`` and the run ``runs/add``, trained from within it; read only."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert call_main(*GENERATE, "--out", "data/add") == 0
        assert call_main(*TRAIN, "--data", "data/add", "--run", "runs/add") == 0
    return root


@pytest.fixture
def project(trained_once: Path, tmp_path: Path) -> Path:
    """A copy of the folder, for one test."""
    return shutil.copytree(trained_once, tmp_path / "project")
