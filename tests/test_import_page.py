"""The page on imports is right: its commands run as printed, one after the other, and reject what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.format.manifest import read_manifest

PAGE = (Path(__file__).parent.parent / "docs" / "guides" / "own-data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_examples_run_as_printed(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    printed = ""
    for block in BLOCKS:
        done = subprocess.run(
            ["bash", "-e", "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        printed += done.stdout + done.stderr
    (named,) = re.findall(r"named: `(.*?)`", PAGE)
    assert named in printed and printed.count("wrong_value") == 2
    rows = {name: read_manifest(str(tmp_path / "data" / name)).splits for name in os.listdir(tmp_path / "data")}  # noqa: PTH208
    assert {name: sum(split.rows for split in splits.values()) for name, splits in rows.items()} == {
        "own-inverses": 2, "own-integrals": 2, "dyck": 3, "own-gcds": 2, "again": rows["own-inverses"]["train"].rows,
    }  # fmt: skip
    assert open_dataset(tmp_path / "data" / "own-gcds", "test").task == "gcd"
