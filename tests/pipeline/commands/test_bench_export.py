"""``mathpipe bench`` measures every part and removes its files; ``mathpipe export`` writes files that other tools read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mathpipe.generate.tasks.task_registry import TASKS
from mathpipe.pipeline.cli import main


def call(line: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main(line.split())
    return int(exit_info.value.code or 0)


def test_bench_measures_every_part_and_removes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"bench --dim 3 --task add --n 2M --workers 1 --out {tmp_path} --seconds 0.001 --json") == 0
    result = json.loads(capsys.readouterr().out)
    names = {m["name"] for m in result["measurements"]}
    assert {f"generate {task}" for task in TASKS} <= names
    assert {
        f"{direction} {name}" for direction in ("encode", "decode") for name in ("P10", "P1000", "B1999", "FP15")
    } <= names
    assert all(m["rate"] > 0 for m in result["measurements"])
    estimate = result["estimate"]
    assert estimate["examples"] == 2_000_000
    assert estimate["seconds"] == pytest.approx(2e6 / estimate["examples_per_second"])
    assert 100e6 < estimate["bytes"] < 300e6  # 54 numbers per example, 2 bytes or so each once compressed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"), [("bench --task invers", "did you mean"), ("bench --n many", "not a count")]
)
def test_bench_rejects_invalid_options(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(line) == 2
    assert message in capsys.readouterr().err


def test_export_writes_text_and_arrow(addition: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"export {addition} --split valid --out {tmp_path}/x.txt --input-encoding FP15") == 0
    assert "500 examples of valid" in capsys.readouterr().out
    first = (tmp_path / "x.txt").read_text().splitlines()[0]
    assert first.startswith("V3 V6 FP") and "\tV3 V3 " in first
    assert call(f"export {addition} --out {tmp_path}/x.arrow") == 0
    assert call(f"export {addition} --out {tmp_path}/x.csv") == 2
    assert "ends in .txt or .arrow" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.arrow", "x.txt"]
