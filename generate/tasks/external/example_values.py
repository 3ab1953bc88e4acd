"""How the Python values of ``example(rng, spec)`` are stored: strings over an alphabet, expressions, nested integers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from mathpipe.datasets.containers.integer_layout import LayoutError, flatten, unflatten
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences, Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.infix import parse_infix
from mathpipe.datasets.expressions.prefix import Malformed, ids_to_text, parse, text_to_ids, write
from mathpipe.datasets.rendering.formulas import to_infix
from mathpipe.generate.tasks.external.example_definition import shown


class WrongValue(ValueError):
    """A value that the problem type cannot store; the message says what was expected and got."""


class ExampleValues(ABC):
    """Conversion of the values of one side, problems or answers, to stored rows and back. ``expected``: their type."""

    expected: str

    @abstractmethod
    def to_row(self, value: Any) -> Sequence[int]:
        """The stored row; WrongValue if the value is of another type."""

    @abstractmethod
    def to_value(self, row: Any) -> Any:
        """The value of a stored or predicted row; WrongValue if it is none."""

    def hint(self, side: str) -> str:
        """What to do about a value of another type; ``side``: problem or answer."""
        return f"return {self.expected} as {side}"

    def to_rows(self, rows: list[Sequence[int]]) -> Sequences:
        """A ragged batch."""
        return Sequences.from_list(rows)


class IntegerValues(ExampleValues):
    """Integers in tuples (a fixed number) and lists (any number), as the layout says."""

    def __init__(self, layout: str, *, inferred: bool) -> None:
        self.layout, self._inferred = layout, inferred
        self.expected = f"a value of layout {layout}"

    def to_row(self, value: Any) -> Sequence[int]:
        try:
            return flatten(self.layout, value)
        except LayoutError as error:
            raise WrongValue(str(error)) from None

    def to_value(self, row: Any) -> Any:
        try:
            return unflatten(self.layout, row)
        except LayoutError as error:
            raise WrongValue(str(error)) from None

    def to_rows(self, rows: list[Sequence[int]]) -> IntegerSequences:
        return IntegerSequences.from_list(rows)

    def hint(self, side: str) -> str:
        if not self._inferred:
            return f"return such a value, or correct {side}_layout"
        return f'the first examples have this layout; name another: {side}_layout = "[int]" for a list of any length'


class StringValues(ExampleValues):
    """Strings over an alphabet, one token a character."""

    def __init__(self, alphabet: tuple[str, ...]) -> None:
        self.expected = f"a string of the characters {''.join(alphabet)}"
        self._alphabet, self._ids = alphabet, {character: k for k, character in enumerate(alphabet)}

    def to_row(self, value: Any) -> Sequence[int]:
        if not isinstance(value, str) or not value:
            raise WrongValue(f"expected a string that is not empty, got {shown(value)}")
        unknown = next((character for character in value if character not in self._ids), None)
        if unknown is not None:
            raise WrongValue(f"{unknown!r} is not in the alphabet {''.join(self._alphabet)!r}")
        return [self._ids[character] for character in value]

    def to_value(self, row: Any) -> str:
        if not all(k < len(self._alphabet) for k in row):
            raise WrongValue("a token outside the alphabet")
        return "".join(self._alphabet[k] for k in row)


class ExpressionValues(ExampleValues):
    """Expressions as text, in infix notation or prefix tokens."""

    def __init__(self, notation: str) -> None:
        self._infix = notation == "infix"
        self.expected = f"an expression in {notation} notation"

    def to_row(self, value: Any) -> Sequence[int]:
        if not isinstance(value, str):
            raise WrongValue(f"expected an expression as text, got {shown(value)}")
        try:
            ids = write(parse_infix(value)) if self._infix else text_to_ids(value)
            parse(ids)
        except (UserError, Malformed, KeyError, ValueError) as error:
            raise WrongValue(f"{value!r} is not an expression: {error}") from None
        return ids

    def to_value(self, row: Any) -> str:
        try:
            parse(row)
            return to_infix(row) if self._infix else ids_to_text(row)
        except (Malformed, ValueError, IndexError) as error:
            raise WrongValue(str(error)) from None


def infer_layout(values: Sequence[Any]) -> str:
    """The layout of these values: ``int``, tuples of a fixed length, lists of any length; WrongValue if they have no common one.

    A list without elements in every value is a list of integers.
    """
    if any(isinstance(value, np.ndarray) for value in values):
        values = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
    kinds = {_kind(value) for value in values}
    if len(kinds) > 1:
        raise WrongValue(f"the first examples differ: {' and '.join(sorted(kinds))}")
    kind = kinds.pop() if kinds else "int"
    if kind == "int":
        return "int"
    if kind == "list":
        return f"[{infer_layout([element for value in values for element in value])}]"
    return f"({', '.join(infer_layout([value[k] for value in values]) for k in range(len(values[0])))})"


def _kind(value: Any) -> str:
    if isinstance(value, tuple) and value:
        return f"tuple of {len(value)}"
    if isinstance(value, list):
        return "list"
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return "int"
    raise WrongValue(f"{shown(value)} is no integer, nor a tuple or list of integers")
