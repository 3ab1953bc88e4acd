"""``mathpipe score`` reads tables as well as JSON lines, and says why it cannot read a file or a line."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mathpipe.pipeline.cli import main

ROWS = {"problem": ["x*cos(x)", "1/x", "2*x"], "answer": ["x*sin(x)+cos(x)", "x", None]}
OUTCOMES = ["equivalent", "wrong_value", "malformed"]


def call(*arguments: str) -> int:
    """The exit code of ``mathpipe ARGUMENTS``."""
    with pytest.raises(SystemExit) as exit_request:
        main(list(arguments))
    return int(exit_request.value.code or 0)


def write(path: Path) -> Path:
    """The rows as a file of the format that its name has."""
    lines = ["problem,answer", *(f"{p},{a or ''}" for p, a in zip(*ROWS.values(), strict=True))]
    if path.suffix == ".parquet":
        pq.write_table(pa.table(ROWS), path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
    else:
        path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["answers.csv", "answers.csv.gz", "answers.parquet"])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_score_reads_tables(name: str, workers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / name)
    assert call("score", "--task", "integration-bwd", str(path), "--workers", workers) == 0
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [result["outcome"] for result in results] == OUTCOMES


def test_a_table_without_the_column_is_refused_with_its_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write(tmp_path / "answers.csv"), tmp_path / "results.jsonl"
    out.write_text("earlier results\n")
    arguments = ("score", "--task", "integration-bwd", str(path), "--columns", "answer=output", "--out", str(out))
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert "has no column 'output'" in error and "Got: problem, answer" in error and "--columns" in error
    assert out.read_text() == "earlier results\n"


def test_an_object_without_an_answer_is_an_invalid_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A field that is missing is a fault of the input; a null is an answer that was not given."""
    path = tmp_path / "answers.jsonl"
    path.write_text('{"problem": "x", "output": "x^2/2"}\n{"problem": "x", "answer": null}\n')
    assert call("score", "--task", "integration-bwd", str(path)) == 0
    printed = capsys.readouterr()
    assert [json.loads(line)["outcome"] for line in printed.out.splitlines()] == ["invalid_line", "malformed"]
    assert "first invalid_line, line 1: no column 'answer', but 'problem', 'output'" in printed.err
    assert "--columns problem=NAME,answer=NAME" in printed.err
