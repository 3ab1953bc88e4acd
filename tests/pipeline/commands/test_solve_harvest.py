"""``solve`` asks a trained model; ``harvest`` turns its right answers into a dataset that ``train`` reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import mathpipe
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.examples import concatenate
from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.datasets.problem_types.type_registry import problem_type_of
from mathpipe.evaluate.decode.hypotheses import Decoding
from mathpipe.evaluate.predictions import read_predictions
from mathpipe.evaluate.run import evaluate_run
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.task_registry import get_task
from mathpipe.pipeline.cli import main
from mathpipe.pipeline.harvesting import harvest

TINY = (
    "-S model.encoder_width=16 -S model.decoder_width=16 -S model.encoder_layers=1 -S model.decoder_layers=1 "
    "-S model.encoder_heads=2 -S model.decoder_heads=2 -S checkpoint_every=20 -S warmup=1 -S valid_examples=0"
)


def call(line: str, *arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main([*line.split(), *arguments])
    return int(exit_info.value.code or 0)


def train(data: Path, run: Path, steps: int, batch: int = 16) -> None:
    assert call(f"train --data {data} --run {run} -S steps={steps} -S batch={batch} {TINY} --quiet") == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of three-bit exclusive or: of eight hypotheses one is often right, whatever it has learnt."""
    folder = tmp_path_factory.mktemp("xor")
    spec = get_task("xor").make_spec({"bits": 3}, 0)
    make_dataset(spec, Layout({"train": 200, "valid": 3, "test": 3}, 100), str(folder / "data"), workers=0)
    train(folder / "data", folder / "runs" / "tiny", 10)
    return folder / "runs" / "tiny"


@pytest.fixture(scope="module")
def evaluated(run: Path) -> Path:
    for split in ("train", "test"):
        evaluate_run(run, split=split, decoding=Decoding(beam=8), device="cpu")
    return run


def test_hypotheses_are_verified_in_order(run: Path) -> None:
    solved = mathpipe.solve(run, "011101", beam=8)
    assert solved.lines == ("011101",) and 1 <= len(solved.hypotheses) <= 8
    assert [h.rank for h in solved.hypotheses] == list(range(len(solved.hypotheses)))
    scores = [h.log_probability / (len(h.tokens.split()) + 1) for h in solved.hypotheses]  # the length penalty
    assert scores == pytest.approx(sorted(scores, reverse=True))
    for hypothesis in solved.hypotheses:
        right = "".join(hypothesis.lines) == "110"  # 011 xor 101
        assert hypothesis.verification.correct == right, hypothesis
    greedy = mathpipe.solve(run, "011101", beam=1).hypotheses
    assert len(greedy) == 1


def test_solve_prints_outcomes_and_lists_runs(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(f"solve --run {run} 011101 --beam 4") == 0
    printed = capsys.readouterr().out
    assert "problem 011101" in printed and "log p" in printed and printed.count("exact, proven") <= 1
    (tmp_path / "problems.txt").write_text("011101\n\n000111\n")
    assert call(f"solve --run {run} {tmp_path / 'problems.txt'} --json") == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["problem"] for each in objects] == ["011101", "000111"] and objects[0]["hypotheses"][0]["outcome"]
    monkeypatch.chdir(run.parent.parent)
    assert call("solve") == 0
    assert capsys.readouterr().out.startswith("runs/tiny  xor, 10 steps")
    monkeypatch.chdir(tmp_path)
    assert call("solve") == 2 and "no run below runs/" in capsys.readouterr().err
    assert call(f"solve --run {run}") == 2 and "no problem to solve" in capsys.readouterr().err
    assert call(f"solve --run {run} 01x") == 2 and "no problem of xor" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "options", "problem", "outcomes"),
    [
        ("inverse", {"dim": 2}, "[[2, 1], [1/2, 4]]", {"malformed", "unterminated", "wrong_shape", "wrong_value"}),
        ("gcd", {}, "[48, 36]", {"malformed", "unterminated", "wrong_value", "exact"}),
        ("integration-bwd", {"max_operators": 4}, "x*sin(x)", {"malformed", "unterminated", "wrong_value"}),
    ],
)
def test_every_problem_type_can_be_asked(
    task: str, options: dict[str, int], problem: str, outcomes: set[str], tmp_path: Path
) -> None:
    spec = replace_chunk(get_task(task).make_spec(options, 0))
    make_dataset(spec, Layout({"train": 20, "valid": 1, "test": 1}, 100), str(tmp_path / "data"), workers=0)
    train(tmp_path / "data", tmp_path / "run", 1)
    solved = mathpipe.solve(tmp_path / "run", problem, beam=3, max_length=20)
    assert solved.lines and {h.verification.outcome for h in solved.hypotheses} <= outcomes
    with pytest.raises(UserError, match=f"no problem of {task}"):
        mathpipe.solve(tmp_path / "run", "][", beam=3)


def replace_chunk(spec: mathpipe.DatasetSpec) -> mathpipe.DatasetSpec:
    return spec.model_copy(update={"chunk_rows": 20})


def test_harvest_holds_the_right_answers_once(evaluated: Path, tmp_path: Path) -> None:
    result = harvest(evaluated, str(tmp_path / "harvest"))
    for split in ("train", "test"):
        evaluation = evaluated / "evaluation" / f"{split}.beam-8"
        table = read_predictions(evaluation / "predictions.parquet", ["row", "rank", "prediction", "passed"])
        right = [each for each in table.to_pylist() if each["passed"]]
        problems = open_dataset(evaluated.parent.parent / "data", split)
        shown = problem_type_of(problems.spec).lines
        examples = concatenate(list(problems.chunks()))
        expected = {
            (shown(problems.spec, examples.problems[each["row"]])[0], each["prediction"].replace(" ", ""))
            for each in right
        }
        harvested = open_dataset(tmp_path / "harvest", split)
        pairs = [
            (shown(harvested.spec, p)[0], shown(harvested.spec, s)[0])
            for chunk in harvested.chunks()
            for p, s in zip(chunk.problems.to_list(), chunk.solutions.to_list(), strict=True)
        ]
        assert sorted(pairs) == sorted(expected), split
        with pa.ipc.open_file(str(tmp_path / "harvest" / "_origin" / f"{split}.arrow")) as reader:
            origin = reader.read_all().to_pylist()
        ranks = {(each["row"], each["rank"]) for each in right}
        assert len(origin) == len(pairs) and {(o["source_row"], o["rank"]) for o in origin} <= ranks
        assert [o["row"] for o in origin] == list(range(len(pairs)))
    assert result.rows["train"] > 0 and result.rows["valid"] == 0
    assert result.num_right == sum(result.rows.values()) + result.num_repeated and result.num_repeated > 0
    origins = read_manifest(str(tmp_path / "harvest")).spec["problems"]["origins"]
    assert {(o["split"], o["step"], o["run"]) for o in origins} == {(s, 10, str(evaluated)) for s in ("train", "test")}
    assert verify_dataset(str(tmp_path / "harvest"), workers=0).damage == ()


def test_train_reads_a_harvest(evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"harvest {evaluated} --out {tmp_path / 'harvest'} --json") == 0
    assert json.loads(capsys.readouterr().out)["rows"]["train"] > 0
    train(tmp_path / "harvest", tmp_path / "second", 3, batch=4)
    assert mathpipe.solve(tmp_path / "second", "011101", beam=2).hypotheses
    single = evaluated / "evaluation" / "test.beam-8"
    assert call(f"harvest {single} --out {tmp_path / 'test-only'}") == 0
    assert "no training examples" in capsys.readouterr().err


def test_harvest_errors(evaluated: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no evaluation"):
        harvest(tmp_path, str(tmp_path / "out"))
    harvest(evaluated, str(tmp_path / "out"))
    (tmp_path / "out" / "table.tex").write_text("own text")
    with pytest.raises(UserError, match="holds something else"):
        harvest(evaluated, str(tmp_path / "out"))
    assert (tmp_path / "out" / "table.tex").read_text() == "own text"


def test_harvest_of_the_same_predictions_is_repeated_and_of_others_refused(evaluated: Path, tmp_path: Path) -> None:
    """A process may be killed after its last file, before it says so: the same command then succeeds."""
    out = tmp_path / "out"
    first = harvest(evaluated, str(out))
    digest = read_manifest(str(out)).digest
    assert harvest(evaluated, str(out)) == first and read_manifest(str(out)).digest == digest
    with pytest.raises(UserError, match="holds something else"):
        harvest(evaluated / "evaluation" / "test.beam-8", str(out))
    assert read_manifest(str(out)).digest == digest


def test_harvest_of_matrices_and_expressions(tmp_path: Path) -> None:
    """With the references as predictions, a harvest holds the evaluated problems, exact in every value."""
    from mathpipe.evaluate.adapters.adapter_registry import adapter_of_spec
    from mathpipe.evaluate.decode.hypotheses import Hypotheses
    from mathpipe.evaluate.predictions import PredictionsWriter
    from mathpipe.evaluate.score.scoring import append_end

    for task, options in (("transpose", {"dim": 2}), ("integration-bwd", {"max_operators": 4}), ("gcd", {})):
        data, folder = tmp_path / task / "data", tmp_path / task / "evaluation" / "train"
        spec = replace_chunk(get_task(task).make_spec(options, 0))
        make_dataset(spec, Layout({"train": 20, "valid": 1, "test": 1}, 100), str(data), workers=0)
        dataset = open_dataset(data, "train")
        (examples,) = dataset.chunks()
        tokens = append_end(*dataset.target.encode(examples.solutions))
        adapter = adapter_of_spec(dataset.spec)
        scored = adapter.score(dataset.target, examples, Hypotheses(tokens, np.zeros(len(tokens))))
        names = ("input_encoding", "output_encoding")
        metadata = {"data": str(data), "dataset_digest": dataset.digest, "task": task, "split": "train", "precision": 2}
        metadata |= dict.fromkeys(("run", "checkpoint", "step", "decoding"), "")
        metadata |= dict.fromkeys(names)
        folder.mkdir(parents=True)
        with (folder / "predictions.parquet").open("wb") as file:
            writer = PredictionsWriter(file, metadata)
            writer.append(adapter.table(scored, "train", dataset.source, dataset.target))
            writer.close()
        result = harvest(tmp_path / task, str(tmp_path / task / "harvest"))
        assert result.rows == {"train": int(scored.passed.sum()), "valid": 0} and result.rows["train"] >= 15
        (harvested,) = open_dataset(tmp_path / task / "harvest", "train").chunks()
        passed = examples.take(np.flatnonzero(scored.passed))
        assert np.array_equal(harvested.problems.values, passed.problems.values)
        assert verify_dataset(str(tmp_path / task / "harvest"), workers=0).damage == ()
    assert replace(scored.decoded).rank.max() == 0
