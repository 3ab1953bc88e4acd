"""Own data from import to report: every problem type, with a task and without."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.pipeline.cli import main

TINY = (
    "-S steps=3 -S warmup=1 -S batch=8 -S valid_examples=8 -S eval_every=3 -S model.decoder_layers=1 "
    "-S model.encoder_width=32 -S model.decoder_width=32"
)
ROWS = 200
RNG = np.random.default_rng(0)


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main([argument for part in arguments for argument in part.split()])
    return int(stop.value.code or 0)


def inverses() -> list[tuple[Any, Any]]:
    problems = [(RNG.integers(-9, 10, (2, 2)) + 10 * np.eye(2, dtype=int)).tolist() for _ in range(ROWS)]
    return [(problem, np.linalg.inv(problem).tolist()) for problem in problems if abs(np.linalg.det(problem)) > 1]


def integrals() -> list[tuple[Any, Any]]:
    return [(f"{k}*x^{n}", f"{k}*x^{n + 1}/{n + 1}") for k in range(1, 41) for n in range(1, 6)]


def bit_pairs() -> list[tuple[Any, Any]]:
    bits = RNG.integers(0, 2, (ROWS, 8))
    return [("".join(map(str, b)), "".join(map(str, b[:4] ^ b[4:]))) for b in bits]


def gcds() -> list[tuple[Any, Any]]:
    pairs = RNG.integers(1, 500, (ROWS, 2))
    return [(pair.tolist(), int(np.gcd(*pair))) for pair in pairs]


KINDS: dict[str, tuple[str, str, str, list[tuple[Any, Any]]]] = {
    "matrices": ("inverse", "lists", "jsonl", inverses()),
    "expressions": ("integration-bwd", "infix", "csv", integrals()),
    "sequences": ("xor", "tokens", "text", bit_pairs()),
    "integers": ("gcd", "lists", "parquet", gcds()),
}


def write_file(folder: Path, file_format: str, pairs: list[tuple[Any, Any]]) -> Path:
    """Problems and solutions in a file of this format."""
    path = folder / f"own.{file_format.replace('text', 'txt')}"
    rows = [{"problem": problem, "solution": solution} for problem, solution in pairs]
    if file_format == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif file_format == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["problem", "solution"])
            writer.writeheader()
            writer.writerows(rows)
    elif file_format == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text("".join(f"{problem}\t{solution}\n" for problem, solution in pairs), encoding="utf-8")
    return path


@pytest.mark.timeout(300)
@pytest.mark.parametrize("with_task", [True, False], ids=["task", "none"])
@pytest.mark.parametrize("problem_type", KINDS)
def test_import_train_eval_report(
    problem_type: str, with_task: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, notation, file_format, pairs = KINDS[problem_type]
    file, data, run = write_file(tmp_path, file_format, pairs), tmp_path / "data", tmp_path / "run"
    task = name if with_task else f"none --type {problem_type}"
    assert call(f"import --task {task} --train {file} --notation {notation} --out {data} --json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bad"] == 0 and result["valid_cut"] and result["checked"] == with_task * len(pairs)
    sizes = {split: rows["rows"] for split, rows in result["splits"].items()}
    assert sizes["train"] + sizes["valid"] == len(pairs) and 0 < sizes["valid"] < len(pairs) / 5
    assert verify_dataset(str(data), workers=0).damage == ()
    assert call(f"show {data} --split train -k 1") == 0
    assert call(f"train --data {data} --run {run} --preset none {TINY}") == 0
    assert f"valid: {sizes['valid']} of the imported training examples, set apart by" in capsys.readouterr().err
    assert call(f"eval --run {run} --split valid --verbose --json") == 0
    metrics = json.loads(capsys.readouterr().out)
    equality = {"exact", "wrong_value", "malformed", "unterminated"}
    assert with_task or problem_type == "matrices" or metrics["outcomes"].keys() == equality
    assert call(f"report {run}") == 0
    assert call(f"failures {run} -k 1") == 0
