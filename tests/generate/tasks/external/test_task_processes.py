"""Tasks outside the package in worker processes, which have neither the file nor the module; killed and resumed; verified."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.curate.deduplication import deduplicate
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.external import external_tasks
from mathpipe.generate.tasks.task_registry import load_task

WriteTask = Callable[..., str]
Contents = Callable[[Path], dict[str, bytes]]
LAYOUT = Layout({"train": 4_000, "valid": 288, "test": 288}, 1_000)

GCD = '''"""Two integers -> their greatest common divisor."""
import math
from pydantic import BaseModel, Field

class Spec(BaseModel):
    max_int: int = Field(100, ge=2, description="largest integer")

def example(rng, spec):
    a, b = rng.integers(1, spec.max_int, 2, endpoint=True).tolist()
    return (a, b), math.gcd(a, b)

def verify(problem, answer, prediction):
    return prediction > 0 and math.gcd(*problem) == prediction

def answer_class(problem, answer):
    return answer
'''


def test_workers_without_the_file_build_the_same_bytes(
    shared_cluster: Any, write_task: WriteTask, contents: Contents, tmp_path: Path
) -> None:
    """Separate processes in another directory get the source with their job; the file is gone before they start."""
    path = write_task(GCD, "far/gcd.py")
    spec = load_task(path).make_spec({"max_int": 1000}, seed=5)
    make_dataset(spec, LAYOUT, "here", workers=0)
    Path(path).unlink()
    result = make_dataset(spec, LAYOUT, "there", scheduler=shared_cluster.address)
    assert result.built_rows == LAYOUT.rows
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert verify_dataset("there", scheduler=shared_cluster.address).damage == ()
    assert deduplicate("there", "distinct", scheduler=shared_cluster.address).manifest.spec["task"] == "gcd"
    assert verify_dataset("distinct", workers=0).damage == ()


def test_error_on_a_worker_names_the_line_of_the_file(shared_cluster: Any, write_task: WriteTask) -> None:
    """One example in 20,000 fails, none of the first chunk, which this process builds itself."""
    failing = GCD.replace(
        "return (a, b), math.gcd(a, b)", "return (a, b), math.gcd(a, b) // ((31 * a + b) % 20000 != 4321)"
    )
    spec = load_task(write_task(failing, "gcd.py")).make_spec({"max_int": 100_000}, seed=1)
    with pytest.raises(UserError, match=r"gcd.py, line 10: example [\d,]+ of chunk [1-9]\d* raised ZeroDivisionError"):
        make_dataset(spec, Layout({"train": 50_000}, 1_000), "data", scheduler=shared_cluster.address)


def test_other_module_on_the_workers_is_an_error(
    shared_cluster: Any, write_task: WriteTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module is imported where the worker runs; one that it cannot import, or in another version, is named."""
    write_task(GCD, "module_gcd.py")
    spec = load_task("module_gcd:example").make_spec({})
    with pytest.raises(UserError, match=r"module_gcd cannot be loaded.*No module named 'module_gcd'"):
        make_dataset(spec, LAYOUT, "data", scheduler=shared_cluster.address)
    (shared_cluster.folder / "module_gcd.py").write_text(GCD + "# another version\n")
    with pytest.raises(UserError, match=r"finds other source code.*install the same version where the workers run"):
        make_dataset(spec, LAYOUT, "data", scheduler=shared_cluster.address)


def test_killed_and_resumed_next_week(write_task: WriteTask, contents: Contents, tmp_path: Path) -> None:
    """The command is killed in the middle; the same command keeps finished shards and writes the bytes of an undisturbed run."""
    slow = GCD.replace("import math\n", "import math, os, time\n", 1).replace(
        "def example(rng, spec):\n", "def example(rng, spec):\n    time.sleep(float(os.environ.get('SLOW', 0)))\n"
    )
    path = write_task(slow, "gcd.py")
    make_dataset(load_task(path).make_spec({}), LAYOUT, "undisturbed", workers=0)
    command = [sys.executable, "-m", "mathpipe.pipeline.cli", "generate", "--task", path, "--n", "4000"]
    command += ["--valid", "288", "--test", "288", "--shard-rows", "1000", "--workers", "0", "--out", "data"]
    process = subprocess.Popen(command, env={**os.environ, "SLOW": "0.0005"}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("data/__records/train/*.json")):  # records of finished shards
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "data" / "manifest.json").exists()
    resumed = make_dataset(load_task(path).make_spec({}), LAYOUT, "data", workers=0)
    assert resumed.built_rows <= LAYOUT.rows - 1_000
    assert contents(tmp_path / "data") == contents(tmp_path / "undisturbed")
    Path(path).write_text(slow + "# edited\n")
    with pytest.raises(
        UserError, match=r"was generated with other code of gcd. Expected: source of digest \w+. Got: \w+"
    ):
        make_dataset(load_task(path).make_spec({}), LAYOUT, "data", workers=0)


def test_unfinished_dataset_of_other_code_is_refused(write_task: WriteTask, tmp_path: Path) -> None:
    make_dataset(load_task(write_task(GCD, "gcd.py")).make_spec({}), LAYOUT, "data", workers=0)
    (tmp_path / "data" / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"holds shards of another dataset"):
        make_dataset(load_task(write_task(GCD + "#", "gcd.py")).make_spec({}), LAYOUT, "data", workers=0)


def test_verify_without_the_task_checks_files_alone(
    write_task: WriteTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write_task(GCD, "gcd.py")
    make_dataset(load_task(path).make_spec({}), LAYOUT, "data", workers=0)
    assert verify_dataset("data").missing_task is None
    for registry in ("_LOADED", "_LATEST", "_BY_DIGEST"):
        monkeypatch.setattr(external_tasks, registry, {})
    report = verify_dataset("data")
    assert report.damage == () and report.rows == LAYOUT.rows
    assert "its code is not loaded" in str(report.missing_task)
    shard = tmp_path / "data" / "train" / "00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert [damage.file for damage in verify_dataset("data").damage] == ["train/00001.parquet"]
    load_task(write_task(GCD + "# edited\n", "gcd.py"))
    assert "is not the code that this dataset was generated with" in str(verify_dataset("data").missing_task)


def test_verify_generates_again(write_task: WriteTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that another code wrote under this digest are faults, in each split."""
    task = load_task(write_task(GCD[: GCD.index("def verify")], "gcd.py"))
    spec = task.make_spec({})
    definition = task.definition  # type: ignore[attr-defined]

    def other(rng: Any, spec: Any) -> Any:
        (a, b), answer = definition.example(rng, spec)
        return ((a, b), answer + 1) if a == 7 else ((a, b), answer)

    with monkeypatch.context() as patch:
        patch.setattr(type(task), "definition", type(definition)(**{**definition.__dict__, "example": other}))
        make_dataset(spec, LAYOUT, "data", workers=0)
    faults = verify_dataset("data").damage
    assert {damage.what for damage in faults} == {"is not the example that the task generates"}
    assert {damage.file.partition("/")[0] for damage in faults} >= {"train"}


def test_stored_answers_are_checked_by_verify_of_the_task(write_task: WriteTask) -> None:
    """Predictions: the stored answer is exact, another that verify accepts is equivalent, no value is malformed."""
    text = "def example(rng, spec): return int(rng.integers(2, 50)), [1]\n"
    text += "def verify(problem, answer, prediction): return all(problem % p == 0 for p in prediction)\n"
    task: Any = load_task(write_task(text, "divisors.py"))
    rows = task.problem_values.to_rows([[12]] * 5)
    references = task.answer_values.to_rows([[1, 1]] * 5)
    predicted = task.answer_values.to_rows([[1, 1], [2, 3, 4], [1, 5], [3, 1], [0]])
    outcome = task.verify(rows, references, predicted).outcome
    assert [task.outcomes[k] for k in outcome] == ["exact", "equivalent", "wrong_value", "malformed", "equivalent"]


def test_strings_and_expressions(write_task: WriteTask) -> None:
    strings = "alphabet = 'ab'\ndef example(rng, spec):\n    s = 'ab'[rng.integers(2)] * int(rng.integers(1, 99))\n"
    strings += "    return s, s[::-1]\n"
    formulas = (
        "notation = 'infix'\n"
        "def example(rng, spec):\n    a, b = rng.integers(2, 999, 2).tolist()\n    return f'{a}*x^{b}', f'{a * b}*x^{b - 1}'\n"
        "def verify(problem, answer, prediction): return prediction.replace(' ', '') == answer or prediction == answer\n"
    )
    for name, text, problem_type in (("s.py", strings, "sequences"), ("f.py", formulas, "expressions")):
        task = load_task(write_task(text, name))
        assert task.problem_type == problem_type
        make_dataset(task.make_spec({}), Layout({"train": 1_000, "valid": 0, "test": 0}, 1_000), name[0], workers=0)
        assert verify_dataset(name[0]).damage == ()
        assert read_manifest(name[0]).splits["train"].rows == 1_000
