"""Presets by name: files of parameters, and the experiments of the published tables.

``lawt/inverse`` is a file. ``lawt-tasks/inverse`` is the experiment ``inverse`` of a table, and ``lawt-tasks/inverse:cpu`` its
CPU-sized form.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.pipeline.config.parameter_files import SECTIONS, Sections, read_preset
from mathpipe.pipeline.config.published_tables import (
    PRESETS,
    Experiment,
    Size,
    experiments,
    experiments_of,
    table_names,
)

CPU_SUFFIX = ":cpu"
NO_PRESET = "none"
"""``--preset none``: the documented defaults, where a command would choose a preset by itself."""


@cache
def file_preset_names() -> tuple[str, ...]:
    """Names of the presets that are files."""
    return tuple(sorted(path.relative_to(PRESETS).with_suffix("").as_posix() for path in PRESETS.rglob("*.yaml")))


def preset_names() -> list[str]:
    """Names of all presets: files, and experiments in both sizes."""
    names = [name + suffix for name in (e.preset for e in experiments()) for suffix in ("", CPU_SUFFIX)]
    return [*file_preset_names(), *names]


def preset_file(name: str) -> Path:
    """Path of a preset that is a file."""
    return PRESETS / f"{name}.yaml"


def preset_sections(name: str) -> Sections:
    """The sections of a preset; for an unknown name, UserError with the nearest preset."""
    if name == NO_PRESET:
        return {section: {} for section in SECTIONS}
    if name in file_preset_names():
        return read_preset(preset_file(name))
    experiment, size = find_experiment(name)
    return experiment.sections(size)


def preset_text(name: str) -> str:
    """The text of a preset's file, or of an experiment as one."""
    if name in file_preset_names():
        return preset_file(name).read_text(encoding="utf-8")
    experiment, size = find_experiment(name)
    title = f"# {experiment.common.paper}: {experiment.definition.about}"
    sections = {section: values for section, values in experiment.sections(size).items() if values}
    lines = [title + (f", {experiment.label}" if experiment.label else ""), f"# {experiment.about(size)}"]
    return "\n".join([*lines, yaml.safe_dump(sections, sort_keys=False)])


def find_experiment(name: str) -> tuple[Experiment, Size]:
    """The experiment and size of ``table/row[/label][:cpu]``; for an unknown name, UserError with the nearest preset."""
    size: Size = "cpu" if name.endswith(CPU_SUFFIX) else "full"
    preset = name.removesuffix(CPU_SUFFIX)
    table = preset.partition("/")[0]
    if table in table_names():
        for experiment in experiments_of(table):
            if experiment.preset == preset:
                return experiment, size
    names = preset_names()
    raise UserError(
        f"unknown preset {name!r}",
        expected="a preset that `mathpipe presets` lists",
        got=repr(name),
        next_step=did_you_mean(name, [NO_PRESET, *names]),
    )
