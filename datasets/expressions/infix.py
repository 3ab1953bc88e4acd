"""Infix notation: ``x*exp(-x^2)/2``, ``2 sin(x)**2``, ``ln|x|``, ``y'' + y = 0``.

``^`` and ``**`` are powers, and bind from the right. A product may be written without a sign where only one reading exists
(``2x``, ``3 sin(x)``, ``(x + 1)(x - 1)``); ``1/2x`` and ``x(x + 1)`` are refused. ``log`` is the natural logarithm. Decimals
are exact: 0.5 is 1/2. Nothing is evaluated.
"""

from __future__ import annotations

import re

from mathpipe.datasets.expressions.lexemes import (
    FUNCTIONS,
    NAMES,
    Kind,
    Lexeme,
    error,
    split_lexemes,
    unknown_name,
)
from mathpipe.datasets.expressions.operator_precedence import INFIX_RULES, Parser
from mathpipe.datasets.expressions.prefix import MAX_DEPTH, MAX_DIGITS, MAX_TOKENS, Tree
from mathpipe.datasets.expressions.tree_builder import Limits

_LEXEME = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    | (?P<second>d(?:\^|\*\*)2\ ?y\ ?/\ ?dx(?:\^|\*\*)2(?!\w)) | (?P<first>dy/dx(?!\w))
    | (?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)
    | (?P<name>π|[A-Za-z_][A-Za-z0-9_]*'*)
    | (?P<power>\*\*|\^) | (?P<operator>[-+*/=]) | (?P<open>[(\[]) | (?P<close>[)\]]) | (?P<bar>\|)""",
    re.VERBOSE,
)
_SCIENTIFIC = re.compile(r"[eE][-+]?[0-9]")
_SIMPLE = {"operator": Kind.OPERATOR, "open": Kind.OPEN, "close": Kind.CLOSE, "bar": Kind.BAR, "number": Kind.NUMBER}
_DERIVATIVES = {"first": "Y'", "second": "Y''"}


def parse_infix(
    text: str, *, max_tokens: int = MAX_TOKENS, max_depth: int = MAX_DEPTH, max_digits: int = MAX_DIGITS
) -> Tree:
    """The tree of an infix expression; UserError with the character, what was expected and got."""
    return Parser(INFIX_RULES, text, lexemes(text), Limits(max_tokens, max_depth, max_digits)).expression()


def parse_infix_equation(
    text: str, *, max_tokens: int = MAX_TOKENS, max_depth: int = MAX_DEPTH, max_digits: int = MAX_DIGITS
) -> tuple[Tree, Tree | None]:
    """(left side, right side) of ``y' = x y``; (expression, None) of a text without ``=``."""
    return Parser(INFIX_RULES, text, lexemes(text), Limits(max_tokens, max_depth, max_digits)).equation()


def lexemes(text: str) -> list[Lexeme]:
    """The lexemes of a text, an END at last; UserError for a character or name that no expression has."""

    def lexeme(match: re.Match[str], start: int, end: int) -> Lexeme | None:
        group = str(match.lastgroup)
        if group == "space":
            return None
        if group == "name":
            return _name(text, match.group(), start, end)
        if group == "power":
            return Lexeme(Kind.OPERATOR, "^", start, end)
        if group in _DERIVATIVES:
            return Lexeme(Kind.NAME, _DERIVATIVES[group], start, end)
        if group == "number" and _SCIENTIFIC.match(match.string, end):
            what = "2e3 may mean 2*10^3 or 2*e*3"
            raise error(INFIX_RULES.notation, text, start, what, "one of these two, written out")
        return Lexeme(_SIMPLE[group], match.group(), start, end)

    return split_lexemes(INFIX_RULES.notation, text, _LEXEME, lexeme, "numbers, names, + - * / ^ and brackets")


def _name(text: str, name: str, start: int, end: int) -> Lexeme:
    if (token := NAMES.get(name)) is not None:
        return Lexeme(Kind.NAME, token, start, end)
    if (token := FUNCTIONS.get(name)) is not None:
        return Lexeme(Kind.FUNCTION, token, start, end)
    raise unknown_name(INFIX_RULES.notation, text, start, end)
