"""Conditions on failures as ``--where`` takes them: a name, a comparison, and a number, a text or ``none``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from mathpipe.datasets.errors import UserError
from mathpipe.evaluate.failures.failure_dump import Failure
from mathpipe.generate.tasks.matrices.cotraining import BY_TASK_TOKEN

NAMES = ("split", "outcome", "task", "spectrum", "confused_with")
TEXTS = (*NAMES, "problem", "reference", "prediction")
NONE = "none"

_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|!=|<|>|=)\s*(.+?)\s*")
_EQUAL: dict[str, Callable[[object, object], bool]] = {"=": operator.eq, "!=": operator.ne}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    **_EQUAL,
}


@dataclass(frozen=True)
class Condition:
    """What is asked of a field, a measure or a covariate; one that is null answers to ``none`` alone."""

    name: str
    sign: str
    wanted: float | str | None

    def holds(self, failure: Failure) -> bool:
        value = failure.value(self.name)
        if value is None or self.wanted is None:
            return self.wanted is None and _EQUAL[self.sign](value, None)
        if isinstance(self.wanted, str) and isinstance(value, str):
            return _EQUAL[self.sign](value.casefold(), self.wanted.casefold())
        if isinstance(self.wanted, str) or not isinstance(value, int | float):
            raise UserError(f"--where: {self.name} is neither number nor text", got=str(value))
        return _COMPARE[self.sign](float(value), self.wanted)


def condition(text: str) -> Condition:
    """``condition_number>100``, ``spectrum=laplace``, ``confused_with!=none``; UserError for what is no condition."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UserError(
            f"--where {text!r} cannot be read",
            expected='NAME>NUMBER, such as "condition_number>100", or NAME=TEXT, such as spectrum=laplace',
        )
    name, sign, wanted = match.groups()
    if sign in _EQUAL and wanted == NONE:
        return Condition(name, sign, None)
    if name in TEXTS:
        if sign not in _EQUAL:
            raise UserError(
                f"--where {text!r}: {name} is a text", expected=f"{name}=TEXT, {name}!=TEXT, or {name}={NONE}"
            )
        return Condition(
            name, sign, BY_TASK_TOKEN[wanted].name if name == "task" and wanted in BY_TASK_TOKEN else wanted
        )
    try:
        return Condition(name, sign, float(wanted))
    except ValueError:
        raise UserError(
            f"--where {text!r} cannot be read",
            expected=f"a number; texts are compared of {', '.join(TEXTS)}",
            got=wanted,
        ) from None
