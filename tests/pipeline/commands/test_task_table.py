"""The table of ``mathpipe tasks``: whole in a file, wrapped on a terminal that is too narrow."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner

from mathpipe.generate.tasks.task_registry import TASKS
from mathpipe.pipeline.commands.tasks import tasks


@pytest.mark.parametrize("columns", [60, 80, 120, 400])
def test_lines_fit_a_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert tasks.callback is not None
    tasks.callback(as_json=False)
    lines = capsys.readouterr().out.splitlines()[:-2]
    assert max(map(len, lines)) <= max(columns, 70)
    cells = " ".join(lines).split()
    assert set(TASKS) <= set(cells)
    assert ("source" in lines[0]) == (columns == 400)


def test_a_file_has_one_line_for_each_task() -> None:
    lines = CliRunner().invoke(tasks, env={"COLUMNS": "60"}).output.splitlines()
    assert [line.split()[0] for line in lines[1:-2]] == list(TASKS)
    assert all(len(line.split()) > 3 for line in lines)
