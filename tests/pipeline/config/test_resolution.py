"""Counts, and how flags, files, overrides and defaults are resolved."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.errors import UserError
from mathpipe.pipeline.commands.presets import with_evaluation_defaults
from mathpipe.pipeline.config.counts import format_count, parse_count
from mathpipe.pipeline.config.preset_catalogue import preset_names, preset_text
from mathpipe.pipeline.config.resolution import ParameterSource, resolve, validate
from mathpipe.pipeline.config.stage_parameters import MODELS, EvaluateParams, GenerateParams, resolve_generate
from mathpipe.train.config import TrainConfig

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "count"),
    [("500", 500), ("10k", 10_000), ("50M", 50_000_000), ("1e6", 10**6), ("1.5M", 1_500_000), ("2G", 2 * 10**9), (7, 7),
     (1e6, 10**6),
     ("10_000", 10_000), ("10,000", 10_000), (" 3 K ", 3_000), ("0", 0), ("1e12", 10**12)],
)  # fmt: skip
def test_parse_count(text: object, count: int) -> None:
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
def test_parse_count_rejects_invalid_text(text: object) -> None:
    with pytest.raises(ValueError):
        parse_count(text)


@given(st.integers(0, 10**12))
def test_format_count_round_trip(n: int) -> None:
    assert parse_count(format_count(n)) == n


def params(tmp_path: Path, text: str) -> ParameterSource:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    return ParameterSource(file=file)


def generate(source: ParameterSource, **flags: object) -> GenerateParams:
    return resolve_generate(source, flags)


def test_precedence_of_sources(tmp_path: Path) -> None:
    source = params(tmp_path, "generate: {task: add, n: 20k, seed: 1, spec: {max_coeff: 3, dim: 3}}")
    source = ParameterSource(file=source.file, overrides=("generate.seed=2", "spec.max_coeff=4"))
    resolved = generate(source, max_coeff=5.0, valid=None)
    assert (resolved.task, resolved.n, resolved.seed, resolved.valid) == ("add", 20_000, 2, 10_000)
    assert resolved.spec == {"max_coeff": 5.0, "dim": 3}


def test_override_of_other_section_is_rejected() -> None:
    with pytest.raises(
        UserError, match=r"`mathpipe eval` has no parameter train.lr.*Next: `mathpipe train -S train.lr=1`"
    ):
        resolve("evaluate", ParameterSource(overrides=("train.lr=1",)), {})
    with pytest.raises(
        UserError, match=r"`mathpipe train` has no parameter evaluate.beam.*`mathpipe eval -S evaluate.beam=3`"
    ):
        resolve("train", ParameterSource(overrides=("evaluate.beam=3",)), {})


def test_dimension_flags_replace_those_of_the_file(tmp_path: Path) -> None:
    source = params(tmp_path, "generate: {task: add, spec: {dim: 3}}")
    spec = generate(source, min_dim="2", max_dim="6").dataset_spec()
    assert (spec.problems.min_dim, spec.problems.max_dim) == (2, 6)
    spec = generate(source, rows="2", cols="7").dataset_spec()
    assert spec.problems.largest_shape == (2, 7)
    with pytest.raises(UserError, match="give only one"):
        generate(ParameterSource(), task="add", dim=3, rows=2, cols=2).dataset_spec()
    with pytest.raises(UserError, match="give both min_dim"):
        generate(ParameterSource(), task="add", min_dim=2).dataset_spec()


def test_file_overrides_preset(tmp_path: Path) -> None:
    source = params(tmp_path, "generate: {n: 7k}")
    resolved = generate(ParameterSource(preset="inverse-2x2", file=source.file))
    assert (resolved.task, resolved.spec, resolved.n) == ("inverse", {"dim": 2}, 7_000)


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_valid(name: str) -> None:
    for section, model in MODELS.items():
        validate(model, resolve(section, ParameterSource(preset=name), {}), section)
    if resolve("generate", ParameterSource(preset=name), {}):
        generate(ParameterSource(preset=name)).dataset_spec()
    else:
        assert "mathpipe import" in preset_text(name)
    assert preset_text(name).startswith("# ")


@pytest.mark.parametrize(
    "name", [name for name in preset_names() if resolve("generate", ParameterSource(preset=name), {})]
)
def test_printed_preset_has_every_section_of_dvc_stages(name: str) -> None:
    printed = yaml.safe_load(with_evaluation_defaults(preset_text(name)))
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert {section for stage in stages.values() for section in stage["params"]} <= set(printed)
    for section, model in MODELS.items():
        expected = resolve(section, ParameterSource(preset=name), {})
        assert validate(model, printed[section], section) == validate(model, expected, section)


def test_params_yaml_equals_documented_defaults() -> None:
    """``params.yaml`` lists values for users to change; they equal the defaults of ``mathpipe train``."""
    source = ParameterSource(file=ROOT / "params.yaml")
    assert validate(TrainConfig, resolve("train", source, {}), "train") == TrainConfig()
    assert validate(EvaluateParams, resolve("evaluate", source, {}), "evaluate") == EvaluateParams()
    assert generate(source).dataset_spec().task == "add"


def test_conflict_names_the_next_step() -> None:
    with pytest.raises(UserError, match=r"warmup 100 is longer than the run's 20 steps\. Next: .*-S warmup=2\b"):
        validate(TrainConfig, resolve("train", ParameterSource(overrides=("steps=20",)), {}), "train")
    values = resolve("train", ParameterSource(overrides=("steps=20", "warmup=2")), {})
    assert validate(TrainConfig, values, "train").warmup == 2


def test_nested_overrides_are_resolved() -> None:
    values = resolve(
        "train", ParameterSource(overrides=("train.model.encoder_width=64", "model.norm=post", "lr=2e-3")), {}
    )
    config = validate(TrainConfig, values, "train")
    assert (config.model.encoder_width, config.model.norm, config.lr) == (64, "post", 2e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("generate: {task: add, sed: 1}", r"unknown parameter generate.sed.*did you mean generate.seed"),
        ("generte: {task: add}", r"unknown section 'generte'.*did you mean generate"),
        ("generate: {task: add, n: many}", r"generate.n: 'many' is not a count"),
        (
            "generate: {task: add, spec: {entries: cauchy}}",
            r"generate.spec.entries is invalid.*'uniform' or 'gaussian'.*cauchy",
        ),
        ("generate: {}", r"generate.task is missing.*--task"),
        ("generate: [1]", "has no sections"),
        ("generate: {", "is not valid YAML"),
        ("generate: {task: add, spec: {max_coeff: 0}}", "generate.spec.max_coeff is invalid"),
        ("generate: {task: add, dim: 3}", "dim is a parameter of the task: write generate.spec.dim"),
        ("generate: {task: add, spec: {spectra: 3}}", r"unknown parameter generate.spec.spectra: add has none"),
        ("generate: {task: xor, spec: {dim: 3}}", r"xor has none of this name.*one of bits, masked"),
        ("generate: {task: add, spec: {max_coeff: 2.5, min_coeff: 1}}", "max_coeff must be an integer"),
    ],
)
def test_invalid_parameters_are_reported(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        generate(params(tmp_path, text)).dataset_spec()
    assert "\n" not in str(error.value)


def test_invalid_training_parameters_are_reported() -> None:
    for override, message in [
        ("train.modl.norm=pre", "did you mean train.model"),
        ("model.norms=pre", "did you mean train.model.norm"),
    ]:
        with pytest.raises(UserError, match=message):
            validate(TrainConfig, resolve("train", ParameterSource(overrides=(override,)), {}), "train")
    with pytest.raises(UserError, match="key=value"):
        resolve("train", ParameterSource(overrides=("lr",)), {})


def test_missing_file_or_preset_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        resolve("train", ParameterSource(file=tmp_path / "none.yaml"), {})
    with pytest.raises(UserError, match="did you mean inverse-2x2"):
        resolve("train", ParameterSource(preset="inverse-2x3"), {})


def test_dvc_stages_depend_on_their_sections() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert list(stages) == ["generate", "train", "evaluate"]
    for name, stage in stages.items():
        assert "--params params.yaml" in stage["cmd"] and stage["params"] == [name]
    assert all("--on-mismatch restart" in stages[name]["cmd"] for name in ("generate", "train"))
