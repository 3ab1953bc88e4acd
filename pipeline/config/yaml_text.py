"""YAML without guesses about types: plain scalars stay text, which the type of a field reads later.

YAML 1.1, which PyYAML implements, reads 010 as 8, 1:30 as 90 and no as false. Here only the structure is YAML's.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from mathpipe.datasets.errors import UserError

NULL_WORDS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {text: text.lower() == "true" for text in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MERGE = "tag:yaml.org,2002:merge"


class PlainText(str):
    """A scalar without quotation marks: text, null, or a number, as the type of its field says."""

    __slots__ = ()


class _TextLoader(yaml.SafeLoader):
    """Loads plain scalars as ``PlainText`` and quoted ones as str; a repeated key is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != _MERGE]
        repeated = next((key for k, key in enumerate(keys) if key in keys[:k]), None)
        if repeated is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {repeated!s} occurs twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def _construct_text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    text = str(loader.construct_scalar(node))
    return text if node.style else PlainText(text)


_TextLoader.yaml_implicit_resolvers = {"<": [(_MERGE, re.compile("<<"))]}
_TextLoader.add_constructor("tag:yaml.org,2002:str", _construct_text)


def load_text(text: str, name: str) -> Any:
    """The value of a YAML document: dictionaries and lists of text. UserError, which names ``name``, if it is not valid YAML."""
    try:
        return yaml.load(text, _TextLoader)  # derived from SafeLoader
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{name} is not valid YAML", got=str(error)) from None


def load_values(text: str, name: str) -> Any:
    """The value of a YAML document whose fields have no types: numbers, booleans and nulls as in YAML 1.2's core schema."""
    return core_value(load_text(text, name))


def core_value(value: Any) -> Any:
    """``PlainText``, also within lists and dictionaries, read by the core schema of YAML 1.2 (decimal integers only)."""
    if isinstance(value, dict):
        return {core_value(key): core_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [core_value(item) for item in value]
    if not isinstance(value, PlainText):
        return value
    if value in NULL_WORDS:
        return None
    if value in _BOOLEANS:
        return _BOOLEANS[value]
    if _INTEGER.fullmatch(value):
        return int(value)
    return float(value.lower().replace(".inf", "inf").replace(".nan", "nan")) if _FLOAT.fullmatch(value) else str(value)
