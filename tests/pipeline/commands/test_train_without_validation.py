"""``mathpipe train`` on datasets that lack a split."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mathpipe.datasets.errors import UserError
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.layout import Layout
from mathpipe.generate.tasks.task_registry import load_task
from mathpipe.pipeline.cli import cli


def train(tmp_path: Path, splits: dict[str, int], *settings: str) -> Result:
    spec = load_task("add").make_spec({"dim": 2})
    make_dataset(spec, Layout(splits, 10_000), str(tmp_path / "data"))
    overrides = [argument for setting in ("steps=2", "warmup=1", *settings) for argument in ("-S", setting)]
    arguments = ["train", "--data", str(tmp_path / "data"), "--run", str(tmp_path / "run"), *overrides]
    return CliRunner().invoke(cli, arguments)


@pytest.mark.parametrize("splits", [{"train": 500}, {"train": 500, "valid": 0}])
def test_training_goes_on_without_validation(tmp_path: Path, splits: dict[str, int]) -> None:
    result = train(tmp_path, splits)
    assert result.exit_code == 0, result.output
    assert "no validation:" in result.output and "finished at step 2" in result.output


def test_metric_of_validation_is_refused_without_validation(tmp_path: Path) -> None:
    result = train(tmp_path, {"train": 500}, "best_metric=accuracy")
    assert isinstance(result.exception, UserError) and "a validation split" in str(result.exception)


def test_dataset_without_training_examples_is_refused(tmp_path: Path) -> None:
    result = train(tmp_path, {"test": 50})
    assert isinstance(result.exception, UserError)
    assert "has no training examples" in str(result.exception) and "import the files with --train" in str(
        result.exception
    )
