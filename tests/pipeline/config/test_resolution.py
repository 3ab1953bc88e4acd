"""Counts, and where flags, files, overrides and defaults meet."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.errors import UserError
from mathpipe.pipeline.commands.presets import complete
from mathpipe.pipeline.config.counts import parse_count, show_count
from mathpipe.pipeline.config.resolution import Source, gather, preset_file, preset_names, validated
from mathpipe.pipeline.config.schema import MODELS, EvaluateParams, GenerateParams
from mathpipe.train.config import TrainConfig

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "count"),
    [("500", 500), ("10k", 10_000), ("50M", 50_000_000), ("1e6", 10**6), ("1.5M", 1_500_000), ("2G", 2 * 10**9), (7, 7),
     (1e6, 10**6),
     ("10_000", 10_000), ("10,000", 10_000), (" 3 K ", 3_000), ("0", 0), ("1e12", 10**12)],
)  # fmt: skip
def test_counts(text: object, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ten",
        "-5",
        -1,
        "1.5",
        "1e13",
        "1e99",
        "k",
        "5kk",
        "0x10",
        "1e-3",
        True,
        None,
        float("nan"),
        float("inf"),
        "٣",
    ],
)
def test_no_counts(text: object) -> None:
    with pytest.raises(ValueError):
        parse_count(text)


@given(st.integers(0, 10**12))
def test_shown_counts_read_back(n: int) -> None:
    assert parse_count(show_count(n)) == n


def params(tmp_path: Path, text: str) -> Source:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    return Source(file=file)


def generate(source: Source, **flags: object) -> GenerateParams:
    return validated(GenerateParams, gather("generate", source, flags), "generate")


def test_the_more_particular_source_wins(tmp_path: Path) -> None:
    source = params(tmp_path, "generate: {task: add, n: 20k, seed: 1, max_coeff: 3}")
    source = Source(file=source.file, overrides=("generate.seed=2", "max_coeff=4"))
    found = generate(source, max_coeff=5.0, valid=None)
    assert (found.task, found.n, found.seed, found.max_coeff, found.valid) == ("add", 20_000, 2, 5.0, 10_000)


def test_a_parameter_of_another_stage_is_refused() -> None:
    with pytest.raises(UserError, match=r"`mathpipe eval` knows no train.lr.*Next: `mathpipe train -S train.lr=1`"):
        gather("evaluate", Source(overrides=("train.lr=1",)), {})
    with pytest.raises(UserError, match=r"`mathpipe train` knows no evaluate.beam.*`mathpipe eval -S evaluate.beam=3`"):
        gather("train", Source(overrides=("evaluate.beam=3",)), {})


def test_flags_choose_another_way_to_give_dimensions(tmp_path: Path) -> None:
    source = params(tmp_path, "generate: {task: add, dim: 3}")
    spec = generate(source, min_dim="2", max_dim="6").spec()
    assert (spec.problems.min_dim, spec.problems.max_dim) == (2, 6)
    spec = generate(source, rows="2", cols="7").spec()
    assert spec.problems.largest_shape == (2, 7)
    with pytest.raises(UserError, match="not several"):
        generate(Source(), task="add", dim=3, rows=2, cols=2)
    with pytest.raises(UserError, match="go together"):
        generate(Source(), task="add", min_dim=2)


def test_a_preset_lies_below_the_file(tmp_path: Path) -> None:
    source = params(tmp_path, "generate: {n: 7k}")
    found = generate(Source(preset="inverse-2x2", file=source.file))
    assert (found.task, found.dim, found.n) == ("inverse", 2, 7_000)


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_right(name: str) -> None:
    for section, model in MODELS.items():
        validated(model, gather(section, Source(preset=name), {}), section)
    if gather("generate", Source(preset=name), {}):
        generate(Source(preset=name)).spec()
    else:
        assert "mathpipe import" in preset_file(name).read_text()
    assert preset_file(name).read_text().startswith("# ")


@pytest.mark.parametrize("name", [name for name in preset_names() if gather("generate", Source(preset=name), {})])
def test_a_printed_preset_serves_every_stage_of_dvc(name: str) -> None:
    printed = yaml.safe_load(complete(preset_file(name).read_text()))
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert {section for stage in stages.values() for section in stage["params"]} <= set(printed)
    for section, model in MODELS.items():
        own = gather(section, Source(preset=name), {})
        assert validated(model, printed[section], section) == validated(model, own, section)


def test_the_default_experiment_is_that_of_the_documented_defaults() -> None:
    """``params.yaml`` names values for people to change; they are those a bare ``mathpipe train`` takes."""
    source = Source(file=ROOT / "params.yaml")
    assert validated(TrainConfig, gather("train", source, {}), "train") == TrainConfig()
    assert validated(EvaluateParams, gather("evaluate", source, {}), "evaluate") == EvaluateParams()
    assert generate(source).spec().task == "add"


def test_nested_overrides() -> None:
    found = gather("train", Source(overrides=("train.model.encoder_width=64", "model.norm=post", "lr=2e-3")), {})
    config = validated(TrainConfig, found, "train")
    assert (config.model.encoder_width, config.model.norm, config.lr) == (64, "post", 2e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("generate: {task: add, sed: 1}", r"unknown parameter generate.sed.*did you mean generate.seed"),
        ("generte: {task: add}", r"unknown section 'generte'.*did you mean generate"),
        ("generate: {task: add, n: many}", r"generate.n: 'many' is no count"),
        ("generate: {task: add, entries: cauchy}", r"generate.entries is not right.*'uniform' or 'gaussian'.*cauchy"),
        ("generate: {}", r"generate.task is not given.*--task"),
        ("generate: [1]", "holds no sections"),
        ("generate: {", "is no YAML"),
        ("generate: {task: add, max_coeff: 0}", "generate.max_coeff is not right"),
        ("generate: {task: add, max_coeff: 2.5, min_coeff: 1}", "max_coeff is an integer"),
    ],
)
def test_wrong_parameters_are_explained(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        generate(params(tmp_path, text)).spec()
    assert "\n" not in str(error.value)


def test_wrong_training_parameters_are_explained() -> None:
    for override, message in [
        ("train.modl.norm=pre", "did you mean train.model"),
        ("model.norms=pre", "did you mean train.model.norm"),
    ]:
        with pytest.raises(UserError, match=message):
            validated(TrainConfig, gather("train", Source(overrides=(override,)), {}), "train")
    with pytest.raises(UserError, match="key=value"):
        gather("train", Source(overrides=("lr",)), {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        gather("train", Source(file=tmp_path / "none.yaml"), {})
    with pytest.raises(UserError, match="did you mean inverse-2x2"):
        gather("train", Source(preset="inverse-2x3"), {})


def test_dvc_stages_pass_what_the_design_says() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert list(stages) == ["generate", "train", "evaluate"]
    for name, stage in stages.items():
        assert "--params params.yaml" in stage["cmd"] and stage["params"] == [name]
    assert all("--on-mismatch restart" in stages[name]["cmd"] for name in ("generate", "train"))
