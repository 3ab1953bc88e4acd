"""mathpipe inside other programs: threads, scripts without a ``__main__`` guard, standard input, a running event loop."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from mathpipe.pipeline.cli import cli

SCRIPT = """
from mathpipe import Layout, get_task, make_dataset

print("script runs")
spec = get_task("add").make_spec({"dim": 2})
print(make_dataset(spec, Layout({"train": 20_000}, 10_000), "data", workers=2).built_rows)
"""
IN_EVENT_LOOP = """
import asyncio

async def main():
    exec(SCRIPT)

asyncio.run(main())
"""


def test_commands_run_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = []

    def run() -> None:
        arguments = ["generate", "--task", "add", "--dim", "2", "--n", "100", "--workers", "0"]
        results.append(CliRunner().invoke(cli, arguments))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results[0].exit_code == 0, results[0].output
    assert (tmp_path / "data" / "add" / "manifest.json").exists()


def run_program(folder: Path, *arguments: str, stdin: str = "") -> list[str]:
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, input=stdin, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
    return result.stdout.split("\n")


def test_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    assert run_program(tmp_path, "script.py") == ["script runs", "20000", ""]


def test_program_from_standard_input(tmp_path: Path) -> None:
    assert run_program(tmp_path, "-", stdin=SCRIPT) == ["script runs", "20000", ""]


def test_running_event_loop(tmp_path: Path) -> None:
    """As in a notebook, whose cells run inside an event loop."""
    assert run_program(tmp_path, "-", stdin=f"SCRIPT = {SCRIPT!r}\n{IN_EVENT_LOOP}") == ["script runs", "20000", ""]
