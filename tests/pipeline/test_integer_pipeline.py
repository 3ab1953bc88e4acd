"""Integers through the whole pipeline: generate, verify, train, evaluate by class, failures, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from mathpipe.datasets.dataset import open_dataset
from mathpipe.evaluate.decode.hypotheses import Decoding
from mathpipe.evaluate.failures.failure_dump import read_failures
from mathpipe.evaluate.quick_accuracy import quick_accuracy
from mathpipe.evaluate.run import evaluate_run
from mathpipe.pipeline.cli import main
from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.trainer import train


def call(line: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main(line.split())
    return int(exit_info.value.code or 0)


@pytest.mark.parametrize(
    ("task", "encodings"),
    [
        ("gcd --max-int 60", ("base10", "base7+brackets")),
        ("shortest-path", (None, None)),
        ("gfp-add", ("residues4", None)),
    ],
)
def test_pipeline(task: str, encodings: tuple[str | None, str | None], tmp_path: Path) -> None:
    torch.set_num_threads(1)
    data = tmp_path / "data"
    assert call(f"generate --task {task} --n 200 --valid 40 --test 40 --out {data} --workers 0 --quiet") == 0
    assert call(f"verify {data} --workers 0") == 0
    source, test = (open_dataset(data, split, *encodings) for split in ("train", "test"))
    model = ModelConfig(encoder_width=16, decoder_width=16, encoder_heads=2, decoder_heads=2, decoder_layers=1)
    config = TrainConfig(
        model=model, batch=16, steps=3, warmup=1, eval_every=3, valid_examples=16, threads=1,
        input_encoding=encodings[0], output_encoding=encodings[1],
    )  # fmt: skip
    result = train(
        config, source, test, tmp_path / "run", dvclive=False,
        evaluate=lambda model: quick_accuracy(model, test, limit=16),
    )  # fmt: skip
    assert 0 <= result.metrics["element_accuracy"] <= 1
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["input_encoding"], record["output_encoding"]) == (source.source.name, source.target.name)
    evaluation = evaluate_run(tmp_path / "run", limit=20, verbose=True, decoding=Decoding(beam=2))
    constrained = evaluate_run(tmp_path / "run", limit=20, decoding=Decoding(beam=2, constrained=True))
    outcomes = set(pq.read_table(constrained.predictions)["outcome"].to_pylist())
    assert outcomes <= {"exact", "equivalent", "wrong_value"}
    table = pq.read_table(evaluation.predictions)
    best = table.filter(table["rank"].to_numpy() == 0)
    wrong = [row for row, passed in zip(*(best[c].to_pylist() for c in ("row", "passed")), strict=True) if not passed]
    assert [failure.row for failure in read_failures(str(evaluation.failures))] == wrong
    assert Path(evaluation.report).stat().st_size > 10_000
    by_class = evaluation.metrics.get("by_class")
    if task.startswith("gcd"):
        assert sum(entry["problems"] for entry in by_class.values()) == 20
        assert (tmp_path / "run" / "evaluation" / "test.beam-2.first-20" / "analyses" / "by_class.csv").exists()
    else:
        assert by_class is None


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    assert call(f"generate --task sort --max-length 5 --n 100 --out {data} --workers 0 --quiet") == 0
    capsys.readouterr()
    assert call(f"show {data} -k 1 --json --tokens") == 0
    example: dict[str, Any] = json.loads(capsys.readouterr().out)["problems"][0]
    assert example["solution"] == sorted(example["problem"])
    assert example["problem_tokens"] == " ".join(map(str, example["problem"]))
    assert call(f"export {data} --split test --out {tmp_path}/x.txt --output-encoding base2") == 0
    for line in (tmp_path / "x.txt").read_text().splitlines():
        problem, solution = line.split("\t")
        assert solution.split()[0] == "+" and len(solution.split()) > len(problem.split())
    assert call(f"show {data} --encoding base20000") == 2
    assert "base is out of range" in capsys.readouterr().err
    assert call(f"train --data {data} --run {tmp_path}/r -S input_encoding=P10") == 2
    assert "unknown integer encoding 'P10'" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
