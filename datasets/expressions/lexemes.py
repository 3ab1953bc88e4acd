"""Lexemes of infix and LaTeX, and the names of functions, constants and unknowns that both notations share.

A lexeme is the smallest unit of a text that has a meaning of its own: a number, a name, an operator, a bracket.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from mathpipe.datasets.errors import UserError, nearest
from mathpipe.datasets.expressions.vocabulary import COEFFICIENTS, UNARY

MAX_CHARACTERS = 1 << 16  # longer texts are refused unread
_EXCERPT = 24  # characters of the text that an error shows


class Kind(Enum):
    """What a lexeme is. ``FRACTION`` and ``ROOT`` are LaTeX's commands, whose arguments follow in braces."""

    NUMBER = auto()
    NAME = auto()
    FUNCTION = auto()
    OPERATOR = auto()
    OPEN = auto()
    CLOSE = auto()
    BAR = auto()
    FRACTION = auto()
    ROOT = auto()
    END = auto()


class Lexeme(NamedTuple):
    """``value``: digits of a number, token of a name or function, operator or bracket; ``start``, ``end``: its characters."""

    kind: Kind
    value: str
    start: int
    end: int


def _function_names() -> dict[str, str]:
    names = {token: token for token in UNARY if token not in ("inv", "pow2", "pow3", "pow4", "pow5")}
    for base in ("sin", "cos", "tan", "cot", "sec", "csc"):
        names |= {f"arc{base}": f"a{base}", f"arc{base}h": f"a{base}h", f"ar{base}h": f"a{base}h"}
    return names | {"log": "ln", "sgn": "sign", "signum": "sign", "Abs": "abs", "cosec": "csc", "cbrt": "cbrt"}


FUNCTIONS = _function_names()
"""Name of a function -> its token; the cube root ``cbrt`` has none and becomes ``rac u 3``."""
INVERSES = {
    f"{base}{h}": f"a{base}{h}" for base in ("sin", "cos", "tan", "cot", "sec", "csc") for h in ("", "h")
}  # sin^-1 is the inverse function
NAMES = {
    "pi": "pi",
    "π": "pi",
    "e": "E",
    "E": "E",
    "i": "I",
    "I": "I",
    "x": "x",
    "z": "z",
    "t": "t",
    "y": "Y",
    "y'": "Y'",
    "y''": "Y''",
    "Y": "Y",
    "Y'": "Y'",
    "Y''": "Y''",
    **{name: name for name in COEFFICIENTS},
    **dict.fromkeys(("c", "C", "c1", "C1", "c_1", "C_1"), "a8"),
    **dict.fromkeys(("c2", "C2", "c_2", "C_2"), "a9"),
}
"""Name of a constant, variable or unknown -> its token: y is the unknown function, c1 and c2 are constants of integration."""
CONSTANTS_OF_INTEGRATION = ("a8", "a9")
ASCII_OPERATORS = str.maketrans({"−": "-", "·": "*", "×": "*", "⋅": "*", "∗": "*", "÷": "/", "′": "'"})
"""Typographic operators -> ASCII, character by character, so that positions stay."""


def error(
    notation: str, text: str, position: int, what: str, expected: str, *, end: int | None = None, next_step: str = ""
) -> UserError:
    """The UserError for a fault at ``position`` of ``text`` (from 0; shown from 1), with an excerpt of the text there."""
    excerpt = text[position : position + _EXCERPT if end is None else min(end, position + _EXCERPT)]
    return UserError(
        f"{notation}, character {position + 1}: {what}",
        expected=expected,
        got=ascii(excerpt) if excerpt else "the end of the text",
        next_step=next_step or None,
    )


def split_lexemes(
    notation: str,
    text: str,
    pattern: re.Pattern[str],
    lexeme: Callable[[re.Match[str], int, int], Lexeme | None],
    expected: str,
) -> list[Lexeme]:
    """The lexemes of a text, an END at last; UserError for a character that no expression has.

    ``pattern`` matches the text with ASCII operators. ``lexeme(match, start, end)`` is None for what has no meaning: spaces.
    ``expected``: what the error for another character names.
    """
    check_length(notation, text)
    ascii_text = text.translate(ASCII_OPERATORS)
    lexemes: list[Lexeme] = []
    position = 0
    while position < len(text):
        match = pattern.match(ascii_text, position)
        if match is None:
            what = "factorials are not supported" if text[position] == "!" else "this character has no meaning here"
            raise error(notation, text, position, what, expected, end=position + 1)
        item = lexeme(match, position, match.end())
        if item is not None:
            lexemes.append(item)
        position = match.end()
    lexemes.append(Lexeme(Kind.END, "", len(text), len(text)))
    return lexemes


def check_length(notation: str, text: str) -> None:
    """UserError if a text is too long to be read."""
    if len(text) > MAX_CHARACTERS:
        raise UserError(
            f"{notation}: the text is too long",
            expected=f"at most {MAX_CHARACTERS:,} characters",
            got=f"{len(text):,} characters that begin with {text[:_EXCERPT]!a}",
        )


def unknown_name(notation: str, text: str, start: int, end: int) -> UserError:
    """The UserError for a name that is neither a function nor a constant, with the most similar one."""
    name = text[start:end]
    near = nearest(name.lstrip("\\"), (*FUNCTIONS, *NAMES)) if len(name) <= _EXCERPT else None
    return error(
        notation,
        text,
        start,
        "unknown name",
        "x, y, a constant (pi, e, c1, c2, a0 to a9) or a function such as sin, ln, arctan",
        end=end,
        next_step=f"did you mean {near}?" if near else "",
    )
