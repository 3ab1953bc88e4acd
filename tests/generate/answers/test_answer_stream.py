"""``mathpipe score``: lines in, lines out, in order; bad lines and fuzzed answers stop nothing."""

from __future__ import annotations

import json
import random
import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.generate.answers.answer_stream import score_file, score_lines
from mathpipe.generate.answers.answer_verifier import AnswerVerifier
from mathpipe.generate.tasks.task_registry import get_task
from mathpipe.pipeline.cli import main

LINES = [
    {"problem": "x*cos(x)", "answer": r"hence \boxed{x\sin x+\cos x}"},
    {"problem": "x*cos(x)", "answer": "x"},
    {"problem": "x*cos(x)"},
    {"problem": "x*(", "answer": r"\boxed{x}"},
    {"answer": r"\boxed{x}"},
    {"problem": "1", "answer": r"\boxed{x}"},
]
OUTCOMES = ["equivalent", "malformed", "invalid_line", "invalid_problem", "invalid_line", "equivalent"]


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    return int(exit_info.value.code or 0)


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES) + "\n{broken\n")
    return path


def test_score_writes_a_line_for_each_answer(answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.jsonl"
    arguments = ("score", "--task", "integration-bwd", str(answers), "--extract", "boxed")
    assert call(*arguments, "--out", str(out)) == 0
    results = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["outcome"] for r in results] == [*OUTCOMES, "invalid_line"]
    assert [r["line"] for r in results] == [1, 2, 3, 4, 5, 6, 8]
    assert results[0]["evidence"] == "proven" and results[0]["correct"] is True
    assert "2 of 7 answers are correct" in capsys.readouterr().out
    assert call(*arguments, "--json", "--quiet") == 0
    printed = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in printed] == results


def test_score_reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    standard_input = SimpleNamespace(buffer=BytesIO(b'{"q": [[2]], "a": "1/2", "key": "k7"}\n'))
    monkeypatch.setattr("sys.stdin", standard_input)
    assert call("score", "--task", "inverse", "--columns", "problem=q,answer=a,id=key", "-") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["id"] == "k7" and "1 of 1 answers are correct" in printed.err


def test_workers_keep_the_order_and_the_results() -> None:
    lines = [json.dumps({"problem": [[k % 7 + 1]], "answer": [[1 / (k % 5 + 1)]]}).encode() for k in range(400)]
    verifier = AnswerVerifier(get_task("inverse"))
    alone = list(score_lines(lines, verifier))
    assert [line.number for line in alone] == list(range(1, 401))
    assert list(score_lines(lines, verifier, workers=2)) == alone
    assert {line.verification.outcome for line in alone} == {"exact", "wrong_value"}


def test_wrong_columns() -> None:
    with pytest.raises(UserError, match=r"no 'answr'.*did you mean answer=b"):
        list(score_lines([], AnswerVerifier(get_task("gcd")), {"problem": "a", "answr": "b"}))


TOKENS = [
    *(
        "x",
        "sin(",
        "exp(",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "^",
        "**",
        "/",
        "*",
        "+",
        "-",
        ",",
        "1",
        "2",
        "0.5",
        "1e9",
        "'",
    ),
    *("\\frac{", "\\sqrt", "\\begin{pmatrix}", "&", "\\\\", "add", "mul", "INT+", "pow", "ln|", "|", "y", "C", "nan"),
    *(
        "__import__('os').system('touch {mark}')",
        "open('{mark}','w')",
        "eval(",
        "lambda:",
        "9" * 400,
        "\\boxed{",
        "=",
        "!",
    ),
]


def fuzzed_answer(rng: random.Random, mark: str) -> Any:
    kind = rng.randrange(8)
    if kind == 0:  # random Unicode, surrogates and control characters too
        return "".join(chr(rng.randrange(0x11000)) for _ in range(rng.randrange(60)))
    if kind == 1:  # deep nesting
        opening, closing = rng.choice(
            [("(", ")"), ("[", "]"), ("sin(", ")"), ("\\frac{1}{", "}"), ("-", ""), ("x^", "")]
        )
        depth = rng.choice([5, 50, 500, 20_000])
        return opening * depth + "x" + closing * depth
    if kind == 2:  # huge numbers
        return rng.choice(
            ["9" * 5_000, "1e999999", "x^" + "9" * 39, "2**2**2**2**2**9", "-" + "7" * 39, "1/" + "3" * 40]
        )
    if kind == 3:  # values of JSON that are no text
        return rng.choice(
            [None, True, 1e308, -0.0, [], {}, [[]], [[1, "2"], [3, None]], [1] * 20_000, {"a": [1]}, 10**30]
        )
    if kind == 4:
        nested: Any = 1
        for _ in range(rng.choice([3, 40, 300])):
            nested = [nested]
        return nested
    return "".join(rng.choice(TOKENS) for _ in range(rng.randrange(1, 15))).replace("{mark}", mark)


def fuzz(count: int, seed: int, mark: Path) -> int:
    """Score ``count`` fuzzed answers to problems of four tasks; the number of lines that were malformed."""
    rng = random.Random(seed)
    num_malformed = 0
    for task, problem in (
        ("integration-bwd", "x*cos(x)"),
        ("ode1", "y' = y"),
        ("inverse", [[2, 1], [1, 3]]),
        ("gcd", [48, 36]),
    ):
        lines = [json.dumps({"problem": problem, "answer": fuzzed_answer(rng, str(mark))}) for _ in range(count // 4)]
        lines[1] = json.dumps({"problem": problem, "answer": "x" * (1 << 20)})
        lines[2] = json.dumps({"problem": problem, "answer": "[" * (1 << 20)})
        lines[3] = '{"problem": ' + "[" * 100_000
        lines[4] = '{"problem": "x", "answer": ' + "9" * 100_000 + "}"
        data = "\n".join(lines).encode(errors="surrogatepass")
        results = list(score_file(BytesIO(data), AnswerVerifier(get_task(task), seconds=10)))
        assert [r.number for r in results] == list(range(1, len(lines) + 1))
        assert all(r.verification.outcome for r in results) and all(json.dumps(r.to_json()) for r in results)
        num_malformed += sum(r.verification.outcome in ("malformed", "invalid_line") for r in results)
    assert not mark.exists(), "an answer was evaluated"
    assert sys.getrecursionlimit() < 100_000
    return num_malformed


def test_fuzzed_answers(tmp_path: Path) -> None:
    assert fuzz(400, 0, tmp_path / "mark") > 200


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_fuzzed_answers(tmp_path: Path) -> None:
    assert fuzz(10_000, 1, tmp_path / "mark") > 5_000


def test_file_without_an_answer_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every line is written, and then the exit code is 2, so that a script records no accuracy of 0 %."""
    path = tmp_path / "answers.jsonl"
    path.write_text('{"problem": "x", "solution": "x"}\n' * 3)
    assert call("score", "--task", "integration-bwd", str(path), "--out", str(tmp_path / "results.jsonl")) == 2
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 3
    assert "no column 'answer'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("columns", "advice"),
    [
        ("problem", "name the column: problem=NAME"),
        ("nr=id", "did you mean id=nr"),
        ("anser=text", "did you mean answer=text"),
        ("id=nr", "no column 'nr'"),
    ],
)
def test_wrong_columns_are_explained(
    columns: str, advice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("problem,answer\nx,x\n")
    assert call("score", "--task", "integration-bwd", str(path), "--columns", columns) == 2
    assert advice in capsys.readouterr().err
