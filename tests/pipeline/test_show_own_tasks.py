"""Datasets of tasks outside the package need no code to be shown, and never that of a task of the package with the same name."""

from __future__ import annotations

import copy
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.adapters.matrix_adapter import MatrixAdapter
from mathpipe.evaluate.analyze.baselines import BaselineCounts, ReferenceBaseline
from mathpipe.evaluate.analyze.column_roles import measure_names
from mathpipe.evaluate.analyze.evaluation_data import evaluation_data
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.tasks.external import external_tasks
from mathpipe.generate.tasks.external.task_source import TaskSource, parse_reference
from mathpipe.generate.tasks.task_registry import TASKS
from mathpipe.pipeline.cli import main

PAIRS = '''"""Two integers -> the larger one."""

def example(rng, spec):
    a, b = rng.integers(0, 1000, size=2)
    return (a, b), max(a, b)
'''
POWERS = '''"""A power -> a wrong antiderivative, which is right for this task."""

name = "integration-bwd"
notation = "infix"

def example(rng, spec):
    k = int(rng.integers(2, 10**6))
    return f"x^{k}", f"{k} + x"
'''
Call = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """``call("show data/larger")`` -> (exit code, stdout, stderr), as in a new process: no task is loaded."""
    (tmp_path / "larger.py").write_text(PAIRS)
    (tmp_path / "gcd.py").write_text(PAIRS)
    (tmp_path / "powers.py").write_text(POWERS)
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> tuple[int, str, str]:
        for registry in ("_LOADED", "_LATEST", "_BY_DIGEST"):
            monkeypatch.setattr(external_tasks, registry, {})
        for module in [name for name in sys.modules if name.startswith("mathpipe_task_")]:
            monkeypatch.delitem(sys.modules, module)
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(shlex.split(line))
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return run


def generate(call: Call, file: str) -> str:
    code, out, err = call(f"generate --task ./{file} --n 300 --valid 20 --test 20 --out data --workers 0 --quiet")
    assert code == 0, err
    return out


@pytest.mark.parametrize(("file", "name"), [("larger.py", "larger"), ("gcd.py", "gcd")])
def test_show_needs_nothing_of_the_task(call: Call, monkeypatch: pytest.MonkeyPatch, file: str, name: str) -> None:
    """Values, tokens and spec; the task of the package with the same name is not asked. NumPy integers are integers."""
    generate(call, file)
    monkeypatch.setitem(TASKS, "gcd", None)  # type: ignore[arg-type]  # using it would fail
    Path(file).unlink()
    for options in ("", "--tokens", "--encoding base10", "--latex"):
        code, out, err = call(f"show data -k 2 {options}")
        assert code == 0, err
        assert f"task     {name} (outside mathpipe, source " in out and "not loaded" not in out
        assert out.count("problem   ") == 2
    code, out, _ = call("show data -k 2 --json")
    (a, b), larger = (json.loads(out)["problems"][0][side] for side in ("problem", "solution"))
    assert code == 0 and larger == max(a, b)


def test_expressions_are_not_graded_by_the_task_of_the_package(call: Call) -> None:
    """Its verifier would call every answer of this task wrong."""
    generate(call, "powers.py")
    code, out, err = call("show data -k 2")
    assert code == 0, err
    assert (
        out.count("evidence") == 1 and "evidence not shown: the code of the task, which would grade it, is not" in out
    )
    assert out.count("solution ") == 2 and "wrong_value" not in out
    code, out, _ = call("show data -k 2 --json")
    assert code == 0 and not any("evidence" in problem for problem in json.loads(out)["problems"])
    code, out, err = call("show data -k 2 --task ./powers.py")
    assert code == 0 and "evidence" not in out, err
    code, _, err = call("verify data --prove --task ./powers.py --workers 0")
    assert code == 2 and "integration-bwd has no proofs" in err


def test_show_does_not_need_the_code_that_made_the_dataset(call: Call) -> None:
    generate(call, "powers.py")
    Path("powers.py").write_text(POWERS + "# edited\n")
    code, out, err = call("show data -k 1 --task ./powers.py")
    assert code == 0 and "evidence not shown" in out, err


@pytest.mark.parametrize("outside", [False, True])
def test_diagnostics_are_those_of_the_task_itself(outside: bool) -> None:
    """Predictions of a task of one's own that is called eigenvectors get no diagnostics of eigenvectors."""
    task: Any = copy.copy(TASKS["eigenvectors"])
    if outside:
        task.origin = TaskSource(parse_reference("./eigenvectors.py"), "eigenvectors.py", "0" * 64, "")
    adapter = MatrixAdapter(task)
    spec = TASKS["eigenvectors"].make_spec({"dim": 2})
    examples: Any = task.build_chunk(spec, 0, ["test"])["test"].examples.take(np.arange(20))
    tokenizer = MatrixTokenizer.named("P1000")
    tokens = append_end(*tokenizer.encode(examples.solutions))
    scored = adapter.score(tokenizer, examples, Hypotheses(tokens, np.zeros(20)))
    table = adapter.table(scored, "test", tokenizer, tokenizer)
    assert ("max_cosine" in measure_names(table)) is not outside
    metadata = {"task": "eigenvectors", "outcomes": list(adapter.outcomes), "split": "test"}
    counts = BaselineCounts(**ReferenceBaseline().count_passes(scored).to_json())
    names = {analysis.name for analysis in adapter.analyse(evaluation_data(table, metadata, counts))}
    assert "correct_and_incorrect" in names and ("properties_by_tolerance" in names) is not outside


def test_summary_of_an_extended_dataset_counts_what_was_there(call: Call) -> None:
    assert "none rejected" in generate(call, "larger.py")
    code, out, _ = call("generate --task ./larger.py --n 20k --valid 20 --test 20 --out data --workers 0 --quiet")
    assert code == 0 and "there before" in out
    line = out.splitlines()[-1].replace(",", "")
    generated, before = int(line.split()[1]), int(line.split("; ")[1].split()[0])
    assert generated + before == 20_040 and before > 0


def test_arrays_of_integers_are_lists(call: Call) -> None:
    Path("ordered.py").write_text(
        "import numpy as np\n\n"
        "def example(rng, spec):\n    v = rng.integers(0, 1000, size=int(rng.integers(1, 5)))\n    return v, np.sort(v)\n"
    )
    generate(call, "ordered.py")
    problem = json.loads(call("show data -k 1 --json")[1])["problems"][0]
    assert problem["solution"] == sorted(problem["problem"])
    assert call("verify data --task ./ordered.py --workers 0 --quiet")[0] == 0
