r"""LaTeX notation: ``\frac{x}{2} e^{-x^2}``, ``\sin^2 x``, ``\ln\left|x\right|``, ``\sqrt[3]{x}``, ``y'' + y = 0``.

Letters stand side by side for a product, as in print; numbers, letters and commands without braces are arguments of their own
(``\frac12``, ``x^2``). Spaces, ``\,`` and ``$`` have no meaning. ``\sin x`` takes what follows until the next function, if only
one reading exists: ``\sin 2x \cos x`` is sin(2x) cos(x), but ``\sin x e^x`` is refused. Nothing is evaluated.
"""

from __future__ import annotations

import re

from mathpipe.datasets.expressions.lexemes import (
    FUNCTIONS,
    NAMES,
    Kind,
    Lexeme,
    split_lexemes,
    unknown_name,
)
from mathpipe.datasets.expressions.operator_precedence import LATEX_RULES, Parser
from mathpipe.datasets.expressions.prefix import MAX_DEPTH, MAX_DIGITS, MAX_TOKENS, Tree
from mathpipe.datasets.expressions.tree_builder import Limits

_LEXEME = re.compile(
    r"""(?P<space>[ \t\r\n~$]+|\\[,;:!>\ ]|\\(?:q?quad|displaystyle|textstyle)(?![A-Za-z])|\\[()\[\]])
    | (?P<openbar>\\left\s{0,9}\||\\lvert(?![A-Za-z])|\\[bB]igg?l\s{0,9}\|)
    | (?P<closebar>\\right\s{0,9}\||\\rvert(?![A-Za-z])|\\[bB]igg?r\s{0,9}\|)
    | (?P<size>\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z]))
    | (?P<second>\\[dt]?frac\s{0,9}\{d\^(?:2|\{2\})\s{0,9}y\}\s{0,9}\{d\s{0,9}x\^(?:2|\{2\})\})
    | (?P<first>\\[dt]?frac\s{0,9}\{d\s{0,9}y\}\s{0,9}\{d\s{0,9}x\})
    | (?P<fraction>\\[dtc]?frac(?![A-Za-z])) | (?P<root>\\sqrt(?![A-Za-z]))
    | \\(?:operatorname\*?|mathrm|text)\s{0,9}\{\s{0,9}(?P<text>[A-Za-z]+)\s{0,9}\}
    | (?P<times>\\(?:cdot|times|ast)(?![A-Za-z])) | (?P<divided>\\div(?![A-Za-z]))
    | (?P<command>\\[A-Za-z]+)
    | (?P<brace>\\[{}])
    | (?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)
    | (?P<prime>[yY](?:'{1,2}|\^\\prime(?![A-Za-z])|\^\{(?:\s{0,9}\\prime(?![A-Za-z])){1,2}\s{0,9}\}))
    | (?P<letter>π|[A-Za-z](?:_(?:[0-9A-Za-z]|\{\s{0,9}[0-9A-Za-z]+\s{0,9}\}))?)
    | (?P<operator>[-+*/=^]) | (?P<open>[(\[{]) | (?P<close>[)\]}]) | (?P<bar>\|)""",
    re.VERBOSE | re.ASCII,
)
_SIMPLE = {
    "operator": Kind.OPERATOR,
    "open": Kind.OPEN,
    "close": Kind.CLOSE,
    "bar": Kind.BAR,
    "number": Kind.NUMBER,
    "fraction": Kind.FRACTION,
    "root": Kind.ROOT,
}
_FIXED = {
    "times": (Kind.OPERATOR, "*"),
    "divided": (Kind.OPERATOR, "/"),
    "first": (Kind.NAME, "Y'"),
    "openbar": (Kind.OPEN, "left|"),
    "closebar": (Kind.CLOSE, "right|"),
    "second": (Kind.NAME, "Y''"),
}
_SUBSCRIPT = str.maketrans("", "", "_{} \t\r\n")


def parse_latex(
    text: str, *, max_tokens: int = MAX_TOKENS, max_depth: int = MAX_DEPTH, max_digits: int = MAX_DIGITS
) -> Tree:
    """The tree of a LaTeX expression; UserError with the character, what was expected and got."""
    return Parser(LATEX_RULES, text, lexemes(text), Limits(max_tokens, max_depth, max_digits)).expression()


def parse_latex_equation(
    text: str, *, max_tokens: int = MAX_TOKENS, max_depth: int = MAX_DEPTH, max_digits: int = MAX_DIGITS
) -> tuple[Tree, Tree | None]:
    """(left side, right side) of ``y' = x y``; (expression, None) of a text without ``=``."""
    return Parser(LATEX_RULES, text, lexemes(text), Limits(max_tokens, max_depth, max_digits)).equation()


def lexemes(text: str) -> list[Lexeme]:
    """The lexemes of a text, an END at last; UserError for a character or command that no expression has."""

    def lexeme(match: re.Match[str], start: int, end: int) -> Lexeme | None:
        group, value = str(match.lastgroup), match.group()
        if group in ("space", "size"):
            return None
        if group in _SIMPLE:
            return Lexeme(_SIMPLE[group], value, start, end)
        if group in _FIXED:
            return Lexeme(*_FIXED[group], start, end)
        if group == "brace":
            return Lexeme(Kind.OPEN if value == r"\{" else Kind.CLOSE, value, start, end)
        return _name(text, group, match, start, end)

    expected = "LaTeX of numbers, letters, functions, fractions, roots and brackets"
    return split_lexemes(LATEX_RULES.notation, text, _LEXEME, lexeme, expected)


def _name(text: str, group: str, match: re.Match[str], start: int, end: int) -> Lexeme:
    """A letter with its subscript or primes, a command, or the text of ``\\operatorname``."""
    if group == "letter":
        name = match.group().translate(_SUBSCRIPT)
    elif group == "prime":
        name = "y" + "'" * (match.group().count("'") or match.group().count("prime"))
    else:
        name = match.group("text") or match.group().lstrip("\\")
    if group != "letter" and name in FUNCTIONS:
        return Lexeme(Kind.FUNCTION, FUNCTIONS[name], start, end)
    if name in NAMES and (group != "command" or name == "pi"):
        return Lexeme(Kind.NAME, NAMES[name], start, end)
    raise unknown_name(LATEX_RULES.notation, text, start, end)
