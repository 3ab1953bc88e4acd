"""Small datasets built once per session, and a fixed number of threads."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks import task_registry as registry

settings.register_profile("tests", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
torch.set_num_threads(int(os.environ.get("MATHPIPE_TEST_THREADS", "2")))

MakeDataset = Callable[..., Path]


@pytest.fixture(scope="session")
def make_small(tmp_path_factory: pytest.TempPathFactory) -> MakeDataset:
    """``make_small("add", dim=3, train=2_000)`` -> the directory of a dataset in chunks of 500 rows, built in this process."""

    def make(
        task: str, *, dim: int = 3, train: int = 2_000, valid: int = 500, test: int = 500, **problems: object
    ) -> Path:
        matrix_spec = MatrixSpec.model_validate({"min_dim": dim, "max_dim": dim, **problems})
        spec = DatasetSpec(task=task, problems=matrix_spec, chunk_rows=500)
        url = tmp_path_factory.mktemp("data") / task
        make_dataset(spec, Layout({"train": train, "valid": valid, "test": test}, 1_000), str(url), workers=0)
        return url

    return make


@pytest.fixture(scope="session")
def addition(make_small: MakeDataset) -> Path:
    """2,000 training rows of 3x3 addition; read only."""
    return make_small("add")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``tests/toy_expressions.py``; its sequence task is registered for one test."""
    spec = importlib.util.spec_from_file_location("toy_expressions", Path(__file__).parent / "toy_expressions.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "toy_expressions", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(registry.TASKS, "toy-reverse", module.TASK)
    return module


@pytest.fixture
def browser() -> Iterator[Any]:
    """A chromium, driven by playwright; tests that need it are skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    quiet = ("no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking", "disable-sync")
    with api.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=chromium, args=[f"--{name}" for name in quiet])
        yield launched
        launched.close()
