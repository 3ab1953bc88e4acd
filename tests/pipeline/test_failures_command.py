"""``mathpipe failures``: which failures it finds by names and numbers, and what it says where it finds none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from mathpipe.datasets.matrices import Matrices
from mathpipe.datasets.sequences import MatrixWriter
from mathpipe.datasets.shards import Rows
from mathpipe.datasets.storage import Storage
from mathpipe.evaluate.decoding import Decoded
from mathpipe.evaluate.describe import describe
from mathpipe.evaluate.predictions import PredictionsWriter, predictions_table
from mathpipe.evaluate.scoring import OUTCOMES, ended, score
from mathpipe.generate.law import MatrixLaw
from mathpipe.generate.tasks import matrix_task
from mathpipe.pipeline.cli import main

P1000 = MatrixWriter.named("P1000")
COUNT = 40


def evaluation(folder: Path, name: str, answer: Callable[[Rows], Matrices], **law: Any) -> Path:
    """A small evaluation with these answers, its failures dumped."""
    task = matrix_task(name)
    operands = task.sample(np.random.default_rng(0), COUNT, MatrixLaw(**{"min_dim": 2, "max_dim": 2} | law))
    rows = Rows(np.arange(COUNT), operands, task.solve(operands).solutions)
    decoded = Decoded(ended(*P1000.write(answer(rows))), -np.arange(1.0, COUNT + 1))
    metadata = {"run": str(folder.parents[1]), "task": name, "split": "test", "rows": COUNT, "outcomes": list(OUTCOMES)}
    storage = Storage(str(folder))
    with storage.write("predictions.parquet") as file:
        writer = PredictionsWriter(file, metadata)
        writer.append(predictions_table(score(task, P1000, rows, decoded), "test", P1000, P1000, task))
        writer.close()
    describe(storage, verbose=True)
    return folder


def twice(rows: Rows) -> Matrices:
    return rows.solutions.map(lambda x: 2 * x)


def some_transposed(rows: Rows) -> Matrices:
    """The operand itself in the odd rows, twice the answer in rows 4, 8, ..., else the answer."""
    values = rows.solutions.dense().copy()
    values[1::2] = rows.operands.dense()[1::2]
    values[4::4] *= 2
    return Matrices.from_dense(values)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    evaluation(place / "mixed" / "evaluation" / "test", "eigenvalues", twice, spectrum=("uniform", "laplace"))
    evaluation(place / "both" / "evaluation" / "test", "cotraining", twice, letters="TA")
    evaluation(place / "transpose" / "evaluation" / "test", "transpose", some_transposed)
    return place


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def failures(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Ask = Callable[..., Answer]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def run(dump: Path, *more: str) -> Answer:
        with pytest.raises(SystemExit) as stop:
            main(["failures", str(dump), *more])
        told = capsys.readouterr()
        return Answer(int(stop.value.code or 0), told.out, told.err)

    return run


@pytest.mark.parametrize("name", ["predictions.parquet", "failures.jsonl.zst"])
@pytest.mark.parametrize(
    ("run", "condition", "field", "value"),
    [
        ("mixed", "spectrum=laplace", "spectrum", "laplace"),
        ("mixed", "spectrum != UNIFORM", "spectrum", "laplace"),
        ("both", "task=transpose", "task", "transpose"),
        ("both", "task=T", "task", "transpose"),
        ("transpose", "confused_with=A transposed", "confused_with", "A transposed"),
        ("transpose", "confused_with!=none", "confused_with", "A transposed"),
        ("transpose", "confused_with=none", "confused_with", None),
        ("transpose", "outcome=wrong_value", "outcome", "wrong_value"),
    ],
)
def test_failures_are_found_by_name(
    runs: Path, ask: Ask, name: str, run: str, condition: str, field: str, value: str | None
) -> None:
    dump = runs / run / "evaluation" / "test" / name
    everything = ask(dump, "--json", "-k", "100").failures
    found = ask(dump, "--where", condition, "--json", "-k", "100").failures
    assert found == [failure for failure in everything if failure[field] == value]
    assert found and (len(found) < len(everything) or field == "outcome")


def test_names_stand_in_the_headline(runs: Path, ask: Ask) -> None:
    assert ask(runs / "both", "-k", "1").out.splitlines()[0].startswith("row 0, ")
    assert ", transpose, wrong_value" in ask(runs / "both", "--where", "task=T", "-k", "1").out
    assert "right for another problem: A transposed" in ask(runs / "transpose", "--row", "1").out


def test_where_none_is_found_the_names_there_are_are_told(runs: Path, ask: Ask) -> None:
    told = ask(runs / "both", "--where", "task=inverse")
    assert (told.code, told.out) == (0, "")
    assert "no failure answers to that; task: " in told.err and "transpose (" in told.err and "add (" in told.err
    told = ask(runs / "transpose", "--where", "spectrum=laplace", "--where", "confused_with=that")
    assert "spectrum: none (" in told.err and "; confused_with: A transposed (" in told.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["--where", "spectrum>3"], "spectrum is a text. Expected: spectrum=TEXT"),
        (["--where", "norm=abc"], "cannot be read. Expected: a number; texts are compared of split, outcome, task"),
        (["--where", "norm"], "cannot be read. Expected: NAME>NUMBER"),
        (["--where", "nrom>3"], "have no 'nrom'. Expected: one of row, outcome, task, spectrum, confused_with"),
        (["--where", "operand=3"], "operand is neither number nor text"),
        (["--sort", "errors"], "errors is neither number nor text"),
    ],
)
def test_mistaken_conditions_are_refused(runs: Path, ask: Ask, line: list[str], words: str) -> None:
    told = ask(runs / "transpose", *line)
    assert told.code == 2 and words in told.err and not told.out


def test_numbers_may_be_null_too(runs: Path, ask: Ask) -> None:
    found = ask(runs / "transpose", "--where", "correct_rank!=none", "--json", "-k", "100").failures
    assert found == []
    assert len(ask(runs / "transpose", "--where", "correct_rank=none", "--json", "-k", "100").failures) > 10


def test_sorting_by_a_name(runs: Path, ask: Ask) -> None:
    found = ask(runs / "both", "--sort", "task", "--json", "-k", "100").failures
    assert [f["task"] for f in found] == sorted(f["task"] for f in found)
