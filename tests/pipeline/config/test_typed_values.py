"""Values of flags, files and ``-S`` are read by the type of their field: counts alike everywhere, decimal, without YAML 1.1."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from mathpipe.datasets.errors import UserError
from mathpipe.generate.tasks.task_registry import TASKS
from mathpipe.pipeline.cli import COMMANDS, cli
from mathpipe.pipeline.config.counts import CountRange, parse_count, parse_integer
from mathpipe.pipeline.config.preset_catalogue import file_preset_names, preset_sections
from mathpipe.pipeline.config.resolution import ParameterSource, resolve, validate
from mathpipe.pipeline.config.stage_parameters import MODELS, resolve_generate
from mathpipe.pipeline.config.typed_values import is_integer, read_values
from mathpipe.pipeline.config.yaml_text import PlainText, load_text, load_values
from mathpipe.train.config import TrainConfig


def train_config(*overrides: str) -> TrainConfig:
    return validate(TrainConfig, resolve("train", ParameterSource(overrides=overrides), {}), "train")


def train_config_of_file(folder: Path, text: str) -> TrainConfig:
    file = folder / "params.yaml"
    file.write_text(f"train:\n  {text}\n", encoding="utf-8")
    return validate(TrainConfig, resolve("train", ParameterSource(file=file), {}), "train")


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("steps=20k", 20_000),
        ("eval_every=1k", 1000),
        ("batch=1e3", 1000),
        ("seed=010", 10),
        ("seed=0", 0),
        ("steps=1.5k", 1500),
        ("steps=1,500", 1500),
        ("label=no", "no"),
        ("label=010", "010"),
        ("label=[a", "[a"),
        ("label=1:30", "1:30"),
        ("label={a: b}", "{a: b}"),
        ("label=2026-01-02", "2026-01-02"),
        ("label=null", None),
        ("label=", None),
        ("keep_every=~", None),
        ("lr=1e-3", 1e-3),
        ("lr=.01", 0.01),
        ("compile=true", True),
        ("compile=off", False),
    ],
)
def test_override_and_file_are_read_by_the_type_of_the_field(tmp_path: Path, override: str, value: object) -> None:
    name, _, text = override.partition("=")
    parsed = getattr(train_config(override), name)
    assert (parsed, type(parsed)) == (value, type(value))
    if text not in ("[a", "{a: b}"):  # collections in YAML
        parsed = getattr(train_config_of_file(tmp_path, f"{name}: {text}"), name)
        assert (parsed, type(parsed)) == (value, type(value))


def test_quoted_null_is_text(tmp_path: Path) -> None:
    assert train_config_of_file(tmp_path, 'label: "null"').label == "null"
    assert train_config_of_file(tmp_path, "label: null").label is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps=1:30", r"train\.steps is invalid\. Expected: an integer such as 500.* Got: '1:30'"),
        ("steps=1,5k", "a comma only separates thousands: write 1500 or 1.5k"),
        ("steps=2,5", "a comma only separates thousands"),
        ("steps=1.000", "may be a thousand times more"),
        ("seed=0x10", r"Got: '0x10'"),
        ("steps=true", r"Got: 'true'"),
        ("steps=0", "greater than or equal to 1"),
        ("steps=-5", "greater than or equal to 1"),
        ("seed=[1", r"train\.seed is invalid"),
        ("model={norm: [", r"train\.model is not valid YAML"),
        ("model.tokens=[a, b", r"train\.model\.tokens is not valid YAML"),
        ("model={norm: pre, norm: post}", "the key norm occurs twice"),
        ("model.encoder_width=1k5", r"train\.model\.encoder_width is invalid"),
    ],
)
def test_invalid_values_are_errors_of_one_line(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        train_config(override)
    assert "\n" not in str(error.value)


def test_collections_are_read_by_the_types_of_their_items() -> None:
    config = train_config("model={encoder_width: 1k, encoder_heads: 010, vocabulary: joint, tokens: [no, 010, 1e3]}")
    assert (config.model.encoder_width, config.model.encoder_heads) == (1000, 10)
    assert config.model.tokens == ("no", "010", "1e3")


def test_options_of_a_task_are_read_alike_in_flags_files_overrides_and_extra_tests(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("generate: {task: integration-bwd, n: 02k, seed: 010, spec: {max_int: 1k, max_operators: 010}}")
    from_file = resolve_generate(ParameterSource(file=file), {})
    overrides = ("task=integration-bwd", "n=02k", "seed=010", "spec.max_int=1k", "spec.max_operators=010")
    from_overrides = resolve_generate(ParameterSource(overrides=overrides), {})
    flags = {"task": "integration-bwd", "n": "02k", "seed": "010", "max_int": "1k", "max_operators": "010"}
    from_flags = resolve_generate(ParameterSource(), flags)
    specs = [params.dataset_spec() for params in (from_file, from_overrides, from_flags)]
    assert {params.n for params in (from_file, from_overrides, from_flags)} == {2000}
    assert (specs[0].seed, specs[0].problems.max_int, specs[0].problems.max_operators) == (10, 1000, 10)  # type: ignore[attr-defined]
    assert len({spec.fingerprint for spec in specs}) == 1
    extra = resolve_generate(ParameterSource(), {**flags, "extra_test": ["far:max_int=2k,n=1k"]})
    spec = extra.dataset_spec()
    assert extra.split_specs(spec)["test-far"].problems.max_int == 2000  # type: ignore[attr-defined]
    assert extra.layout(spec, "data/none").splits["test-far"] == 1000


@pytest.mark.parametrize("name", ["n", "valid", "test"])
def test_comma_that_separates_no_thousands_is_refused_in_sizes(name: str) -> None:
    for text in ("1,5k", "2,5", "1,0000", ",500", "1,500k", "1.000"):
        with pytest.raises(UserError, match=rf"generate\.{name}: '{re.escape(text)}'"):
            resolve_generate(ParameterSource(), {"task": "add", name: text})
    assert resolve_generate(ParameterSource(), {"task": "add", name: "1,000,000"}).n == 10**6


@pytest.mark.parametrize(
    "text", ["1,5k", "2,5", "1,00", "1,0000", ",1", "1,", "1,000.5k", "1_", "_1", "1.000", "1.000.000", "9" * 50]
)
def test_ambiguous_counts_are_refused(text: str) -> None:
    for parse in (parse_count, parse_integer):
        with pytest.raises(ValueError):
            parse(text)


@pytest.mark.parametrize(
    ("text", "value"), [("-3", -3), ("+7", 7), ("1_000", 1000), ("12,345,678", 12_345_678), ("2.5k", 2500)]
)
def test_parse_integer(text: str, value: int) -> None:
    assert parse_integer(text) == value


def integer_fields(model: type[BaseModel]) -> list[str]:
    return [name for name, field in model.model_fields.items() if is_integer(field.annotation)]


@pytest.mark.parametrize(
    "model",
    [*MODELS.values(), *dict.fromkeys(task.spec_model for task in TASKS.values())],
    ids=lambda model: model.__name__,
)
def test_every_integer_field_reads_counts(model: type[BaseModel]) -> None:
    """Each integer field takes 1e1 and 010 as 10, unless its own validator reads the text."""
    for name in integer_fields(model):
        for text in ("1e1", "010"):
            value = read_values(model, {name: PlainText(text)}, "section")[name]
            metadata = model.model_fields[name].metadata
            assert value == 10 or (
                any(hasattr(validator, "func") for validator in metadata) and parse_count(value) == 10
            )


def options() -> Iterator[tuple[str, click.Parameter]]:
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        yield from ((name, parameter) for parameter in command.params)


def test_no_option_reads_integers_in_another_way() -> None:
    integers = [
        (command, parameter.name)
        for command, parameter in options()
        if isinstance(parameter.type, click.types.IntParamType) and not isinstance(parameter.type, CountRange)
    ]
    assert integers == []
    assert sum(isinstance(parameter.type, CountRange) for _, parameter in options()) > 10


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "--task", "add", "--n", "1,5k"],
        ["generate", "--task", "add", "--dim", "2,5"],
        ["generate", "--task", "add", "--workers", "1,5"],
        ["bench", "--n", "1,5k"],
        ["show", "data", "-k", "1,5"],
        ["show", "data", "--start", "1,5k"],
        ["import", "--task", "add", "--out", "x", "--max-bad", "1,5k"],
        ["failures", "run", "-k", "1,5"],
        ["score", "--task", "gcd", "x", "--workers", "1,5"],
        ["replicate", "lawt-tasks", "--seeds", "1,5"],
        ["eval", "--limit", "1,5k"],
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[-2:]),
)
def test_every_command_refuses_a_comma_that_separates_no_thousands(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments)
    text = str(result.exception) + result.output
    assert result.exit_code != 0 and "a comma only separates thousands" in text


def test_flags_take_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [
        "generate",
        "--task",
        "add",
        "--dim",
        "02",
        "--n",
        "1.1k",
        "--valid",
        "0",
        "--test",
        "1e1",
        "--seed",
        "010",
    ]
    result = CliRunner().invoke(cli, [*arguments, "--workers", "0", "--json"])
    assert result.exit_code == 0, result.output
    shown = CliRunner().invoke(cli, ["show", "data/add", "-k", "1e0", "--start", "0"])
    assert "seed 10," in shown.output and "1,100 examples" in shown.output and "\ntest row 0" in shown.output


def test_yaml_files_of_our_own_are_read_by_the_core_schema() -> None:
    text = "{a: 010, b: no, c: 1:30, d: 1e3, e: null, f: true, g: 0x10, h: .inf, i: '5', j: [1, ~], k: 1.5, l: 1_000}"
    assert load_values(text, "text") == {
        "a": 10, "b": "no", "c": "1:30", "d": 1000.0, "e": None, "f": True, "g": "0x10", "h": float("inf"), "i": "5",
        "j": [1, None], "k": 1.5, "l": "1_000",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["[a", "{a: 1, a: 2}", "a: b: c", "[" * 10_000, "!!python/object:os.system {}", "&a [*a, {[]: 1}]"]
)
def test_invalid_yaml_is_an_error_of_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"^FILE is not valid YAML") as error:
        load_text(text, "FILE")
    assert "\n" not in str(error.value)


def test_files_keep_anchors_merges_and_byte_order_marks(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("\ufefftrain: &base {steps: 2k, lr: 1e-3}\nevaluate:\ngenerate: {}\n", encoding="utf-8")
    values: dict[str, Any] = resolve("train", ParameterSource(file=file), {})
    assert validate(TrainConfig, values, "train").steps == 2000
    assert load_text("a: &x {b: 1}\nc: {<<: *x, d: 2}", "text")["c"] == {"b": "1", "d": "2"}


@pytest.mark.parametrize("name", file_preset_names())
def test_presets_hold_no_text_that_other_readers_of_yaml_take_differently(name: str) -> None:
    """A preset printed as params.yaml is read by DVC (YAML 1.2) and by PyYAML (1.1): the same values."""
    import yaml

    from mathpipe.pipeline.config.preset_catalogue import preset_text

    loaded = yaml.safe_load(preset_text(name))
    for section, model in MODELS.items():
        if loaded.get(section) and section != "generate":
            assert validate(model, loaded[section], section) == validate(model, preset_sections(name)[section], section)
