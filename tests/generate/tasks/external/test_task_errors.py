"""A task that raises, hangs, returns the wrong type or is not deterministic: the error names file, line and example."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.external import guarded_calls
from mathpipe.generate.tasks.external.checked_chunks import build_chunk
from mathpipe.generate.tasks.task_registry import load_task

WriteTask = Callable[..., str]

GCD = """import math

def example(rng, spec):
    a, b = rng.integers(1, 100, 2).tolist()
    {line}
    return (a, b), math.gcd(a, b)
"""


def gcd(line: str) -> str:
    """gcd with one more line, the fifth."""
    return GCD.format(line=line)


LAYOUTS = 'problem_layout, answer_layout = "(int, int)", "int"'


def build(path: str) -> None:
    task = load_task(path)
    make_dataset(task.make_spec({}), Layout({"train": 2_000}, 1_000), "data", workers=0)


SPEC = "from pydantic import BaseModel\nclass Spec(BaseModel):\n    largest: int = 9\n"
WRONG = [
    (
        gcd("1 / (a - 7)") + LAYOUTS,
        r"t.py, line 5: example [\d,]+ of chunk 0 raised ZeroDivisionError: division by zero",
    ),
    (SPEC + gcd("spec.largst"), r"raised AttributeError: spec has no parameter 'largst'.*did you mean largest\?"),
    (SPEC + gcd("spec.zz"), r"spec has no parameter 'zz'.*Next: Spec defines largest"),
    (gcd("spec.zz"), r"spec has no parameter 'zz'.*Next: define zz in a class Spec"),
    (
        gcd("if a == 7: return (a, 0.5), 1") + LAYOUTS,
        r"t.py, line 3: the problem of example [\d,]+ of chunk 0 has the wrong type",
    ),
    (gcd("return (a, b), math.gcd(a, b) if a != 7 else 2**70"), r"the answer of example.*more than 63 bits"),
    (gcd("return ((a, b) if a != 7 else (a, b, 1)), 1") + LAYOUTS, r"expected 2 elements, got 3"),
    (
        gcd("if a == 7: return [a, b]"),
        r"example [\d,]+.*is no pair.*Expected: example\(rng, spec\) returns a pair.*list",
    ),
    (gcd("if a == 7: return None"), r"is no pair.*Got: NoneType None"),
    (gcd("return ((a, b), True)"), r"the answer of example 0 has the wrong type.*True is no integer"),
    (
        gcd("from mathpipe import load_task; load_task('./nothing.py')") + LAYOUTS,
        r"t.py, line 5: example 0 of chunk 0 raised UserError: --task ./nothing.py: nothing.py cannot be read",
    ),
    (gcd("return (a, b), 1.0"), r"the answer of example 0 has the wrong type.*1.0 is no integer.*MatrixTask"),
    (gcd("return 'ab', 'b'"), r"the problem of example 0 has the wrong type.*alphabet"),
    (
        gcd("return ((a, b) if a != 7 else [a, b, 3]), 1"),
        r"problem of example [1-9]\d* has the wrong type: the first examples differ: list and tuple of 2.*problem_layout",
    ),
    (
        gcd("import random; a = random.randint(1, 99)"),
        r"t.py, line 3: t is not deterministic: example 0 of train differs",
    ),
    (
        "import itertools\ncounter = itertools.count()\n" + gcd("a += next(counter)"),
        r"line 5: t is not deterministic.*state that one call leaves",
    ),
    (
        gcd("pass") + "\ndef verify(problem, answer, prediction): return problem[0] != 7\n",
        r"t.py, line 8: verify rejects the answer of example [\d,]+.*Got: False for problem tuple \(7, \d+\)",
    ),
    (
        gcd("pass") + "\ndef verify(problem, answer, prediction): return None\n",
        r"t.py, line 8: example 0 of chunk 0. Expected: verify.*returns True or False. Got: NoneType",
    ),
    (
        gcd("pass") + "\ndef answer_class(problem, answer): return 'a'\n",
        r"t.py, line 8: example 0 of chunk 0. Expected: answer_class.*an integer. Got: 'a'",
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_errors_name_file_line_and_example(write_task: WriteTask, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(write_task(text, "t.py"))


def test_error_names_the_example_that_fails(write_task: WriteTask) -> None:
    """The number counts the calls of a chunk from 0."""
    counted = "import itertools\ncalls = itertools.count()\n" + gcd("if next(calls) == 256 + 70: raise KeyError('x')")
    with pytest.raises(UserError, match=r"example 70 of chunk 0 raised KeyError: 'x'"):
        build(write_task(counted, "t.py"))  # after 256 calls for the layout


@pytest.mark.parametrize(
    "hang", ["while a == 7: pass", "while a == 7:\n        try: pass\n        except Exception: pass"]
)
def test_hanging_example_is_an_error(write_task: WriteTask, hang: str) -> None:
    text = gcd(hang) + "\ntime_limit = 0.5\n"
    with pytest.raises(UserError, match=r"t.py, line \d: example [\d,]+ .*took longer than 0.5 seconds.*time_limit"):
        build(write_task(text, "t.py"))


def test_hanging_verify_names_its_problem(write_task: WriteTask) -> None:
    hang = "\ntime_limit = 0.5\ndef verify(problem, answer, prediction):\n    while prediction == 12345: pass\n    return True\n"
    task = load_task(write_task(gcd("pass") + hang, "t.py"))
    row = task.problem_values.to_rows([task.problem_values.to_row((3, 4))])  # type: ignore[attr-defined]
    answers = [task.answer_values.to_rows([[value]]) for value in (1, 12345)]  # type: ignore[attr-defined]
    with pytest.raises(
        UserError, match=r"t.py, line 10: verify of problem tuple \(3, 4\), prediction int 12345 took longer"
    ):
        task.verify(row, *answers)


def test_hang_outside_python_ends_the_process(write_task: WriteTask) -> None:
    """A blocked call cannot be interrupted: the process says what hangs, and ends."""
    path = write_task("import time\ntime_limit = 0.3\n" + gcd("time.sleep(3600 * (a == 7))"), "t.py")
    code = (
        "from mathpipe.generate.tasks.external import guarded_calls as g; g.GRACE_SECONDS = 0.3\n"
        "from mathpipe.pipeline.cli import main\n"
        f"main(['generate', '--task', {path!r}, '--n', '2k', '--workers', '0', '--out', 'data'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert re.search(r"mathpipe: t.py, line 7: example [\d,]+ .*took longer than 0.3 seconds", done.stderr), done.stderr


def test_watchdog_leaves_no_exception_behind() -> None:
    guard = guarded_calls.Guard(__file__, 60, str, "")
    for _ in range(50):
        with guard() as watchdog:
            watchdog.restart(1)
    assert watchdog.exceeded is None and not watchdog._thread.is_alive()


BATCH = '''import numpy as np
from mathpipe.datasets.containers.integer_layout import fixed_rows
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec
from mathpipe.generate.tasks.integer_task import IntegerTask

class Gcd(IntegerTask[IntegerSpec]):
    """a, b -> gcd(a, b)."""
    name = "batch-gcd"
    problem = "two integers"
    solution = "their greatest common divisor"
    source = "Euclid"
    problem_layout, solution_layout = "(int, int)", "int"
    spec_model, default_spec = IntegerSpec, IntegerSpec()
    time_limit = 5

    def sample(self, rng, n, spec):
        {sample}
        return fixed_rows(rng.integers(1, 1000, (n, 2)))

    def solve(self, problems, spec):
        return fixed_rows(np.gcd(*problems.values.reshape(-1, 2).T)[:, None])
'''


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("1 / 0", r"t.py, line 17: chunk 0 \(examples 0 to 9,999 of train\) raised ZeroDivisionError"),
        ("while True: pass", r"t.py, line 17: chunk 0 .*took longer than 5 seconds"),
        ("rng = np.random.default_rng()", r"batch-gcd is not deterministic: example 0 of train"),
    ],
)
def test_errors_of_a_batch_class(write_task: WriteTask, sample: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(write_task(BATCH.format(sample=sample), "t.py"))


def test_batch_class_is_a_task_like_any_other(write_task: WriteTask) -> None:
    task = load_task(write_task(BATCH.format(sample="pass"), "t.py"))
    spec = task.make_spec({})
    chunk = build_chunk(task, spec, 0, ["train"])["train"].examples
    assert not any(mask.any() for mask in task.find_faults(spec, "train", chunk, 0).values())
