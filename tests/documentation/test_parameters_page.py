"""docs/reference/parameters.md is what the models of the parameters say, and each parameter is explained."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel

from mathpipe.pipeline.config.stage_parameters import EvaluateParams, GenerateParams
from mathpipe.train.config import BackboneConfig, ModelConfig, TrainConfig

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_parameters", DOCS / "make_parameters.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_up_to_date(generator: ModuleType) -> None:
    assert generator.page() == (DOCS / "reference" / "parameters.md").read_text(encoding="utf-8"), (
        "run python docs/make_parameters.py"
    )


@pytest.mark.parametrize("model", [GenerateParams, TrainConfig, ModelConfig, BackboneConfig, EvaluateParams])
def test_every_parameter_is_explained(model: type[BaseModel]) -> None:
    unexplained = {name for name, field in model.model_fields.items() if not field.description} - {"spec"}
    assert unexplained == set()


def test_types_bounds_and_defaults() -> None:
    """A few rows as a reader expects them."""
    page = (DOCS / "reference" / "parameters.md").read_text(encoding="utf-8")
    for row in (
        "| `lr` | number, above 0, at most 1 | `0.003` |",
        "| `clip` | number, above 0, or null | `1` |",
        "| `model.norm` | `pre`, `post` | `pre` |",
        "| `beam` | integer, 1 to 1,000 | `1` |",
        "| `task` | text | required |",
    ):
        assert row in page
