"""Parameters: where flags, ``params.yaml`` and defaults meet, once. Nothing else reads ``params.yaml``.

A value is looked for in this order: a flag, ``-S key=value``, the file named with ``--params``, the documented default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mathpipe.datasets.errors import UserError, nearest

Section = Literal["generate", "train", "evaluate"]
SECTIONS: tuple[Section, ...] = ("generate", "train", "evaluate")
_COMMANDS = {"evaluate": "eval"}  # of sections whose command has another name
PRESETS = Path(__file__).parents[1] / "presets"
Model = TypeVar("Model", bound=BaseModel)


WAYS = ({"dim"}, {"min_dim", "max_dim"}, {"rows", "cols"})  # of giving dimensions
DIMENSIONS = {"dim", "min_dim", "max_dim", "rows", "cols"}


@dataclass(frozen=True)
class Source:
    """Where values come from besides flags: a preset, a file, and ``-S`` overrides, each more particular than the last."""

    preset: str | None = None
    file: Path | None = None
    overrides: tuple[str, ...] = ()


def preset_names() -> list[str]:
    """The presets that come with mathpipe."""
    return sorted(path.relative_to(PRESETS).with_suffix("").as_posix() for path in PRESETS.rglob("*.yaml"))


def preset_file(name: str) -> Path:
    """The parameter file of a preset; UserError naming the nearest known one."""
    if name not in preset_names():
        near = nearest(name, preset_names())
        raise UserError(
            f"unknown preset {name!r}",
            expected=f"one of {', '.join(preset_names())}",
            got=repr(name),
            next_step=f"did you mean {near}?" if near else None,
        )
    return PRESETS / f"{name}.yaml"


def gather(section: Section, source: Source, flags: dict[str, Any]) -> dict[str, Any]:
    """The values of one section: from the preset, the file, ``-S key=value``, then the flags that were given (not None).

    ``dim``, ``min_dim`` with ``max_dim`` and ``rows`` with ``cols`` are one choice: a flag of one way drops the file's other.
    """
    files = [preset_file(source.preset)] if source.preset is not None else []
    files += [source.file] if source.file is not None else []
    values: dict[str, Any] = {}
    for file in files:
        values = _merged(values, _read(file)[section])
    for key, value in overridden(section, source).items():
        _set(values, key, value)
    return overlaid(values, {key: value for key, value in flags.items() if value is not None})


def overridden(section: Section, source: Source) -> dict[str, Any]:
    """What ``-S`` sets, by its key within the section; UserError where a key is of another section."""
    return dict(_override(override, section) for override in source.overrides)


def preset_task(name: str) -> str | None:
    """The task that a preset is for; None where it names none."""
    task = _read(preset_file(name))["generate"].get("task")
    return None if task is None else str(task)


def overlaid(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """``given`` over ``values``; the three ways to give dimensions are one choice, so one drops the others."""
    if any(given.keys() & way for way in WAYS):
        values = {key: value for key, value in values.items() if key not in DIMENSIONS - given.keys()}
    return {**values, **given}


def validated(model: type[Model], values: dict[str, Any], section: str) -> Model:
    """``values`` as the model; UserError naming the key, what was expected and the nearest known key."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _explained(error, model, section) from None


def _read(file: Path) -> dict[str, dict[str, Any]]:
    """The sections of a parameter file; a missing one is empty."""
    try:
        found = yaml.safe_load(file.read_text())
    except OSError as error:
        raise UserError(f"{file} cannot be read", expected="a file such as params.yaml", got=error.strerror) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no YAML", got=str(error)) from error
    found = {} if found is None else found
    if not isinstance(found, dict) or not all(isinstance(v, dict | None) for v in found.values()):
        raise UserError(
            f"{file} holds no sections", expected=f"sections {', '.join(SECTIONS)}", got=type(found).__name__
        )
    for name in found:
        if name not in SECTIONS:
            near = nearest(str(name), SECTIONS)
            raise UserError(
                f"{file}: unknown section {name!r}",
                expected=f"one of {', '.join(SECTIONS)}",
                got=repr(name),
                next_step=f"did you mean {near}?" if near else None,
            )
    return {name: found.get(name) or {} for name in SECTIONS}


def _override(text: str, section: Section) -> tuple[str, Any]:
    """``train.lr=1e-3`` as (``lr``, 1e-3), in the section ``train``; UserError in another one, which would not hear of it."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"-S {text!r} cannot be read", expected=f"key=value, such as {section}.seed=1", got=repr(text))
    first, _, rest = key.strip().partition(".")
    if first in SECTIONS and first != section:
        stage, other = (_COMMANDS.get(name, name) for name in (section, first))
        raise UserError(
            f"-S {text}: `mathpipe {stage}` knows no {key.strip()}",
            expected=f"a parameter of the section {section}",
            got=f"one of the section {first}",
            next_step=f"`mathpipe {other} -S {text}`; for several stages at once a file of sections, with --params",
        )
    return (rest if first == section else key.strip()), yaml.safe_load(value)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``above`` laid over ``below``, sections within a section key by key."""
    merged = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            merged[key] = _merged(below[key], above[key])
    return merged


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    first, _, rest = key.partition(".")
    if rest:
        values[first] = dict(values.get(first) or {})
        _set(values[first], rest, value)
    else:
        values[first] = value


def _explained(problem: ValidationError, model: type[BaseModel], section: str) -> UserError:
    """The first thing pydantic found, in one line."""
    error = problem.errors()[0]
    key = ".".join(str(part) for part in error["loc"])
    name = f"{section}.{key}" if key else section
    if error["type"] == "extra_forbidden":
        known = _known_keys(model)
        near = nearest(key, known)
        return UserError(
            f"unknown parameter {name}",
            expected=f"one of {', '.join(known)}",
            got=repr(key),
            next_step=f"did you mean {section}.{near}?" if near else None,
        )
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return UserError(
            f"{name} is not given", next_step=f"pass --{key.replace('_', '-')}, or name it in the file of --params"
        )
    if not key:
        return UserError(f"{section}: parameters do not go together: {message}")
    if error["type"] == "value_error":
        return UserError(f"{name}: {message}")
    expected = message.removeprefix("Input should be ")
    if _is_no_finite_number(error["input"]):
        expected = f"a finite number, {expected.removeprefix('a finite number')}".rstrip(", ")
    return UserError(f"{name} is not right", expected=expected, got=repr(error["input"]))


def _is_no_finite_number(value: object) -> bool:
    try:
        return not math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False


def _known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        parts = (
            part for part in getattr(annotation, "__args__", ()) if isinstance(part, type)
        )  # of one that may be absent
        annotation = next((part for part in parts if issubclass(part, BaseModel)), annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            keys += _known_keys(annotation, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys
