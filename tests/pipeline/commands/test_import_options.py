"""``import`` and ``score`` take the options of a task, as ``generate`` does, and layouts of integers without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.pipeline.cli import cli

OWN_TASK = """
from pydantic import BaseModel, Field
import numpy as np
from mathpipe.datasets.containers.integer_layout import fixed_rows
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec
from mathpipe.generate.tasks.integer_task import IntegerTask

class Spec(IntegerSpec):
    factor: int = Field(2, description="the factor")

class Scale(IntegerTask[Spec]):
    name, problem, solution, source = "scale", "an integer", "its multiple", "school"
    problem_layout, solution_layout = "int", "int"
    spec_model, default_spec = Spec, Spec()
    def sample(self, rng, n, spec):
        return fixed_rows(rng.integers(0, 1000, size=(n, 1)))
    def solve(self, problems, spec):
        return fixed_rows(problems.values[:, None] * spec.factor)
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--quiet"], catch_exceptions=False)


def write_lines(file: Path, *examples: dict[str, Any]) -> str:
    file.write_text("".join(json.dumps(example) + "\n" for example in examples))
    return str(file)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_answers_are_verified_by_the_options_of_the_task(tmp_path: Path, workers: str) -> None:
    examples = [
        ([50, 20], 11),
        ([5, 20], 25),
        ([58, 58], 58),
        ([60, 1], 2),
    ]  # of modulus 59: right, right, wrong, foreign
    file = write_lines(tmp_path / "sums.jsonl", *({"problem": p, "solution": s} for p, s in examples))
    out = str(tmp_path / "sums")
    result = run(
        *("import", "--task", "modular-add", "--modulus", "59", "--train", file, "--out", out, "--json"),
        *("--workers", workers),
    )
    summary = json.loads(result.stdout)
    assert summary["left_out"] == {"not a problem of the task": 1, "solution not correct (wrong_value)": 1}
    assert [line["line"] for line in summary["bad_lines"]] == [3, 4]
    assert "modulus=59" in summary["bad_lines"][1]["why"]
    assert run("verify", out).exit_code == 0
    default = json.loads(run("import", "--task", "modular-add", "--train", file, "--out", out + "97", "--json").stdout)
    assert default["left_out"] == {"solution not correct (wrong_value)": 3}  # of modulus 97
    assert default["fingerprint"] != summary["fingerprint"]


def test_sizes_of_matrices_are_those_of_the_options(tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "sums.jsonl",
        {"problem": [[1, 2], [3, 4]], "solution": [[1, 3], [2, 4]]},
        {"problem": [[1, 2, 3]], "solution": [[1], [2], [3]]},
    )
    command = ("import", "--task", "transpose", "--train", file, "--json")
    summary = json.loads(run(*command, "--dim", "2", "--out", str(tmp_path / "square")).stdout)
    assert summary["left_out"] == {"wrong shape": 1} and summary["bad_lines"][0]["line"] == 2
    assert json.loads(run(*command, "--out", str(tmp_path / "any")).stdout)["bad"] == 0


def test_options_of_a_task_outside_the_package(tmp_path: Path) -> None:
    (tmp_path / "scale.py").write_text(OWN_TASK)
    task, out = str(tmp_path / "scale.py"), str(tmp_path / "data")
    file = write_lines(tmp_path / "x.jsonl", {"problem": 7, "solution": 21}, {"problem": 7, "solution": 14})
    options = ("--factor", "3", "--workers", "1")
    summary = json.loads(run("import", "--task", task, "--test", file, "--out", out, "--json", *options).stdout)
    assert [line["line"] for line in summary["bad_lines"]] == [2]
    assert run("verify", out, "--task", task).exit_code == 0
    answers = write_lines(tmp_path / "a.jsonl", {"problem": 7, "answer": 21}, {"problem": 7, "answer": 14})
    scored = run("score", "--task", task, answers, *options)
    assert [json.loads(line)["correct"] for line in scored.stdout.splitlines()] == [True, False]
    assert "--factor" in run("import", "--task", task, "--help").stdout


def test_options_are_checked(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "x.jsonl", {"problem": [1, 2], "solution": 3})
    command = ("import", "--train", file, "--out", str(tmp_path / "data"))
    for arguments, message in (
        (("--task", "modular-add", "--modulus", "1"), "modular-add.modulus"),
        (("--task", "modular-add", "--modulo", "7"), "did you mean --modulus"),
        (("--task", "none", "--type", "integers", "--modulus", "7"), "--modulus"),
        (("--task", "modular-add", "--problem-layout", "[int]"), "is fixed"),
        (("--task", "none", "--type", "matrices", "--problem-layout", "[int]"), "is fixed"),
        (("--task", "none", "--type", "integers", "--problem-layout", "[ints]"), "not a layout"),
    ):
        with pytest.raises(UserError) as error:
            CliRunner().invoke(cli, [*command, *arguments], catch_exceptions=False, standalone_mode=False)
        assert message in str(error.value)
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_layouts_of_integers_without_a_task(tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "x.jsonl", {"problem": [1, 2], "solution": [3]}, {"problem": [1, 2, 3], "solution": [3]}
    )
    out = str(tmp_path / "data")
    summary = json.loads(
        run(
            *("import", "--task", "none", "--type", "integers", "--test", file, "--out", out, "--json"),
            *("--problem-layout", "(int,int)"),
        ).stdout
    )
    assert [line["line"] for line in summary["bad_lines"]] == [2]
    assert open_dataset(out, split="test").manifest.spec["problems"]["problem_layout"] == "(int, int)"
    assert open_dataset(out, split="test").manifest.spec["problems"]["solution_layout"] == "[int]"


def test_options_of_the_command_come_before_those_of_a_task(tmp_path: Path) -> None:
    (tmp_path / "scale.py").write_text(OWN_TASK.replace("factor", "columns"))
    task = str(tmp_path / "scale.py")
    file = write_lines(tmp_path / "x.jsonl", {"a": 7, "solution": 14})
    summary = run(
        *("import", "--task", task, "--test", file, "--out", str(tmp_path / "data"), "--json"),
        *("--columns", "problem=a,solution=solution"),
    )
    assert json.loads(summary.stdout)["splits"]["test"]["rows"] == 1
    assert "columns" in run("generate", "--task", task, "--help").stdout
