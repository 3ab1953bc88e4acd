"""The directory of an evaluation: nothing of the user's is deleted or replaced, and one process at a time writes there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.storage import Storage
from mathpipe.evaluate import build_report as build_report_module
from mathpipe.evaluate.build_report import build_report
from mathpipe.evaluate.dataset_decoding import decode_examples
from mathpipe.evaluate.decode.hypotheses import Decoding
from mathpipe.evaluate.evaluation_directory import PARTIAL, RECORD, lock_evaluation
from mathpipe.evaluate.published_predictions import import_published
from mathpipe.evaluate.run import EvaluationResult, evaluate_run

PRED = """Equation 0 (0/1)
src=[[1. 2. 3. 4.]]
tgt=['V1', 'V2', '+', '400', 'E-2', '+', '600', 'E-2']
0 -1.0 ['V1', 'V2', '+', '400', 'E-2', '-', '600', 'E-2']
"""
USER_FILES = {"analyses/table.tex": b"\\begin{tabular}", "metrics.json": b'{"f1": 0.9}', "notes.md": b"# Notes\n"}
Evaluate = Callable[..., EvaluationResult]


def files_of(folder: str | Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    """A directory of the user's own."""
    folder = tmp_path / "paper"
    for name, content in USER_FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def evaluate(addition_data: Path, plan_answers: Any, planned_run: Any, add_defects: Any, tmp_path: Path) -> Evaluate:
    load = planned_run(addition_data, plan_answers(open_dataset(addition_data, "test", "P1000", "P1000"), add_defects))

    def run(**settings: Any) -> EvaluationResult:
        return evaluate_run(tmp_path / "run", **({"limit": 20, "load": load} | settings))

    return run


def test_directory_of_the_user_is_refused(evaluate: Evaluate, paper: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"paper is not an evaluation.*Got: other files: analyses.*--out"):
        evaluate(out_dir=paper)
    (tmp_path / "x.pred").write_text(PRED)
    with pytest.raises(UserError, match="paper is not an evaluation"):
        import_published(tmp_path / "x.pred", "add", str(paper))
    assert files_of(paper) == USER_FILES


@pytest.mark.parametrize("name", ["report.html", "analyses/analyses.json", "predictions.parquet", "a.txt"])
def test_one_file_of_the_user_suffices(evaluate: Evaluate, tmp_path: Path, name: str) -> None:
    file = tmp_path / "paper" / name
    file.parent.mkdir(parents=True)
    file.write_text("own text")
    with pytest.raises(UserError, match="is not an evaluation"):
        evaluate(out_dir=tmp_path / "paper")
    assert files_of(tmp_path / "paper") == {name: b"own text"}


def test_files_of_the_user_beside_an_evaluation_stay(evaluate: Evaluate, tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluate(out_dir=out, verbose=True)
    (out / "analyses" / "table.tex").write_text("own text")
    (out / "notes.md").write_text("own text")
    (out / PARTIAL).mkdir(exist_ok=True)
    (out / PARTIAL / "thesis.tex").write_text("own text")
    evaluate(out_dir=out, limit=10, decoding=Decoding(beam=2))
    build_report(Storage(str(out)))
    files = files_of(out)
    assert [files[name] for name in ("analyses/table.tex", "notes.md", f"{PARTIAL}/thesis.tex")] == [b"own text"] * 3
    assert "failures.jsonl.zst" not in files  # ours, of the earlier evaluation
    recorded = {*json.loads(files[RECORD])["files"], RECORD}
    assert set(files) - recorded == {"analyses/table.tex", "notes.md", f"{PARTIAL}/thesis.tex"}


def test_file_that_appears_meanwhile_is_not_replaced(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def page(*arguments: Any) -> str:
        (out / "report.html").write_text("own text")
        return "<html>"

    with monkeypatch.context() as patched:
        patched.setattr(build_report_module, "page", page)
        with pytest.raises(UserError, match=r"report.html would be replaced.*did not write"):
            evaluate(out_dir=out)
    assert (out / "report.html").read_text() == "own text" and not (out / "metrics.json").exists()
    (out / "report.html").rename(tmp_path / "saved.html")
    assert evaluate(out_dir=out).metrics["n"] == 20  # resumes


def test_system_files_and_other_evaluations_are_no_obstacle(evaluate: Evaluate, tmp_path: Path) -> None:
    out = tmp_path / "run" / "evaluation"
    evaluate()  # run/evaluation/test.first-20
    (out / ".DS_Store").write_bytes(b"\0")
    (out / "comparison.html").write_text("<html>")
    assert evaluate(out_dir=out).metrics["n"] == 20
    assert (out / "test.first-20" / "metrics.json").exists() and (out / "comparison.html").exists()


def test_evaluation_without_its_record_is_still_one(evaluate: Evaluate, tmp_path: Path) -> None:
    """DVC restores the outputs of a stage alone."""
    out = tmp_path / "out"
    evaluate(out_dir=out, verbose=True)
    (out / RECORD).unlink()
    before = files_of(out)
    build_report(Storage(str(out)))
    after = files_of(out)
    assert set(json.loads(after.pop(RECORD))["files"]) == set(before)
    assert set(after) == set(before)


@pytest.mark.parametrize("record", ['{"files": ["../../thesis.tex"]}', '{"files": 3}', "[]", "\0"])
def test_damaged_record_deletes_nothing(evaluate: Evaluate, tmp_path: Path, record: str) -> None:
    out = tmp_path / "a" / "out"
    evaluate(out_dir=out)
    (tmp_path / "thesis.tex").write_text("own text")
    (out / RECORD).write_text(record)
    before = files_of(tmp_path)
    with pytest.raises(UserError, match="is not the record of an evaluation"):
        evaluate(out_dir=out, limit=10)
    assert {name: files_of(tmp_path)[name] for name in before} == before


@pytest.mark.parametrize("settings", [{}, {"limit": 10, "decoding": Decoding(beam=2)}])
def test_second_evaluation_at_once_is_refused(evaluate: Evaluate, tmp_path: Path, settings: dict[str, Any]) -> None:
    out, refused = tmp_path / "out", list[str]()

    def decode_while_another_starts(*arguments: Any) -> Any:
        with pytest.raises(UserError) as error:
            evaluate(out_dir=out, **settings)
        refused.append(str(error.value))
        with pytest.raises(UserError, match="in use"):
            build_report(Storage(str(out)))
        return decode_examples(*arguments)

    evaluate(out_dir=out, limit=15)
    finished = evaluate(out_dir=out, decode=decode_while_another_starts)
    assert all("in use by another process" in text for text in refused) and refused
    assert finished.metrics["n"] == 20 and Path(finished.report).is_file() and Path(finished.metrics_file).is_file()


def test_failed_report_leaves_the_finished_evaluation(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    evaluate(out_dir=out, verbose=True)
    before = files_of(out)

    def fail(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(build_report_module, "page", fail)
        with pytest.raises(KeyboardInterrupt):
            evaluate(out_dir=out, limit=10)
        with pytest.raises(KeyboardInterrupt):
            build_report(Storage(str(out)))
    after = files_of(out)
    assert {name: after[name] for name in before} == before


def test_metrics_are_published_last(evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, moved = tmp_path / "out", list[str]()
    move = Storage.move

    def record_move(self: Storage, name: str, target: str) -> None:
        moved.append(target)
        move(self, name, target)

    monkeypatch.setattr(Storage, "move", record_move)
    evaluate(out_dir=out)
    assert moved[-1] == "metrics.json" and "predictions.parquet" in moved


def test_killed_publication_is_repeated(evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files were moved before the kill, the same command ends with all results."""
    out, move = tmp_path / "out", Storage.move
    expected = set(files_of(evaluate(out_dir=tmp_path / "whole").directory))
    for count in (0, 1, 4):
        left = [count]

        def interrupt(self: Storage, name: str, target: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            move(self, name, target)

        with monkeypatch.context() as patched:
            patched.setattr(Storage, "move", interrupt)
            with pytest.raises(KeyboardInterrupt):
                evaluate(out_dir=out)
        assert not (out / "metrics.json").exists()
    assert set(files_of(evaluate(out_dir=out).directory)) == expected


def test_object_store(evaluate: Evaluate) -> None:
    result = evaluate(out_dir="memory://evaluations/test")
    storage = Storage("memory://evaluations/test")
    assert result.metrics["n"] == 20 and "metrics.json" in storage.list() and not storage.list(PARTIAL)


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "out"))
    with lock_evaluation(storage):
        pass
    stale = tmp_path / "out" / PARTIAL / "results-0123abcd" / "analyses"
    stale.mkdir(parents=True)
    (stale / "a.csv").write_text("1")
    with lock_evaluation(storage):
        assert not stale.parent.exists()
