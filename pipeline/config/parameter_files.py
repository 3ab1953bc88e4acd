"""Files of parameters: one section for each stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.pipeline.config.yaml_text import NULL_WORDS, core_value, load_text

Section = Literal["generate", "train", "evaluate"]
SECTIONS: tuple[Section, ...] = ("generate", "train", "evaluate")
Sections = dict[str, dict[str, Any]]


def read_sections(file: Path) -> Sections:
    """The sections of a parameter file, with text that the types of the fields read; missing sections are empty."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{file} cannot be read",
            expected="a file such as params.yaml",
            got=error.strerror,
            next_step=did_you_mean(str(file), [str(other) for other in file.parent.glob("*.yaml")]),
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not valid YAML", expected="text in UTF-8", got=str(error)) from error
    sections = load_text(text, str(file))
    sections = {} if sections is None or sections == "" else sections
    if isinstance(sections, dict):
        sections = {
            name: None if isinstance(values, str) and values in NULL_WORDS else values
            for name, values in sections.items()
        }
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


def read_preset(file: Path) -> Sections:
    """The sections of a preset of ours, with numbers, booleans and nulls, as other programs read it."""
    sections: Sections = core_value(read_sections(file))
    return sections


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
