"""Interrupted evaluations: previous results are kept, finished parts are reused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from mathpipe.datasets.dataset import open_dataset
from mathpipe.evaluate.decode.hypotheses import Decoding
from mathpipe.evaluate.run import evaluate_run


def files_of(folder: str | Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def test_interruption_keeps_previous_results(
    add_defects: Any,
    addition_data: Path,
    plan_answers: Any,
    planned_run: Any,
    tmp_path: Path,
) -> None:
    load = planned_run(addition_data, plan_answers(open_dataset(addition_data, "test", "P1000", "P1000"), add_defects))
    complete = evaluate_run(tmp_path / "run", verbose=True, load=load)
    before = files_of(complete.directory)
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(tmp_path / "run", verbose=True, progress=CountingProgress(stop_at=1), load=load)
    assert files_of(complete.directory) == before
    evaluate_run(tmp_path / "run", load=load)  # not verbose: the failures of the earlier evaluation are removed
    assert "failures.jsonl.zst" not in {p.name for p in Path(complete.directory).iterdir()}


class CountingProgress:
    """Counts the reported progress, and interrupts after ``stop_at`` problems, or after the last part with ``stop_at_end``."""

    def __init__(self, stop_at: int | None = None, *, stop_at_end: bool = False) -> None:
        self.total, self.fresh, self.earlier, self.closed = 0, 0, 0, 0
        self.stop_at, self.stop_at_end = stop_at, stop_at_end

    def start(self, total: int) -> None:
        self.total = total

    def advance(self, count: int, *, fresh: bool = True) -> None:
        if fresh:
            self.fresh += count
        else:
            self.earlier += count
        if self.stop_at is not None and self.fresh >= self.stop_at:
            raise KeyboardInterrupt

    def close(self) -> None:
        self.closed += 1
        if self.stop_at_end:
            raise KeyboardInterrupt


def test_killed_evaluation_resumes(
    add_defects: Any,
    addition_data: Path,
    plan_answers: Any,
    planned_run: Any,
    tmp_path: Path,
) -> None:
    load = planned_run(addition_data, plan_answers(open_dataset(addition_data, "test", "P1000", "P1000"), add_defects))
    settings = {"verbose": True, "chunk_rows": 50}  # row groups of 100 rows: parts of 50, 50, 50, 50, 30
    complete = evaluate_run(tmp_path / "complete", load=load, **settings)
    killed = CountingProgress(stop_at=151)  # in the fourth part
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(tmp_path / "run", progress=killed, load=load, **settings)
    assert (killed.total, killed.fresh, killed.earlier, killed.closed) == (230, 200, 0, 1)
    remaining = files_of(tmp_path / "run")
    assert remaining.pop("evaluation/test/evaluation.json") == b'{\n "files": []\n}\n'
    assert len(remaining) == 3 and all("/.partial/" in f"/{name}" for name in remaining)
    model = plan_answers(open_dataset(addition_data, "test", "P1000", "P1000"), add_defects)
    load = planned_run(addition_data, model)
    second = evaluate_run(tmp_path / "run", progress=(resumed := CountingProgress()), load=load, **settings)
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
) -> None:
    load = planned_run(addition_data, plan_answers(open_dataset(addition_data, "test", "P1000", "P1000")))
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(tmp_path / "run", progress=CountingProgress(stop_at_end=True), load=load, chunk_rows=50)
    assert len(files_of(tmp_path / "run")) == 5 + 1  # parts and evaluation.json
    for change in ("weights", "settings"):
        model = plan_answers(open_dataset(addition_data, "test", "P1000", "P1000"), add_defects)
        if change == "weights":
            with torch.no_grad():
                model.weight += 1
        load = planned_run(addition_data, model)
        decoding = Decoding(constrained=change == "settings")
        result = evaluate_run(tmp_path / "run", decoding=decoding, limit=200, load=load, chunk_rows=50)
        assert model.num_problems == 200
        assert result.metrics["n"] == 200
