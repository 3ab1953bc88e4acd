"""The options of ``mathpipe generate``: those of every task, and those of the named task."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from mathpipe.generate.tasks.task_registry import TASKS
from mathpipe.pipeline.cli import cli
from mathpipe.pipeline.config.stage_parameters import GenerateParams


def help_text(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["generate", *arguments, "--help"])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", TASKS)
def test_help_shows_the_options_of_the_task_alone(name: str) -> None:
    text = help_text("--task", name)
    shown = text.split(f"Options of {name}:")[1].split("\nOptions:")[0]
    for option in {name for task in TASKS.values() for name in task.options()}:
        flag = f"--{option.replace('_', '-')}"
        assert (f"  {flag} " in shown) == (option in TASKS[name].options()), flag


def test_help_without_a_task_names_the_next_step() -> None:
    text = help_text()
    assert "--dim" not in text.split("Options:")[1] and "mathpipe generate --task inverse --help" in text


def test_defaults_in_help_are_those_of_the_task() -> None:
    assert "[default: 1000]" in help_text("--task", "memory") and "[default: 1]" in help_text("--task=expm")
    assert "Smallest number of operators.  [default: 5]" in help_text("--task", "ode2")


@pytest.mark.parametrize(
    "arguments", [("--preset", "fast/eigenvalues"), ("-S", "generate.task=eigenvalues"), ("-Stask=eigenvalues",)]
)
def test_task_is_read_from_files_and_overrides(arguments: tuple[str, ...]) -> None:
    assert "Options of eigenvalues:" in help_text(*arguments)


def test_task_is_read_from_a_params_file(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("generate: {task: xor, spec: {bits: 3}}")
    assert "Options of xor:" in help_text("--params", str(file))


def test_options_do_not_collide() -> None:
    """A task's parameter must not have the name of an option that every task has."""
    command = cli.get_command(None, "generate")  # type: ignore[arg-type]
    common = {parameter.name for parameter in command.params} | set(GenerateParams.model_fields)
    for task in TASKS.values():
        assert not common & task.options().keys(), task.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--task inverse --spectrum laplace", "inverse has no option --spectrum"),
        ("--task xor --bit 3", "did you mean --bits"),
        ("--dim 3", "with --task also those of the task"),
        ("--task invers --dim 3", "did you mean inverse"),
    ],
)
def test_options_of_other_tasks_are_refused(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    from mathpipe.pipeline.cli import main

    with pytest.raises(SystemExit) as exit_info:
        main(["generate", *arguments.split()])
    assert exit_info.value.code == 2 and message in capsys.readouterr().err
