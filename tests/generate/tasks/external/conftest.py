"""Files of tasks outside the package, and a process that has loaded none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mathpipe.generate.tasks.external import external_tasks

WriteTask = Callable[..., str]


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test begins as a new process does; the working directory is empty."""
    for registry in ("_LOADED", "_LATEST", "_BY_DIGEST"):
        monkeypatch.setattr(external_tasks, registry, {})
    for module in [name for name in sys.modules if name.startswith("mathpipe_task_")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write_task(tmp_path: Path) -> WriteTask:
    """``write_task(text, name="flip.py")`` -> the path of the file."""

    def write(text: str, name: str = "flip.py") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write
