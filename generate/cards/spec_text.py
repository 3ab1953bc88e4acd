"""A spec in words: the meaning and value of each parameter, and the command that makes the dataset again."""

from __future__ import annotations

import re
import shlex
from typing import Any

from pydantic import BaseModel

from mathpipe.datasets.format.directory import EXTRA_PREFIX
from mathpipe.datasets.format.manifest import Manifest
from mathpipe.generate.tasks.task import Task

_HINT = re.compile(r",? *(\[default:[^]]*\]|with --[a-z-]+(?= *[;,]|$))")  # of descriptions, for the command line


def parameter_rows(task: Task[Any], spec: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, meaning) of each parameter of a stored spec that has a value."""
    options = task.options()
    return [
        (name, format_value(value), _HINT.sub("", options[name].description or "").strip())
        for name, value in option_values(task, spec).items()
        if value not in (None, "", ())
    ]


def option_values(task: Task[Any], spec: dict[str, Any]) -> dict[str, Any]:
    """The value of each option of the task in a stored spec."""
    problems = task.spec_model.model_validate(spec["problems"])
    return {name: value for name, value in problems.option_values().items() if name in task.options()}


def format_value(value: Any) -> str:
    """A value as the command line reads it: several names joined by commas, numbers without trailing zeros."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, tuple | list):
        return ",".join(map(format_value, value))
    return str(value.model_dump_json() if isinstance(value, BaseModel) else value)


def generate_command(task: Task[Any], manifest: Manifest) -> str:
    """The command that makes an equal dataset, on several lines; a task outside the package is named by its file."""
    reference = task.name if task.origin is None else f"./{task.name}.py"
    sizes = {split: part.rows for split, part in manifest.splits.items()}
    arguments = [["--task", reference], ["--n", str(sizes.get("train", 0))]]
    arguments += [[f"--{split}", str(sizes.get(split, 0))] for split in ("valid", "test")]
    arguments += [["--seed", str(manifest.spec["seed"])], ["--shard-rows", str(manifest.shard_rows)]]
    values = option_values(task, manifest.spec)
    arguments += [_flag(name, value) for name, value in _changes(task.default_spec.option_values(), values).items()]
    for split in sizes:
        if split.startswith(EXTRA_PREFIX):
            changes = _changes(values, option_values(task, manifest.spec_of(split)))
            parts = [f"{name}={format_value(value)}" for name, value in changes.items()] + [f"n={sizes[split]}"]
            arguments.append(["--extra-test", f"{split.removeprefix(EXTRA_PREFIX)}:{','.join(parts)}"])
    return "mathpipe generate " + " \\\n  ".join(shlex.join(argument) for argument in [*arguments, ["--out", "DIR"]])


def _flag(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    return [flag, format_value(value)]


def _changes(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The values that differ from the defaults, and that can be written: null is the absence of a value."""
    return {name: value for name, value in values.items() if value is not None and defaults.get(name) != value}
