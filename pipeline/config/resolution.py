"""Resolve parameters from flags, files and defaults. No other module reads ``params.yaml``.

Precedence, highest first: a flag, ``-S key=value``, the file of ``--params``, the preset, the documented default.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mathpipe.datasets.errors import UserError, did_you_mean, nearest
from mathpipe.pipeline.config.parameter_files import SECTIONS, Section, merge, read_sections, set_value
from mathpipe.pipeline.config.preset_catalogue import preset_sections
from mathpipe.pipeline.config.typed_values import read_values
from mathpipe.pipeline.config.yaml_text import PlainText
from mathpipe.train.config import SettingsConflict

_COMMANDS = {"evaluate": "eval"}  # sections whose command has another name
Model = TypeVar("Model", bound=BaseModel)
_QUOTED = re.compile(r"'([^']*)'")  # the choices in pydantic's message: 'uniform', 'laplace' or 'positive'


@dataclass(frozen=True)
class ParameterSource:
    """Sources of parameters besides flags, in rising precedence: a preset, a file, ``-S`` overrides."""

    preset: str | None = None
    file: Path | None = None
    overrides: tuple[str, ...] = ()


def resolve(
    section: Section, source: ParameterSource, flags: dict[str, Any], recommended: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Resolve one section: the preset, updated with the file, ``-S key=value``, and the flags that are not None.

    ``recommended``: the values to start from if no preset is named.
    """
    values = dict(recommended or {})
    if source.preset is not None:
        values = preset_sections(source.preset)[section]
    if source.file is not None:
        values = merge(values, read_sections(source.file)[section])
    for key, value in parse_overrides(section, source).items():
        set_value(values, key, value)
    return {**values, **{key: value for key, value in flags.items() if value is not None}}


def parse_overrides(section: Section, source: ParameterSource) -> dict[str, Any]:
    """The values set with ``-S``, by key within the section; UserError if a key belongs to another section."""
    return dict(_parse_override(override, section) for override in source.overrides)


def preset_task(name: str) -> str | None:
    """The task of a preset, or None if it names none."""
    task = preset_sections(name)["generate"].get("task")
    return None if task is None else str(task)


def validate(model: type[Model], values: dict[str, Any], section: str, source: ParameterSource | None = None) -> Model:
    """Read ``values`` by the types of the fields and validate them; UserError names the key, what was expected and the nearest.

    ``source``: where the values come from. An error about a key of its file names the file.
    """
    try:
        with user_errors(model, section):
            return model.model_validate(read_values(model, values, section))
    except UserError as error:
        if source is None or not _concerns_file(error.what, section, source):
            raise
        raise error.about(f"{source.file}: {error.what}") from None


def _concerns_file(text: str, section: str, source: ParameterSource) -> bool:
    """Whether an error names a key that the file sets and ``-S`` does not; if it names none, whether the file sets the section."""
    values = {} if source.file is None else read_sections(source.file).get(section, {})
    name = re.search(rf"\b{re.escape(section)}\.(.+)", text)
    if name is None:
        return bool(values)
    overrides = {override.partition("=")[0].strip().removeprefix(f"{section}.") for override in source.overrides}
    in_file, in_overrides = (any(name[1].startswith(key) for key in keys) for keys in (values, overrides))
    return in_file and not in_overrides


@contextlib.contextmanager
def user_errors(model: type[BaseModel], section: str) -> Iterator[None]:
    """Turn pydantic's errors of this model into UserErrors that name a key of ``section``."""
    try:
        yield
    except ValidationError as error:
        raise _to_user_error(error, model, section) from None


@contextlib.contextmanager
def naming_flags(flags: dict[str, Any]) -> Iterator[None]:
    """Errors about a parameter that a flag sets name the flag: ``--dim is invalid``, not ``generate.spec.dim is invalid``."""
    try:
        yield
    except UserError as error:
        name = re.match(rf"(?:{'|'.join(SECTIONS)})\.(?:spec\.)?(\w+)(?=[ :])", error.what)
        if name is None or flags.get(name[1]) is None:
            raise
        raise error.about(f"--{name[1].replace('_', '-')}{error.what[name.end() :]}") from None


def _parse_override(text: str, section: Section) -> tuple[str, Any]:
    """Parse ``train.lr=1e-3`` as (``lr``, 1e-3) for the section ``train``; UserError if the key names another section."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"-S {text!r} cannot be read", expected=f"key=value, such as {section}.seed=1", got=repr(text))
    first, _, rest = key.strip().partition(".")
    if first in SECTIONS and first != section:
        command, other_command = (_COMMANDS.get(name, name) for name in (section, first))
        raise UserError(
            f"-S {text}: `mathpipe {command}` has no parameter {key.strip()}",
            expected=f"a parameter of the section {section}",
            got=f"a parameter of the section {first}",
            next_step=f"`mathpipe {other_command} -S {text}`; for several stages, set them in a file for --params",
        )
    return (rest if first == section else key.strip()), PlainText(value.strip())


def _to_user_error(validation_error: ValidationError, model: type[BaseModel], section: str) -> UserError:
    """The first error of pydantic as a one-line UserError."""
    error = validation_error.errors()[0]
    key = ".".join(part for part in error["loc"] if isinstance(part, str))
    name = f"{section}.{key}" if key else section
    if error["type"] == "extra_forbidden":
        known_keys = _known_keys(model)
        suggestion = _suggest_key(key, known_keys, f"{section}.")
        listed = f"one of {', '.join(known_keys)}"
        return UserError(
            f"unknown parameter {name}",
            expected=listed if suggestion is None else f"a parameter of the section {section}",
            got=repr(key),
            next_step=suggestion,
        )
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return UserError(
            f"{name} is missing", next_step=f"pass --{key.replace('_', '-')}, or set it in the file of --params"
        )
    if not key:
        conflict = error.get("ctx", {}).get("error")
        next_step = conflict.next_step if isinstance(conflict, SettingsConflict) else None
        return UserError(f"{section}: parameters conflict: {message}", next_step=next_step)
    if error["type"] == "value_error":
        return UserError(f"{name}: {message}")
    expected = message.removeprefix("Input should be ")
    if _is_not_finite(error["input"]):
        expected = f"a finite number, {expected.removeprefix('a finite number')}".rstrip(", ")
    choices = _QUOTED.findall(expected) if error["type"] == "literal_error" else []
    suggestion = did_you_mean(str(error["input"]), choices)
    return UserError(f"{name} is invalid", expected=expected, got=repr(error["input"]), next_step=suggestion)


_OTHER_NAMES: dict[str, tuple[str, ...]] = {  # of other libraries, or without the part of the model
    **dict.fromkeys(
        ("dim", "d_model", "width", "emb_dim", "embed_dim", "hidden_size", "n_embd"), ("encoder_width", "width")
    ),
    **dict.fromkeys(
        ("layers", "depth", "n_layers", "num_layers", "n_layer", "num_hidden_layers"), ("encoder_layers", "layers")
    ),
    **dict.fromkeys(("heads", "n_heads", "num_heads", "n_head", "nhead"), ("encoder_heads", "heads")),
    **dict.fromkeys(("ffn_dim", "d_ff", "mlp_dim", "dim_feedforward", "intermediate_size"), ("feed_forward",)),
    **dict.fromkeys(("epochs", "num_epochs", "max_steps", "num_steps"), ("steps",)),
    "learning_rate": ("lr",),
    "optimizer": ("optimiser",),
    "batch_size": ("batch",),
}


def _suggest_key(key: str, known_keys: list[str], prefix: str) -> str | None:
    """The key that ``key`` was meant to be: one of the same name or meaning, else a similar one."""
    parent, _, name = key.replace("-", "_").rpartition(".")
    siblings = [full_key for full_key in known_keys if full_key.rpartition(".")[0] == parent]
    for keys in (siblings, known_keys):
        by_name = {full_key.rpartition(".")[2]: full_key for full_key in reversed(keys)}
        for candidate in (name, *_OTHER_NAMES.get(name, ())):
            if candidate in by_name:
                return f"did you mean {prefix}{by_name[candidate]}?"
    names = {full_key.rpartition(".")[2]: full_key for full_key in siblings}
    for other, meanings in _OTHER_NAMES.items():
        if meanings[0] in names:
            names.setdefault(other, names[meanings[0]])
    similar = nearest(name, names)
    return did_you_mean(key, known_keys, prefix) if similar is None else f"did you mean {prefix}{names[similar]}?"


def _is_not_finite(value: object) -> bool:
    try:
        return not math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False


def _known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        members = (
            member for member in getattr(annotation, "__args__", ()) if isinstance(member, type)
        )  # of Model | None
        annotation = next((member for member in members if issubclass(member, BaseModel)), annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            keys += _known_keys(annotation, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys
