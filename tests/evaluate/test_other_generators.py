"""A model of one generator of integration may be evaluated on problems of another, and on no other task."""

from __future__ import annotations

from pathlib import Path

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.evaluate.run_dataset import dataset_of_run
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.task_registry import TASKS, get_task
from mathpipe.train.config import TrainConfig
from mathpipe.train.run.run_record import RunRecord


def test_generators_of_integration_ask_the_same() -> None:
    by_question: dict[str, list[str]] = {}
    for name in TASKS:
        by_question.setdefault(get_task(name).question, []).append(name)
    shared = [names for names in by_question.values() if len(names) > 1]
    assert shared == [["integration-bwd", "integration-fwd", "integration-ibp"]]


@pytest.mark.parametrize("task", ["integration-fwd", "integration-ibp", "ode1"])
def test_run_of_another_task(task: str, tmp_path: Path) -> None:
    spec = get_task("integration-bwd").make_spec({"max_operators": 5, "min_operators": 2}, seed=0)
    url = str(tmp_path / "backward")
    make_dataset(spec, Layout({"train": 20, "valid": 5, "test": 5}, spec.chunk_rows), url, workers=0)
    other = get_task(task).default_spec.model_dump(mode="json")
    record = RunRecord(
        "elsewhere", "digest", task, {"task": task, "problems": other}, "prefix", "prefix", 2, TrainConfig()
    )
    if task == "ode1":
        with pytest.raises(UserError, match="contains another task than the run was trained on"):
            dataset_of_run(record, tmp_path, url, "test")
    else:
        assert len(dataset_of_run(record, tmp_path, url, "test")) == 5
