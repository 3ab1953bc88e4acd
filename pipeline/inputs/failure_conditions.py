"""Conditions of ``--where``: a field, a comparison, and a number, a text or ``none``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from mathpipe.datasets.errors import UserError
from mathpipe.evaluate.failures.failure import Failure
from mathpipe.generate.tasks.matrices.cotraining import BY_TASK_TOKEN

CATEGORICAL_FIELDS = ("split", "outcome", "evidence", "task", "spectrum", "confused_with")
TEXT_FIELDS = (*CATEGORICAL_FIELDS, "problem", "reference", "prediction")
NONE = "none"

_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|!=|<|>|=)\s*(.+?)\s*")
_EQUALITY: dict[str, Callable[[object, object], bool]] = {"=": operator.eq, "!=": operator.ne}
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    **_EQUALITY,
}


@dataclass(frozen=True)
class Condition:
    """A comparison of a field, an error measure or a covariate. A null value matches only ``none``."""

    name: str
    comparison: str
    expected: float | str | None

    def matches(self, failure: Failure) -> bool:
        value = failure.value(self.name)
        if value is None or self.expected is None:
            return self.expected is None and _EQUALITY[self.comparison](value, None)
        if isinstance(self.expected, str) and isinstance(value, str):
            return _EQUALITY[self.comparison](value.casefold(), self.expected.casefold())
        if isinstance(self.expected, str) or not isinstance(value, int | float):
            raise UserError(f"--where: {self.name} is neither number nor text", got=str(value))
        return _COMPARISONS[self.comparison](float(value), self.expected)


def parse_condition(text: str) -> Condition:
    """Parse ``condition_number>100``, ``spectrum=laplace`` or ``confused_with!=none``; UserError if it is malformed."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UserError(
            f"--where {text!r} cannot be read",
            expected='NAME>NUMBER, such as "condition_number>100", or NAME=TEXT, such as spectrum=laplace',
        )
    name, comparison, expected = match.groups()
    if comparison in _EQUALITY and expected == NONE:
        return Condition(name, comparison, None)
    if name in TEXT_FIELDS:
        if comparison not in _EQUALITY:
            raise UserError(
                f"--where {text!r}: {name} is a text field", expected=f"{name}=TEXT, {name}!=TEXT, or {name}={NONE}"
            )
        if name == "task" and expected in BY_TASK_TOKEN:
            expected = BY_TASK_TOKEN[expected].name
        return Condition(name, comparison, expected)
    try:
        return Condition(name, comparison, float(expected))
    except ValueError:
        raise UserError(
            f"--where {text!r} cannot be read",
            expected=f"a number; the text fields are {', '.join(TEXT_FIELDS)}",
            got=expected,
        ) from None
