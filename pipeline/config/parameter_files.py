"""Files of parameters: one section for each stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml

from mathpipe.datasets.errors import UserError, did_you_mean

Section = Literal["generate", "train", "evaluate"]
SECTIONS: tuple[Section, ...] = ("generate", "train", "evaluate")
Sections = dict[str, dict[str, Any]]


def read_sections(file: Path) -> Sections:
    """The sections of a parameter file; missing sections are empty."""
    try:
        sections = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{file} cannot be read", expected="a file such as params.yaml", got=error.strerror) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not valid YAML", got=str(error)) from error
    sections = {} if sections is None else sections
    if not isinstance(sections, dict) or not all(isinstance(v, dict | None) for v in sections.values()):
        raise UserError(
            f"{file} has no sections", expected=f"sections {', '.join(SECTIONS)}", got=type(sections).__name__
        )
    for name in sections:
        if name not in SECTIONS:
            raise UserError(
                f"{file}: unknown section {name!r}",
                expected=f"one of {', '.join(SECTIONS)}",
                got=repr(name),
                next_step=did_you_mean(str(name), SECTIONS),
            )
    return {name: sections.get(name) or {} for name in SECTIONS}


def merge(base: dict[str, Any], updates: dict[str, Any]) -> dict[str, Any]:
    """Update ``base`` with ``updates``, nested dictionaries recursively."""
    merged = {**base, **updates}
    for key in base.keys() & updates.keys():
        if isinstance(base[key], dict) and isinstance(updates[key], dict):
            merged[key] = merge(base[key], updates[key])
    return merged


def set_value(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a nested value by its dotted key, in copies of the dictionaries on the way."""
    first, _, rest = key.partition(".")
    if rest:
        values[first] = dict(values.get(first) or {})
        set_value(values[first], rest, value)
    else:
        values[first] = value
