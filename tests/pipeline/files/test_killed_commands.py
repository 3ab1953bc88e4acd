"""Commands killed with SIGKILL at each sync of a file: the same command, repeated, ends with what an unkilled one writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mathpipe.datasets.io.atomic_directories import new_directory
from mathpipe.datasets.io.atomic_files import open_output
from mathpipe.datasets.io.file_locks import lock_path
from mathpipe.pipeline.commands import score

Run = Callable[..., str]
KILLED = """
import os, signal, sys
from mathpipe.pipeline.cli import main
calls, fsync = [0], os.fsync
def kill_at(handle):
    calls[0] += 1
    if calls[0] == {k}:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
os.fsync = kill_at
main(sys.argv[1:])
"""
ANSWERS = '{"problem": [12, 18], "answer": 6}\n{"problem": [12, 18], "answer": 5}\n'
LINES = "[[1, 2]]\t[[1], [2]]\n[[3, 4]]\t[[3], [4]]\n"
COMMANDS: dict[str, tuple[tuple[object, ...], str]] = {
    "export-model": (("export-model", "runs/add", "--out", "out"), "out"),
    "import-model": (("import-model", "models/add", "--out", "out"), "out"),
    "export": (("export", "data/add", "--out", "out/add.txt", "--quiet"), "out"),
    "import": (("import", "--task", "transpose", "--train", "lines.txt", "--out", "out", "--quiet"), "out"),
    "dedupe": (("dedupe", "data/add", "out", "--workers", 0, "--quiet"), "out"),
    "score": (("score", "--task", "gcd", "answers.jsonl", "--out", "out/results.jsonl", "--quiet"), "out"),
    "report": (("report", "runs/add"), "runs/add/evaluation/test.first-5"),
}
CASES = [
    *(("export-model", 1), ("export-model", 3), ("import-model", 1), ("import-model", 3), ("export", 1)),
    *(("import", 1), ("import", 3), ("dedupe", 1), ("dedupe", 6), ("report", 3), ("score", 1)),
]


def files_of(folder: Path) -> dict[str, bytes]:
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if path.suffix not in (".pt", ".jsonl", ".html")}


def last_sync(line: list[str], directory: Path) -> int:
    """The number of files and directories that a command syncs."""
    counted = "import atexit; atexit.register(lambda: print(calls[0])); main(sys.argv[1:])"
    script = KILLED.format(k=-1).replace("main(sys.argv[1:])", counted)
    done = subprocess.run(
        [sys.executable, "-c", script, *line], cwd=directory, capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "k"), [*CASES, *((name, -1) for name in ("import-model", "export", "dedupe", "report"))]
)
def test_killed_command_is_repeated(
    run: Run, project: Path, name: str, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``k``: the sync at which the command is killed; -1: the last one, after which import and export-model are finished."""
    monkeypatch.chdir(project)
    (project / "lines.txt").write_text(LINES)
    (project / "answers.jsonl").write_text(ANSWERS)
    if name == "import-model":
        run("export-model", "runs/add", "--out", "models/add")
    if name == "report":
        run("eval", "--run", "runs/add", "--limit", 5)
    command, folder = COMMANDS[name]
    line = [str(argument) for argument in command]
    if name != "report":
        run(*line)
        expected = files_of((project / folder).rename(project / "expected"))
    else:
        expected = files_of(project / folder)
    if k == -1:
        k = last_sync(line, project)
        if name != "report":
            (project / folder).rename(project / "once")
    script = KILLED.format(k=k)
    killed = subprocess.run([sys.executable, "-c", script, *line], cwd=project, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run(*line)
    if name == "report":  # the rebuilt metrics have no times
        assert files_of(project / folder).keys() == expected.keys()
    else:
        assert files_of(project / folder) == expected
    assert not [p for p in project.rglob("*") if ".writing-" in p.name or p.name.startswith("results-")]


def test_leftovers_of_killed_writers_are_removed_but_not_those_of_live_ones(tmp_path: Path) -> None:
    dead, live, other = (tmp_path / f".out.writing-{name}" for name in ("0123abcd", "4567abcd", "notes"))
    for folder in (dead, live, other):
        folder.mkdir()
    with lock_path(live), new_directory(tmp_path / "out") as temporary:
        (temporary / "a").write_text("1")
        assert not dead.exists() and live.exists() and other.exists()
    assert (tmp_path / "out" / "a").exists()


def test_leftovers_of_one_file(tmp_path: Path) -> None:
    """Only those of the same name that no writer has open."""
    dead, other = tmp_path / ".a.txt.writing-0123abcd", tmp_path / ".a.txt.writing-notes"
    another = tmp_path / ".b.txt.writing-0123abcd"
    for path in (dead, other, another):
        path.write_text("x")
    with open_output(str(tmp_path / "a.txt")) as first:
        first.write(b"first")
        assert not dead.exists()
        with open_output(str(tmp_path / "a.txt")) as second:  # it leaves the file of the first, which is in use
            second.write(b"second")
        assert (tmp_path / "a.txt").read_bytes() == b"second"
    assert (tmp_path / "a.txt").read_bytes() == b"first"
    assert sorted(p.name for p in tmp_path.iterdir()) == [other.name, another.name, "a.txt"]


def test_a_pipe_is_written_at_once(tmp_path: Path) -> None:
    """It is not replaced by a file, and neither is a device."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with open_output(str(pipe)) as file:
        file.write(b"text")
    assert os.read(reader, 10) == b"text" and pipe.is_fifo()
    os.close(reader)


def test_results_of_score_replace_a_file_only_when_complete(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers and results may be the same file; after an error the earlier one is whole."""
    file = tmp_path / "answers.jsonl"
    file.write_text(ANSWERS)
    run("score", "--task", "gcd", file, "--out", file, "--quiet")
    results = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["correct"] for line in results] == [True, False]
    (tmp_path / "more.jsonl").write_text(ANSWERS)
    before = file.read_bytes()
    monkeypatch.setattr(score, "_write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("score", "--task", "gcd", tmp_path / "more.jsonl", "--out", file, "--quiet")
    assert file.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["answers.jsonl", "more.jsonl"]


def test_leftovers_stay_where_nothing_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On such a file system nobody can know whether they are in use."""
    import fcntl

    def unsupported(handle: int, operation: int) -> None:
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    live = tmp_path / ".out.writing-4567abcd"
    live.mkdir()
    with new_directory(tmp_path / "out"):
        assert live.exists()


def test_temporary_files_of_the_root_block_nothing(run: Run, tmp_path: Path) -> None:
    """A kill while ``manifest.json`` or ``evaluation.json`` is written leaves one."""
    (tmp_path / "lines.txt").write_text(LINES)
    out = tmp_path / "out"
    out.mkdir()
    (out / ".manifest.json.writing-0123abcd").write_text("{")
    run("import", "--task", "transpose", "--train", tmp_path / "lines.txt", "--out", out, "--quiet")
    run("dedupe", out, tmp_path / "copy", "--workers", 0, "--quiet")
    (tmp_path / "copy" / "manifest.json").unlink()
    (tmp_path / "copy" / ".manifest.json.writing-0123abcd").write_text("{")
    run("dedupe", out, tmp_path / "copy", "--workers", 0, "--quiet")
    assert not list(tmp_path.rglob(".*writing*"))
