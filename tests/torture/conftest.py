"""Helpers of the torture programme, and the failing S3 server and the Dask cluster of tests/generate."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

_FOLDER = Path(__file__).parent
sys.path.insert(0, str(_FOLDER / "support"))  # also for the child processes, which get this path


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_generate = _load("torture_generate_conftest", _FOLDER.parent / "generate" / "conftest.py")
new_cluster, s3_server, s3 = _generate.new_cluster, _generate.s3_server, _generate.s3


@pytest.fixture(scope="session")
def contents() -> Any:
    """``contents(folder)``: every file's bytes by its relative name."""
    return _generate.contents_of


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Many processes run at once, and equal weights need equal numbers of threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
