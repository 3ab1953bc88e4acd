"""Interrupted evaluations: previous results are kept, finished parts are reused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from mathpipe.datasets.dataset import open_dataset
from mathpipe.evaluate import run as evaluation
from mathpipe.evaluate.decode.decoding import Decoding
from mathpipe.evaluate.partial_results import PartialResults
from mathpipe.evaluate.run import evaluate_run


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def files_of(folder: str | Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def test_interruption_keeps_previous_results(
    add_defects: Any,
    addition_data: Path,
    plan_answers: Any,
    planned_run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planned_run(addition_data, plan_answers(open_dataset(addition_data, "test"), add_defects))
    complete = evaluate_run(tmp_path / "run", verbose=True)
    before = files_of(complete.directory)
    with monkeypatch.context() as patched:
        patched.setattr(PartialResults, "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            evaluate_run(tmp_path / "run", verbose=True)
    assert files_of(complete.directory) == before
    evaluate_run(tmp_path / "run")  # not verbose: the failures of the earlier evaluation are removed
    assert "failures.jsonl.zst" not in {p.name for p in Path(complete.directory).iterdir()}


class CountingProgress:
    """Counts the reported progress."""

    def __init__(self) -> None:
        self.total, self.fresh, self.earlier, self.closed = 0, 0, 0, 0

    def start(self, total: int) -> None:
        self.total = total

    def advance(self, count: int, *, fresh: bool = True) -> None:
        if fresh:
            self.fresh += count
        else:
            self.earlier += count

    def close(self) -> None:
        self.closed += 1


def test_killed_evaluation_resumes(
    add_defects: Any,
    addition_data: Path,
    plan_answers: Any,
    planned_run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "_CHUNK_ROWS", 50)  # row groups of 100 rows: parts of 50, 50, 50, 50, 30
    planned_run(addition_data, plan_answers(open_dataset(addition_data, "test"), add_defects))
    complete = evaluate_run(tmp_path / "complete", verbose=True)
    write, parts = PartialResults.write, list[int]()

    def fail_at_the_fourth(self: PartialResults, k: int, *rest: Any) -> None:
        if len(parts) == 3:
            raise KeyboardInterrupt
        parts.append(k)
        write(self, k, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(PartialResults, "write", fail_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            evaluate_run(tmp_path / "run", verbose=True, progress=(killed := CountingProgress()))
    assert (killed.total, killed.fresh, killed.earlier, killed.closed) == (230, 200, 0, 1)
    remaining = files_of(tmp_path / "run")
    assert len(remaining) == 3 and all("/.partial/" in f"/{name}" for name in remaining)
    model = plan_answers(open_dataset(addition_data, "test"), add_defects)
    planned_run(addition_data, model)
    second = evaluate_run(tmp_path / "run", verbose=True, progress=(resumed := CountingProgress()))
    assert (resumed.total, resumed.fresh, resumed.earlier, resumed.closed) == (230, 80, 150, 1)
    assert model.num_problems == 80  # three parts are reused
    assert pq.read_table(second.predictions).equals(pq.read_table(complete.predictions))
    assert second.metrics | {"seconds": 0} == complete.metrics | {"seconds": 0}
    assert not (Path(second.directory) / ".partial").exists()


def test_parts_of_another_evaluation_are_not_reused(
    add_defects: Any,
    addition_data: Path,
    plan_answers: Any,
    planned_run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "_CHUNK_ROWS", 50)
    planned_run(addition_data, plan_answers(open_dataset(addition_data, "test")))
    with monkeypatch.context() as patched:
        patched.setattr(PartialResults, "join", interrupt)
        with pytest.raises(KeyboardInterrupt):
            evaluate_run(tmp_path / "run")
    for change in ("weights", "settings"):
        model = plan_answers(open_dataset(addition_data, "test"), add_defects)
        if change == "weights":
            with torch.no_grad():
                model.weight += 1
        planned_run(addition_data, model)
        decoding = Decoding(constrained=change == "settings")
        result = evaluate_run(tmp_path / "run", decoding=decoding, limit=200)
        assert model.num_problems == 200
        assert result.metrics["n"] == 200
