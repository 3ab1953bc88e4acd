"""``mathpipe failures``: filters by names and numbers, and the messages when nothing matches."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.adapters.matrix_adapter import MatrixAdapter
from mathpipe.evaluate.build_report import build_report
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.predictions import PredictionsWriter
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.matrix_task import MATRIX_OUTCOMES
from mathpipe.generate.tasks.task_registry import matrix_task
from mathpipe.pipeline.cli import main

P1000 = MatrixTokenizer.named("P1000")
COUNT = 40


def evaluation(folder: Path, name: str, answer: Callable[[MatrixExamples], Matrices], **spec: Any) -> Path:
    """Write a small evaluation with these answers, and its failure dump."""
    task = matrix_task(name)
    problems = task.sample(np.random.default_rng(0), COUNT, MatrixSpec(**{"min_dim": 2, "max_dim": 2} | spec))
    rows = MatrixExamples(np.arange(COUNT), problems, task.solve(problems).solutions)
    decoded = Hypotheses(append_end(*P1000.encode(answer(rows))), -np.arange(1.0, COUNT + 1))
    metadata = {
        "run": str(folder.parents[1]),
        "task": name,
        "split": "test",
        "rows": COUNT,
        "outcomes": list(MATRIX_OUTCOMES),
    }
    storage = Storage(str(folder))
    with storage.write("predictions.parquet") as file:
        writer = PredictionsWriter(file, metadata)
        writer.append(MatrixAdapter(task).table(MatrixAdapter(task).score(P1000, rows, decoded), "test", P1000, P1000))
        writer.close()
    build_report(storage, verbose=True)
    return folder


def doubled(rows: MatrixExamples) -> Matrices:
    return rows.solutions.map(lambda x: 2 * x)


def some_transposed(rows: MatrixExamples) -> Matrices:
    """The problem itself in odd rows, twice the solution in rows 4, 8, ..., else the solution."""
    values = rows.solutions.dense().copy()
    values[1::2] = rows.problems.dense()[1::2]
    values[4::4] *= 2
    return Matrices.from_dense(values)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    evaluation(root / "mixed" / "evaluation" / "test", "eigenvalues", doubled, spectrum=("uniform", "laplace"))
    evaluation(root / "both" / "evaluation" / "test", "cotraining", doubled, task_tokens="TA")
    evaluation(root / "transpose" / "evaluation" / "test", "transpose", some_transposed)
    return root


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def failures(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Ask = Callable[..., Result]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def run(dump: Path, *more: str) -> Result:
        with pytest.raises(SystemExit) as exit_info:
            main(["failures", str(dump), *more])
        captured = capsys.readouterr()
        return Result(int(exit_info.value.code or 0), captured.out, captured.err)

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
def test_where_filters_by_name(
    runs: Path, ask: Ask, name: str, run: str, condition: str, field: str, value: str | None
) -> None:
    dump = runs / run / "evaluation" / "test" / name
    everything = ask(dump, "--json", "-k", "100").failures
    matching = ask(dump, "--where", condition, "--json", "-k", "100").failures
    assert matching == [failure for failure in everything if failure[field] == value]
    assert matching and (len(matching) < len(everything) or field == "outcome")


def test_headline_names_task_and_wrong_problem(runs: Path, ask: Ask) -> None:
    assert ask(runs / "both", "-k", "1").out.splitlines()[0].startswith("row 0, ")
    assert ", transpose, wrong_value" in ask(runs / "both", "--where", "task=T", "-k", "1").out
    assert "correct for another problem: A transposed" in ask(runs / "transpose", "--row", "1").out


def test_no_match_lists_existing_values(runs: Path, ask: Ask) -> None:
    result = ask(runs / "both", "--where", "task=inverse")
    assert (result.code, result.out) == (0, "")
    assert "no failure matches; task: " in result.err and "transpose (" in result.err and "add (" in result.err
    result = ask(runs / "transpose", "--where", "spectrum=laplace", "--where", "confused_with=that")
    assert "spectrum: none (" in result.err and "; confused_with: A transposed (" in result.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--where", "spectrum>3"], "spectrum is a text field. Expected: spectrum=TEXT"),
        (
            ["--where", "norm=abc"],
            "cannot be read. Expected: a number; the text fields are split, outcome, evidence, task",
        ),
        (["--where", "norm"], "cannot be read. Expected: NAME>NUMBER"),
        (
            ["--where", "nrom>3"],
            "have no 'nrom'. Expected: one of row, outcome, evidence, task, spectrum, confused_with",
        ),
        (["--where", "problem=3"], "problem is neither number nor text"),
        (["--sort", "errors"], "errors is neither number nor text"),
    ],
)
def test_invalid_conditions_are_rejected(runs: Path, ask: Ask, line: list[str], message: str) -> None:
    result = ask(runs / "transpose", *line)
    assert result.code == 2 and message in result.err and not result.out


def test_unknown_outcome_is_rejected(runs: Path, ask: Ask, tmp_path: Path) -> None:
    result = ask(runs / "transpose", "--outcome", "malfromed")
    assert result.code == 2 and not result.out
    assert "there is no outcome 'malfromed'. Expected: one of exact, within_tolerance, wrong_value" in result.err
    assert "did you mean malformed?" in result.err
    assert ask(runs / "transpose", "--where", "outcome!=nonsense").code == 2
    assert ask(runs / "transpose", "--outcome", "timeout").code == 2
    alone = shutil.copy(runs / "transpose" / "evaluation" / "test" / "failures.jsonl.zst", tmp_path / "alone.zst")
    assert ask(alone, "--outcome", "timeout").code == 0 and ask(alone, "--outcome", "nonsense").code == 2
    result = ask(runs / "transpose", "--outcome", "malformed")
    assert (result.code, result.out) == (0, "") and "outcome: wrong_value (" in result.err


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_row_that_did_not_fail_is_explained(runs: Path, ask: Ask, more: list[str], tmp_path: Path) -> None:
    run = runs / "transpose"
    right = ask(run, "--row", "2", *more)
    assert (right.code, right.out) == (0, "") and "row 2 was answered correctly (exact)" in right.err
    beyond = ask(run, "--row", "99999", *more)
    assert beyond.code == 2 and "row 99999 was not evaluated. Expected: one of the 40 rows of" in beyond.err
    assert "predictions.parquet, 0 to 39" in beyond.err
    other = ask(run, "--row", "1", "--where", "confused_with=none", *more)
    assert other.code == 0 and "row 1 failed (wrong_value), but does not match the other conditions" in other.err
    alone = shutil.copy(run / "evaluation" / "test" / "failures.jsonl.zst", tmp_path / "alone.zst")
    assert "row 2 is not among the matching failures" in ask(alone, "--row", "2", *more).err
    assert "row 1," in ask(alone, "--row", "1").out


def test_latest_evaluation_of_run_is_shown(runs: Path, ask: Ask, tmp_path: Path) -> None:
    evaluated = runs / "transpose" / "evaluation" / "test"
    for age, name in enumerate(["beam", "test", "valid"]):
        copied = shutil.copytree(evaluated, tmp_path / "evaluation" / name)
        for file in ("predictions.parquet", "metrics.json"):
            os.utime(copied / file, (1e9, 1e9 + (50 if name == "test" else age)))
    latest, *others = (str(tmp_path / "evaluation" / name) for name in ("test", "valid", "beam"))
    result = ask(tmp_path, "-k", "1")
    assert result.out and result.err == f"showing {latest}, the latest; others: {', '.join(others)}\n"
    (tmp_path / "evaluation" / "beam" / "metrics.json").touch()  # reported again, not evaluated again
    assert latest in ask(tmp_path, "-k", "1").err.partition(";")[0]
    assert ask(runs / "transpose", "-k", "1").err == f"showing {evaluated}\n"
    assert ask(evaluated, "-k", "1").err == ""


@pytest.mark.parametrize(
    ("dump", "more", "message"),
    [
        (
            "nope",
            [],
            "there is no {runs}/nope. Expected: the directory of a run or an evaluation, a failures.jsonl.zst",
        ),
        ("nope", [], "Next: `mathpipe eval --run RUN --verbose`"),
        ("nope.pred", ["--task", "add"], "there is no {runs}/nope.pred"),
        ("mixed", ["--task", "add"], "and {runs}/mixed is not one. Expected: a .pred file with --task"),
        ("mixed", ["--task", "add"], "Next: `mathpipe failures {runs}/mixed`; for one task of co-training"),
        ("mixed/evaluation/test/predictions.parquet", ["--task", "add"], "Expected: a .pred file with --task"),
        ("here.pred", [], "is a published failure file. Expected: --task"),
        ("other.parquet", [], "other.parquet is not a predictions file"),
    ],
)
def test_invalid_inputs_are_rejected(runs: Path, ask: Ask, dump: str, more: list[str], message: str) -> None:
    (runs / "here.pred").touch()
    pq.write_table(pa.table({"row": [1]}), runs / "other.parquet")
    result = ask(runs / dump, *more)
    assert (
        result.code == 2
        and message.format(runs=runs) in result.err
        and "Traceback" not in result.err
        and not result.out
    )


def test_numeric_fields_may_be_null(runs: Path, ask: Ask) -> None:
    matching = ask(runs / "transpose", "--where", "correct_rank!=none", "--json", "-k", "100").failures
    assert matching == []
    assert len(ask(runs / "transpose", "--where", "correct_rank=none", "--json", "-k", "100").failures) > 10


def test_sort_by_name(runs: Path, ask: Ask) -> None:
    matching = ask(runs / "both", "--sort", "task", "--json", "-k", "100").failures
    assert [f["task"] for f in matching] == sorted(f["task"] for f in matching)
