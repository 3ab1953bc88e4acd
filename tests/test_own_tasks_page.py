"""The page on own tasks is right: its files are tasks, and its commands run as printed, with smaller numbers."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.generate.tasks.task_registry import TASKS

PAGE = Path(__file__).parent.parent / "docs" / "own-tasks.md"
TEXT = PAGE.read_text(encoding="utf-8")
FILES = dict(re.findall(r"Save this as `(\w+\.py)`:\n\n```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL))
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", "").splitlines()]
SMALLER = {
    r"--n (1M|100k|20k)": "--n 1500 --valid 107 --test 107 --workers 0 --quiet",
    r"--test 50k": "",
    r"-S steps=3000": "-S steps=4 -S warmup=1 -S batch=8 -S valid_examples=50 -S model.encoder_width=16 -S model.decoder_width=16 "
    "-S model.encoder_heads=2 -S model.decoder_heads=2",
}


def test_page_names_its_files() -> None:
    assert FILES.keys() == {"euclid.py", "divisor.py", "words.py", "fast_gcd.py"}
    assert len([line for line in FILES["euclid.py"].splitlines() if line]) <= 15


def run(command: str, folder: Path) -> None:
    """Run a command of the page, with smaller numbers, in a process of its own, which has loaded no task before."""
    for pattern, small in SMALLER.items():
        command = re.sub(pattern, small, command)
    program, *arguments = shlex.split(command)
    assert program == "mathpipe"
    done = subprocess.run(
        [sys.executable, "-m", "mathpipe.pipeline.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.mark.timeout(600)
def test_commands_run_as_printed(tmp_path: Path) -> None:
    """All in the order of the page, in one test: each needs what those before it made."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    for command in COMMANDS:
        run(command, tmp_path)
    specs = {path.name: read_manifest(str(path)).spec for path in (tmp_path / "data").iterdir() if path.is_dir()}
    assert specs.keys() == {"euclid", "divisor", "rotate", "majority", "fast-gcd"}
    assert specs["euclid"]["problems"]["max_int"] == 1_000_000 and not specs.keys() & TASKS.keys()
    metrics = next((tmp_path / "runs" / "euclid" / "evaluation").glob("*/analyses/analyses.json")).read_text()
    assert "classes_predicted" in metrics
