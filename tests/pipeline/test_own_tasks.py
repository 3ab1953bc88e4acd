"""Tasks outside the package on the command line: found where the user names them, and loaded for no other reason."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml

from mathpipe.generate.tasks.external import external_tasks
from mathpipe.pipeline.cli import main
from mathpipe.pipeline.config.options import TaskCommand

GCD = '''"""Two integers -> their greatest common divisor."""
import math
from pathlib import Path
from pydantic import BaseModel, Field

with Path("loads.txt").open("a") as file:
    file.write("loaded\\n")

class Spec(BaseModel):
    max_int: int = Field(100, ge=2, le=10**9, description="largest integer")
    odd: bool = Field(False, description="odd integers only")

def example(rng, spec):
    a, b = rng.integers(1, spec.max_int, 2, endpoint=True).tolist()
    return (2 * a + 1, 2 * b + 1) if spec.odd else (a, b), math.gcd(2 * a + 1, 2 * b + 1) if spec.odd else math.gcd(a, b)

def answer_class(problem, answer):
    return answer
'''
TINY = {"encoder_layers": 1, "decoder_layers": 1, "encoder_width": 16, "decoder_width": 16} | {
    "encoder_heads": 2,
    "decoder_heads": 2,
}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """``call("show data/gcd")`` -> (exit code, stdout, stderr), as in a new process: no task is loaded."""
    (tmp_path / "gcd.py").write_text(GCD)
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> tuple[int, str, str]:
        for registry in ("_LOADED", "_LATEST", "_BY_DIGEST"):
            monkeypatch.setattr(external_tasks, registry, {})
        for module in [name for name in sys.modules if name.startswith(("mathpipe_task_", "installed_gcd"))]:
            monkeypatch.delitem(sys.modules, module)
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(shlex.split(line))
        printed = capsys.readouterr()
        return int(stop.value.code or 0), " ".join(printed.out.split()), " ".join(printed.err.split())

    return run


@pytest.fixture
def generated(call: Call) -> Path:
    assert call("generate --task ./gcd.py --n 1500 --valid 107 --test 107 --workers 0 --quiet")[0] == 0
    Path("loads.txt").write_text("")
    return Path("data/gcd")


def was_loaded() -> bool:
    return Path("loads.txt").exists() and bool(Path("loads.txt").read_text())


def test_help_shows_the_options_of_the_spec(call: Call) -> None:
    code, out, _ = call("generate --task ./gcd.py --help")
    assert code == 0
    assert "Options of gcd: --max-int COUNT Largest integer. [default: 100]" in out
    assert "--odd / --no-odd Odd integers only. [default: off]" in out
    assert call("generate --task ./gcd.py --max-int 1")[2].startswith("mathpipe: --max-int is invalid.")
    assert "Next: did you mean --max-int?" in call("generate --task ./gcd.py --max-in 7")[2]


def test_without_the_task_data_is_shown_and_checksums_verified(call: Call, generated: Path) -> None:
    code, out, _ = call(f"show {generated} -k 1 --json")
    shown = json.loads(out)
    assert (
        code == 0 and shown["spec"]["source_digest"] and shown["problems"][0].keys() >= {"problem", "solution", "class"}
    )
    code, out, err = call(f"verify {generated}")
    assert code == 2 and "every file has its size and checksum; no answer was recomputed" in out
    assert "gcd is a task outside mathpipe, and its code is not loaded" in err and "--task ./gcd.py" in err
    code, out, _ = call(f"verify {generated} --json --quiet")
    assert code == 2 and "its code is not loaded" in json.loads(out)["unverified"]
    assert call(f"export {generated} --out gcd.txt --quiet")[0] == 0
    for line in ("train --data data/gcd", "dedupe data/gcd data/distinct"):
        code, _, err = call(line)
        assert code == 2 and "its code is not loaded" in err
    assert not was_loaded()
    code, out, _ = call(f"verify {generated} --task ./gcd.py --quiet --workers 0")
    assert code == 0 and "complete and correct, 1,714 answers recomputed" in out and was_loaded()


@pytest.mark.parametrize("task", ["./gcd.py", "gcd:example", "gcd.py:example"])
def test_manifest_that_names_code_loads_none(call: Call, generated: Path, task: str) -> None:
    manifest = json.loads((generated / "manifest.json").read_text())
    manifest["spec"]["task"] = task
    (generated / "manifest.json").write_text(json.dumps(manifest))
    for line in (
        f"show {generated}",
        f"verify {generated}",
        f"train --data {generated}",
        f"export {generated} --out a.txt",
    ):
        call(line)
    assert not was_loaded()


def test_damage_is_reported_without_the_task(call: Call, generated: Path) -> None:
    shard = next((generated / "train").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    code, out, _ = call(f"verify {generated}")
    assert code == 1 and "its checksum differs" in out


def test_changed_code_is_refused_by_every_command(call: Call, generated: Path) -> None:
    Path("gcd.py").write_text(GCD + "# edited\n")
    for line in (
        "generate --task ./gcd.py --n 2k --workers 0",
        "verify data/gcd --task ./gcd.py",
        "train --data data/gcd --task ./gcd.py",
        "dedupe data/gcd data/distinct --task ./gcd.py",
    ):
        code, _, err = call(line)
        assert code == 2 and "Expected: source of digest" in err and "Got:" in err, line
        assert "restore that version of the file" in err, line


def test_stages_read_the_task_from_the_parameters(call: Call) -> None:
    """As DVC calls them: the task stands in the section ``generate`` alone. Training resumes; evaluations are by class."""
    model = {"model": TINY, "batch": 8, "warmup": 1, "valid_examples": 20, "eval_every": 2, "checkpoint_every": 2}
    sections = {
        "generate": {"task": "./gcd.py", "spec": {"max_int": 50}, "n": 1500, "valid": 107, "test": 107},
        "train": {**model, "steps": 4, "schedule": "constant"},
        "evaluate": {"limit": 50},
    }

    def write() -> None:
        Path("params.yaml").write_text(yaml.safe_dump(sections))

    write()
    assert call("generate --params params.yaml --on-mismatch restart --out data/default --workers 0")[0] == 0
    train = "train --params params.yaml --on-mismatch restart --data data/default --run runs/default"
    assert call(train)[0] == 0
    evaluate = "eval --params params.yaml --verbose --run runs/default --data data/default --out evaluation"
    code, out, err = call(evaluate)
    assert code == 0 and "classes_predicted" in out, err
    code, out, err = call("report evaluation")
    assert code == 2 and "its code is not loaded" in err
    assert call("report evaluation --task ./gcd.py")[0] == 0
    assert call("failures evaluation --task ./gcd.py -k 1 --where class>1")[0] == 0
    code, out, _ = call(train)  # a finished run
    assert code == 0 and "already finished" in out
    Path("gcd.py").write_text(GCD + "# edited\n")
    code, _, err = call(evaluate)
    assert code == 2 and "is not the code that this dataset was generated with" in err


def test_own_task_may_have_the_name_of_one_of_the_package(call: Call, generated: Path) -> None:
    """The two are different tasks: a dataset of one is none of the other."""
    assert call("generate --task gcd --n 1k --valid 9 --test 9 --workers 0 --out data/inside")[0] == 0
    Path("loads.txt").write_text("")
    assert call("verify data/inside --workers 0")[0] == 0 and not was_loaded()
    code, _, err = call("generate --task ./gcd.py --n 2k --workers 0 --out data/inside")
    assert code == 2 and "data/inside holds another dataset" in err
    assert call("verify data/gcd --task ./gcd.py --workers 0 --quiet")[0] == 0


def test_installed_task_has_a_name(call: Call, generated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("installed_gcd.py").write_text(GCD)
    Path("broken_task.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    names = {"installed-gcd": "installed_gcd", "broken-task": "broken_task"}
    entries = {name: EntryPoint(name, module, "mathpipe.tasks") for name, module in names.items()}
    monkeypatch.setattr(external_tasks, "entry_points", lambda group: list(entries.values()))
    assert call("generate --task installed-gcd --n 1500 --workers 0 --max-int 70 --quiet")[0] == 0
    assert call("verify data/installed-gcd --workers 0 --quiet")[0] == 0
    code, out, err = call("tasks")
    assert code == 0 and "installed-gcd" in out
    assert "broken_task cannot be loaded: broken_task.py, line 1" in err


def test_bench_estimates_an_own_task(call: Call) -> None:
    from mathpipe.generate.tasks.task_registry import load_task
    from mathpipe.pipeline.commands.bench import estimate_dataset

    spec = load_task("./gcd.py").make_spec({})
    estimate = estimate_dataset(spec, 1000, 1, Path())
    assert estimate.examples_per_second > 0 and spec.task == "gcd"


def test_every_command_with_a_dataset_takes_a_task() -> None:
    from mathpipe.pipeline.cli import COMMANDS, cli

    context = cli.make_context("mathpipe", [], resilient_parsing=True)
    for name in ("generate", "show", "verify", "dedupe", "export", "train", "eval", "report", "failures", "bench"):
        command = cli.get_command(context, name)
        assert command is not None and name in COMMANDS
        assert isinstance(command, TaskCommand) or any("--task" in parameter.opts for parameter in command.params), name
