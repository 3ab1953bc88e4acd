"""Text of flags, files and ``-S`` read by the type of its field: decimal integers with units, null, lists and dictionaries."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator

from mathpipe.datasets.errors import UserError
from mathpipe.pipeline.config.counts import COUNT_FORMS, parse_integer
from mathpipe.pipeline.config.yaml_text import NULL_WORDS, PlainText, load_text

_COLLECTIONS = (list, tuple, dict, set, frozenset)


def read_values(model: type[BaseModel], values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """``values`` with every text read by its field's type; what is no text stays. UserError names the key below ``name``.

    A field with a validator of its own for raw values (``BeforeValidator``) gets the text itself. Unknown keys stay, too.
    """
    fields, typed_values = model.model_fields, dict[str, Any]()
    for key, value in values.items():
        field = fields.get(key)
        if field is None:
            typed_values[key] = value
            continue
        reads_text = any(isinstance(validator, BeforeValidator) for validator in field.metadata)
        typed_values[key] = read_value(field.annotation, value, f"{name}.{key}", reads_text)
    return typed_values


def read_value(annotation: Any, value: Any, name: str, reads_text: bool = False) -> Any:
    """``value`` read as the type ``annotation``. ``reads_text``: the field's own validator reads text that is no collection."""
    members = _members(annotation)
    if isinstance(value, str):
        collections = [member for member in members if _is_collection(member)]
        if isinstance(value, PlainText) and collections and value[:1] in ("[", "{"):
            return read_value(annotation, load_text(value, name), name, reads_text)
        return value if reads_text else _read_text(members, value, name)
    if isinstance(value, dict):
        model = next((member for member in members if _is_model(member)), None)
        if model is not None:
            return read_values(model, value, name)
        item_types = next((get_args(member) for member in members if get_origin(member) is dict), (Any, Any))
        return {str(key): read_value(item_types[1], item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        item_type = next((_item_type(member) for member in members if get_origin(member) in _COLLECTIONS), Any)
        return type(value)(read_value(item_type, item, name) for item in value)
    return value


def is_integer(annotation: Any) -> bool:
    """Whether a field of this type is an integer, or an integer or null."""
    return {*_members(annotation)} - {type(None)} == {int}


def _read_text(members: list[Any], text: str, name: str) -> Any:
    """Text as one of the types: null first, then an integer, else as it stands, for pydantic to read."""
    if isinstance(text, PlainText) and type(None) in members and text in NULL_WORDS:
        return None
    if int in members:
        try:
            return parse_integer(text)
        except ValueError as error:
            if {*members} <= {int, type(None)}:
                raise UserError(
                    f"{name} is invalid", expected=COUNT_FORMS, got=repr(str(text)), cause=_reason(error)
                ) from None
    if Any in members:
        return text
    choices = [choice for member in members if get_origin(member) is Literal for choice in get_args(member)]
    return next((choice for choice in choices if not isinstance(choice, str) and str(choice) == text), str(text))


def _reason(error: ValueError) -> str | None:
    """What the error says besides that the text is not a count."""
    return str(error).partition("; ")[2] or (None if "is not a count" in str(error) else str(error))


def _members(annotation: Any) -> list[Any]:
    """The types of a union, or the type itself; without the metadata of ``Annotated``."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in _members(part)]
    return [annotation]


def _is_model(member: Any) -> bool:
    return isinstance(member, type) and issubclass(member, BaseModel)


def _is_collection(member: Any) -> bool:
    return _is_model(member) or member in _COLLECTIONS or get_origin(member) in _COLLECTIONS


def _item_type(collection: Any) -> Any:
    """The type of the items of a list, tuple or set; Any where the items of a tuple differ."""
    item_types = [item for item in get_args(collection) if item is not Ellipsis]
    return item_types[0] if item_types and all(item == item_types[0] for item in item_types) else Any
