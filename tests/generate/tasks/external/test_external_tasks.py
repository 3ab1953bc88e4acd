"""How tasks outside the package are named, loaded and identified, and that nothing else loads code."""

from __future__ import annotations

import copyreg
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.tasks.external import external_tasks
from mathpipe.generate.tasks.external.external_tasks import find_external
from mathpipe.generate.tasks.task_registry import MissingTaskError, get_task, load_task, parse_spec, task_of

WriteTask = Callable[..., str]

REVERSE = '''"""A string of bits -> the string reversed."""
from pydantic import BaseModel, Field

alphabet = "01"

class Spec(BaseModel):
    bits: int = Field(8, ge=1, le=100, description="length of the string")
    flip: bool = False

def example(rng, spec):
    text = "".join(map(str, rng.integers(0, 2, spec.bits)))
    return text, text[::-1]
'''


def test_file_is_a_task_with_the_options_of_its_spec(write_task: WriteTask) -> None:
    task = load_task(write_task(REVERSE))
    assert (task.name, task.problem_type, task.problem) == (
        "flip",
        "sequences",
        "A string of bits -> the string reversed",
    )
    assert {name: field.description for name, field in task.options().items()} == {
        "bits": "length of the string",
        "flip": "flip",
    }
    spec = task.make_spec({"bits": "12"}, seed=3)
    assert spec.problems.model_dump()["bits"] == 12 and spec.source_digest == task.origin.digest  # type: ignore[union-attr]
    assert get_task("flip") is task and task_of(spec) is task


@pytest.mark.parametrize(
    ("text", "reference", "name"),
    [
        ("alphabet = 'ab'\ndef example(rng, spec): return 'a', 'b'\n", "my_task.py", "my-task"),
        ("name = 'other'\nalphabet = 'ab'\ndef example(rng, spec): return 'a', 'b'\n", "my_task.py", "other"),
        ("alphabet = 'ab'\ndef example(rng, spec): return 'a', 'b'\n", "my_task.py:example", "my-task"),
        (
            "class MaxClique:\n    alphabet = 'ab'\n    def example(self, rng, spec): return 'a', 'b'\n",
            "t.py:MaxClique",
            "max-clique",
        ),
        (
            "from types import SimpleNamespace\none = SimpleNamespace(alphabet='ab', example=lambda rng, spec: ('a', 'b'))\n",
            "t.py:one",
            "one",
        ),
    ],
)
def test_names(write_task: WriteTask, text: str, reference: str, name: str) -> None:
    write_task(text, reference.partition(":")[0])
    assert load_task(f"./{reference}").name == name


def test_module_in_the_working_directory_and_what_it_imports(
    write_task: WriteTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest covers the modules of the package that the task imports, and no others."""
    write_task("", "pack_a/__init__.py")
    write_task(REVERSE.replace("alphabet", "from pack_a.letters import alphabet #", 1), "pack_a/tasks/flip.py")
    helper_module, unused = write_task("alphabet = '01'\n", "pack_a/letters.py"), write_task("", "pack_a/unused.py")

    def digest() -> str:
        for module in [m for m in sys.modules if m.partition(".")[0] == "pack_a"]:
            monkeypatch.delitem(sys.modules, module)
        return str(load_task("pack_a.tasks.flip:example").origin.digest)  # type: ignore[union-attr]

    first = digest()
    Path(unused).write_text("x = 1\n")
    assert digest() == first
    Path(helper_module).write_text("alphabet = '01'  # bits\n")
    assert digest() != first


def test_digest_depends_on_the_text_alone(write_task: WriteTask) -> None:
    digests = [
        load_task(write_task(text, name)).origin.digest  # type: ignore[union-attr]
        for text, name in ((REVERSE, "a.py"), (REVERSE.replace("\n", "\r\n"), "b/c.py"), (REVERSE + "#", "a.py"))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_changed_code_is_another_dataset(write_task: WriteTask) -> None:
    first = load_task(write_task(REVERSE)).make_spec({})
    second = load_task(write_task(REVERSE + "# edited\n")).make_spec({})
    assert first.fingerprint != second.fingerprint
    assert task_of(first) is not task_of(second)  # both are loaded in this process
    with pytest.raises(MissingTaskError, match=f"not the code.*{'0' * 12}.*Got: {str(second.source_digest)[:12]}"):
        get_task("flip", "0" * 64)


def test_stored_spec_is_read_with_the_task_alone(write_task: WriteTask, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_task(REVERSE)
    spec = load_task(path).make_spec({"bits": 5})
    stored = json.loads(spec.to_json())
    assert parse_spec(stored) == spec
    for registry in ("_LOADED", "_LATEST", "_BY_DIGEST"):
        monkeypatch.setattr(external_tasks, registry, {})
    with pytest.raises(MissingTaskError, match=r"outside mathpipe, and its code is not loaded.*--task ./flip.py"):
        parse_spec(stored)


@pytest.mark.parametrize("name", ["{path}", "{path}:example", "evil:example", "os:system", "pack.evil"])
def test_no_dataset_loads_code(write_task: WriteTask, tmp_path: Path, name: str) -> None:
    """A spec that names a place of code, as a hostile manifest might, is an unknown task."""
    path = write_task(f"import pathlib; pathlib.Path({str(tmp_path / 'loaded')!r}).touch()\n" + REVERSE, "evil.py")
    for digest in (None, "0" * 64):
        values = {"task": name.format(path=path), "problems": {"kind": "sequences"}, "source_digest": digest}
        with pytest.raises(UserError, match=r"unknown task|not loaded"):
            parse_spec(values)
    assert not (tmp_path / "loaded").exists()
    with pytest.raises(UserError):
        load_task(f"{path}:nothing")
    assert (tmp_path / "loaded").exists()  # the user named it


def test_entry_points(write_task: WriteTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed task is found by its name, and imported when it is asked for."""
    write_task(REVERSE, "installed_reverse.py")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    entries = [
        EntryPoint("installed-reverse", "installed_reverse", external_tasks.ENTRY_POINT_GROUP),
        EntryPoint("another-name", "installed_reverse", external_tasks.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr(external_tasks, "entry_points", lambda group: [e for e in entries if e.group == group])
    assert "installed_reverse" not in sys.modules
    assert find_external("nothing") is None and "installed_reverse" not in sys.modules
    assert get_task("installed-reverse").options().keys() == {"bits", "flip"}
    with pytest.raises(UserError, match=r"entry point another-name.*Got: installed-reverse"):
        get_task("another-name")
    with pytest.raises(UserError, match=r"unknown task 'installed-revers'.*did you mean installed-reverse"):
        get_task("installed-revers")


def test_specs_and_tasks_cross_processes(write_task: WriteTask, tmp_path: Path) -> None:
    """A pickled spec brings the source along: the other process has no file, and checks the digest."""
    path = write_task(REVERSE)
    task = load_task(path)
    spec = task.make_spec({"bits": 5})
    (tmp_path / "pickled").write_bytes(pickle.dumps((spec, task)))
    Path(path).unlink()
    code = (
        "import pickle, pathlib; spec, task = pickle.loads(pathlib.Path('pickled').read_bytes());"
        "print(spec.fingerprint, type(task.problems_of(spec)).__name__, task.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [spec.fingerprint, "flip_problems", "flip"], done.stderr
    assert pickle.loads(pickle.dumps(spec)) == spec  # noqa: S301
    inside = get_task("add").make_spec({})
    assert pickle.loads(pickle.dumps(inside)) == inside  # noqa: S301
    assert DatasetSpec in copyreg.dispatch_table


BROKEN = [
    ("def example(rng, spec)\n    return 1, 2\n", r"broken.py, line 1\b.*SyntaxError"),
    ("x = 1\ny = 1 / 0\n", r"broken.py, line 2\b.*ZeroDivisionError: division by zero"),
    ("import nonexistent_package\n", r"line 1\b.*No module named 'nonexistent_package'.*pip install"),
    ("import beside\n", r"No module named 'beside'.*a task file is one file.*package"),
    ("def exampel(rng, spec): return 1, 2\n", r"defines no task.*rename exampel to example"),
    ("x = 1\n", r"defines no task.*docs/guides/own-tasks.md"),
    ("def example(rng): return 1, 2\n", r"example cannot be used. Expected: a function example\(rng, spec\)"),
    (REVERSE + "\ndef verify(problem, answer): return True\n", r"verify cannot be used.*prediction"),
    (REVERSE + "\nclass Spec: pass\n", r"Spec cannot be used.*pydantic.BaseModel"),
    (REVERSE + "\ntime_limit = 0\n", r"time_limit cannot be used.*above 0"),
    (REVERSE + "\nnotation = 'rpn'\n", r"notation cannot be used.*infix or prefix"),
    (REVERSE + "\nname = 'My Task'\n", r"a task needs a name.*'My Task'"),
    (REVERSE.replace("bits: int", "workers: int"), r"the parameter workers of broken has the name of an option"),
    (REVERSE.replace("Field(8, ", "Field("), r"Spec has no valid default for bits.*Field required"),
    ("class A:\n alphabet='a'\n example=1\nclass B:\n example=1\n", r"several tasks.*broken.py:A.*Got: A, B"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_code_that_cannot_be_loaded(write_task: WriteTask, text: str, message: str) -> None:
    write_task("", "beside.py")
    with pytest.raises(UserError, match=message):
        load_task(write_task(text, "broken.py"))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("./nothing.py", r"nothing.py cannot be read.*No such file"),
        ("flip.py::Gcd", r"names no task.*write --task flip.py:Gcd"),
        ("./flip", r"names no task.*a file \(./gcd.py"),
        ("no_such_module:Gcd", r"--task no_such_module cannot be loaded.*No module named"),
        ("flip.py:Gcd", r"flip.py has no Gcd"),
        ("zzzz", r"unknown task 'zzzz'.*its file, --task ./NAME.py"),
    ],
)
def test_references_to_nothing(write_task: WriteTask, reference: str, message: str) -> None:
    write_task(REVERSE)
    with pytest.raises(UserError, match=message):
        load_task(reference)
