"""Write docs/reference/parameters.md from the models of the parameters: ``python docs/make_parameters.py``; tested."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mathpipe.pipeline.config.stage_parameters import EvaluateParams, GenerateParams
from mathpipe.train.config import BackboneConfig, ModelConfig, TrainConfig

PAGE = Path(__file__).parent / "reference" / "parameters.md"
_SECTIONS: tuple[tuple[str, str, type[BaseModel], str], ...] = (
    (
        "generate",
        "",
        GenerateParams,
        "Each is also an option, such as `--n`. `generate.spec` holds the parameters of the task, such as `generate.spec.dim`: "
        "`mathpipe generate --task inverse --help` lists those of `inverse` with their defaults.",
    ),
    ("train", "", TrainConfig, "Set one with `mathpipe train -S batch=128`."),
    ("train.model", "model.", ModelConfig, "Set one with `mathpipe train -S model.norm=post`."),
    (
        "train.backbone",
        "backbone.",
        BackboneConfig,
        "[Pretrained backbones](../guides/frozen.md) explains them. Set one with `mathpipe train -S backbone.patch=50`.",
    ),
    ("evaluate", "", EvaluateParams, "Each is also an option of `mathpipe eval`, such as `--beam`."),
)
_INTRODUCTION = """# Parameters

All parameters of params.yaml, with types, bounds and defaults. `python docs/make_parameters.py` writes this page from the code.
`null` means none. Integers may be written 500, 10k, 50M, 1e6 or 1,000,000, and are decimal (010 is ten)."""


def page() -> str:
    """The whole page, in Markdown."""
    parts = [_INTRODUCTION]
    for section, prefix, model, text in _SECTIONS:
        header = "| parameter | type | default | meaning |\n|---|---|---|---|"
        parts.append(f"## Section {section}\n\n{text}\n\n" + "\n".join([header, *_rows(model, prefix)]))
    return "\n\n".join(parts) + "\n"


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if field.is_required():
            default_text = "required"
        elif isinstance(default, BaseModel) or default == {}:
            default_text = ""
        else:
            default_text = f"`{_literal(default)}`"
        meaning = _meaning(field.description or "The parameters of the task, see above.")
        yield f"| `{prefix}{name}` | {_type(schema['properties'][name])} | {default_text} | {meaning} |"


def _literal(value: Any) -> str:
    """A value as in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _type(schema: dict[str, Any]) -> str:
    """``integer, 1 to 48``, ``number, above 0``, or the choices, from a JSON schema."""
    if "anyOf" in schema:
        return ", or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{choice}`" for choice in schema.get("enum", [schema.get("const")]))
    if "$ref" in schema or schema.get("type") == "object":
        return "section"
    name = {"boolean": "true or false", "string": "text", "null": "null"}.get(schema["type"], schema["type"])
    return ", ".join([name, *_bounds(schema)])


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if (above := schema.get("exclusiveMinimum")) is not None:
        yield f"above {above:,}"
    if low is not None and high is not None:
        yield f"{low:,} to {high:,}"
    elif low is not None:
        yield f"at least {low:,}"
    elif high is not None:
        yield f"at most {high:,}"
    if (below := schema.get("exclusiveMaximum")) is not None:
        yield f"below {'2^' + str(below.bit_length() - 1) if below > 2**50 else f'{below:,}'}"


def _meaning(description: str) -> str:
    """A description as one sentence in Markdown, without what the column of defaults says."""
    text = re.sub(r"\s*\[default: ([^\]]*)\]", r" (default: \1)", " ".join(description.split()).replace("``", "`"))
    text = text.replace("|", "\\|")
    text = text[:1].upper() + text[1:] if text[1:2].islower() and not re.match(r"\w+:", text) else text
    return text if text.endswith(".") else f"{text}."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
