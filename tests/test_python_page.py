"""The page on single matrices is right: its Python blocks run in order and print what their comments say."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mathpipe.datasets.dataset import open_dataset
from mathpipe.pipeline.cli import main
from mathpipe.train.config import TrainConfig
from mathpipe.train.trainer import train

PAGE = Path(__file__).parent.parent / "docs" / "guides" / "one-matrix.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """runs/eigenvalues of the README, after four steps."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    with pytest.raises(SystemExit):
        main(shlex.split("generate --task eigenvalues --dim 2 --n 500 --valid 50 --test 50 --workers 0"))
    data = [open_dataset("data/eigenvalues", split, "P10", "P10") for split in ("train", "valid")]
    train(TrainConfig(steps=4, warmup=1, valid_examples=50), *data, "runs/eigenvalues")


def expected_lines(code: str) -> list[str]:
    """What the comments of ``print`` say."""
    return re.findall(r"^print\(.*\)\s+# (.*)$", code, flags=re.MULTILINE)


@pytest.mark.usefixtures("trained")
def test_blocks_print_their_comments() -> None:
    code = "\n".join(BLOCKS)
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    *lines, solution, answer = printed.splitlines()
    assert lines == expected_lines("\n".join(BLOCKS[:-1])) and len(lines) == 8
    assert solution.split()[1:] == ["[3.", "1.]"] and answer.startswith("model ")
