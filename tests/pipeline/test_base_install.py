"""The base install, without any extra: generation with workers, training and evaluation run; what needs an extra names it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXTRAS = ("dvc", "dvclive", "pandas", "matplotlib", "transformers", "s3fs", "tensorboard", "huggingface_hub")


@pytest.fixture
def base_install(tmp_path: Path) -> dict[str, str]:
    """An environment in which no extra can be imported, in this process's children and theirs."""
    for name in EXTRAS:
        package = tmp_path / "missing" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f'raise ModuleNotFoundError("No module named {name}", name="{name}")\n')
    return {**os.environ, "PYTHONPATH": str(tmp_path / "missing"), "OMP_NUM_THREADS": "1"}


def mathpipe(line: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mathpipe.pipeline.cli", *line.split()]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)


@pytest.mark.slow
def test_generate_train_and_evaluate(base_install: dict[str, str], tmp_path: Path) -> None:
    small = "-S steps=4 -S warmup=2 -S batch=8 -S valid_examples=8 -S model.encoder_width=16 -S model.decoder_width=16"
    for line in (
        "generate --task add --dim 2 --n 3k --valid 100 --test 100 --shard-rows 1k --workers 2",
        f"train {small}",
        "eval --verbose -S limit=20",
        "report runs/add",
    ):
        result = mathpipe(line, base_install, tmp_path)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs/add/evaluation").is_dir() and not (tmp_path / "runs/add/dvclive").exists()


@pytest.mark.parametrize(
    ("line", "extra"),
    [
        ("dedupe data/add data/unique", "dedupe"),
        ("import-model gpt2 --out model", "pretrained"),
        ("generate --task add --out s3://bucket/add --n 100", "s3"),
    ],
)
def test_errors_name_the_extra(base_install: dict[str, str], tmp_path: Path, line: str, extra: str) -> None:
    if line.startswith("dedupe"):
        process = mathpipe("generate --task add --dim 2 --n 500 --valid 50 --test 50", base_install, tmp_path)
        assert process.returncode == 0, process.stderr
    result = mathpipe(line, base_install, tmp_path)
    assert result.returncode == 2
    assert f"pip install 'mathpipe[{extra}]'" in result.stderr and "Traceback" not in result.stderr
