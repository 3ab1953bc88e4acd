"""Files that systems leave in a dataset, a run or a place for a model make nothing damaged and nothing full."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]
MARKS = ("_SUCCESS", "Thumbs.db", ".DS_Store", "desktop.ini", "._00000.parquet", ".00000.parquet.crc", ".gitignore")


def leave_marks(folder: Path) -> None:
    for name in MARKS:
        (folder / name).write_bytes(b"\0")


def test_dataset_with_marks(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    for folder in ("", "train", "valid", "test"):
        leave_marks(project / "data/add" / folder)
    line = ("generate", "--task", "add", "--dim", 2, "--n", 200, "--valid", 50, "--test", 50, "--workers", 0)
    assert "nothing left to build" in run(*line, "--out", "data/add")
    assert "complete and correct" in run("verify", "data/add", "--workers", 0)
    run("show", "data/add")
    run("dedupe", "data/add", "data/distinct", "--workers", 0)
    assert "train 200" in run("import", "--task", "add", "--dataset", "data/add", "--out", "imported", "--quiet")
    (project / "data/add/train/extra.parquet").write_bytes(b"x")
    assert "train/extra.parquet: is not listed" in run("verify", "data/add", "--workers", 0, code=1)
    assert {p.name for p in (project / "data/add/train").iterdir()} >= {*MARKS}


def test_places_with_marks_are_empty(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    for name in ("model", "copy", "imported", "distinct", "run", "evaluation"):
        (project / name).mkdir()
        leave_marks(project / name)
    (project / "lines.txt").write_text("[[1, 2]]\t[[1], [2]]\n")
    run("export-model", "runs/add", "--out", "model")
    run("import-model", "model", "--out", "copy")
    run("import", "--task", "transpose", "--train", "lines.txt", "--out", "imported", "--quiet")
    run("dedupe", "data/add", "distinct", "--workers", 0)
    run("eval", "--run", "runs/add", "--out", "evaluation", "--limit", 5)
    for name in ("model", "copy", "imported", "distinct", "evaluation"):
        assert {p.name for p in (project / name).iterdir()} >= {*MARKS}, name
