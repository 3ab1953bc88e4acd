"""``mathpipe bench`` measures what it says and leaves nothing behind; ``mathpipe export`` writes what other tools read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mathpipe.generate.tasks.registry import TASKS
from mathpipe.pipeline.cli import main
from mathpipe.pipeline.commands import bench


def call(line: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    return int(stop.value.code or 0)


def test_bench_measures_every_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SECONDS", 0.001)
    assert call(f"bench --dim 3 --task add --n 2M --workers 1 --out {tmp_path} --json") == 0
    found = json.loads(capsys.readouterr().out)
    names = {m["what"] for m in found["measured"]}
    assert {f"generate {task}" for task in TASKS} <= names
    assert {f"{way} {code}" for way in ("encode", "decode") for code in ("P10", "P1000", "B1999", "FP15")} <= names
    assert all(m["rate"] > 0 for m in found["measured"])
    order = found["order"]
    assert order["rows"] == 2_000_000
    assert order["seconds"] == pytest.approx(2e6 / order["rows_per_second"])
    assert 100e6 < order["bytes"] < 300e6  # 54 numbers a row, 2 bytes or so each once compressed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("line", "message"), [("bench --task invers", "did you mean"), ("bench --n many", "no count")])
def test_bench_explains_mistakes(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(line) == 2
    assert message in capsys.readouterr().err


def test_export(addition: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"export {addition} --split valid --out {tmp_path}/x.txt --input-encoding FP15") == 0
    assert "500 rows of valid" in capsys.readouterr().out
    first = (tmp_path / "x.txt").read_text().splitlines()[0]
    assert first.startswith("V3 V6 FP") and "\tV3 V3 " in first
    assert call(f"export {addition} --out {tmp_path}/x.arrow") == 0
    assert call(f"export {addition} --out {tmp_path}/x.csv") == 2
    assert "ends in .txt or .arrow" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.arrow", "x.txt"]
