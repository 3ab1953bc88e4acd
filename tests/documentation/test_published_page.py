"""docs/published.md has the commands of each row of its table, and every command names a valid configuration."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.pipeline.cli import cli
from mathpipe.pipeline.commands.replicate import select
from mathpipe.pipeline.config.published_tables import experiments_of
from mathpipe.pipeline.config.resolution import ParameterSource, resolve, validate
from mathpipe.pipeline.config.stage_parameters import GenerateParams, resolve_generate
from mathpipe.train.config import TrainConfig

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "published.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S) for line in block.splitlines()]


def parsed(command: str) -> dict[str, Any]:
    """The parameters of a command line."""
    _, name, *arguments = shlex.split(command)
    with click.Context(cli) as context:
        subcommand = cli.get_command(context, name)
        assert subcommand is not None
        return dict(subcommand.make_context(name, arguments, parent=context).params)


def source(options: dict[str, Any]) -> ParameterSource:
    return ParameterSource(options.pop("preset"), options.pop("params"), options.pop("overrides"))


def generated(command: str) -> DatasetSpec:
    """The spec of the dataset of a ``generate`` command, whose sizes are valid, too."""
    options = parsed(command)
    source_of_command, url = source(options), options.pop("out")
    flags = {name: value for name, value in options.items() if name not in ("workers", "scheduler", "on_mismatch")}
    params: GenerateParams = resolve_generate(source_of_command, {k: v for k, v in flags.items() if k != "as_json"})
    spec = params.dataset_spec()
    assert params.layout(spec, url).rows > params.n > 0
    return spec


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("mathpipe generate")])
def test_datasets_resolve(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert generated(command).task in command or "--preset" in command


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("mathpipe train")])
def test_runs_resolve(command: str) -> None:
    config = validate(TrainConfig, resolve("train", source(parsed(command)), {}), "train")
    steps = re.search(r"-S steps=(\d+)", command)
    assert steps is None or config.steps == int(steps[1])


def test_every_run_has_its_dataset() -> None:
    outputs = {parsed(c)["out"] for c in COMMANDS if c.split()[1] in ("generate", "dedupe")}
    assert {parsed(c)["data"] for c in COMMANDS if c.startswith("mathpipe train")} <= outputs
    assert {c.split()[1] for c in COMMANDS} == {"generate", "dedupe", "train", "replicate"}


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("mathpipe replicate")])
def test_published_setups_are_experiments(command: str) -> None:
    options = parsed(command)
    (experiment,) = select(experiments_of(options["table"]), options["table"], options["rows"])
    assert options["size"] == "full" and experiment.sections("full")["generate"]["task"]


def test_every_row_of_the_table_has_a_section() -> None:
    table = PAGE.split("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \|", table, flags=re.MULTILINE)
    names = [name for name in rows if name != "task"]
    assert len(names) == len(re.findall(r"^## ", PAGE, flags=re.MULTILINE)) == 6
