"""Operator precedence parsing of lexemes into trees, with explicit stacks: linear time, and no recursion that a text could exhaust.

From loose to tight: sums, products, a sign, a function without brackets, powers. A complete operand that is followed by the
start of another is a product where only one reading exists, and an error otherwise. Sums and products nest to the right, as
everywhere in the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from mathpipe.datasets.expressions.lexemes import (
    CONSTANTS_OF_INTEGRATION,
    INVERSES,
    Kind,
    Lexeme,
    error,
)
from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.tree_builder import Limits, TreeBuilder
from mathpipe.datasets.expressions.vocabulary import UNKNOWNS

_SUM, _PRODUCT, _SIGN, _FUNCTION, _ARGUMENT, _POWER = (
    1,
    2,
    3,
    4,
    5,
    6,
)  # precedence; ARGUMENT: products like the 2x of sin 2x
_PRECEDENCE = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "^": _POWER}
_CLOSING = {"(": ")", "[": "]", "{": "}", r"\{": r"\}", "left|": "right|", "|": "|"}
_STARTS = (Kind.NAME, Kind.FUNCTION, Kind.OPEN, Kind.FRACTION, Kind.ROOT, Kind.BAR, Kind.NUMBER)


@dataclass(frozen=True)
class Rules:
    """What differs between the notations. ``single_tokens``: arguments without braces are one digit, letter or command (LaTeX).

    ``application``: a name before a bracket might be a function, so it is no factor (infix).
    """

    notation: str
    single_tokens: bool
    application: bool


INFIX_RULES = Rules("infix", single_tokens=False, application=True)
LATEX_RULES = Rules("LaTeX", single_tokens=True, application=False)


class _Operator(NamedTuple):
    """An operator (``symbol``) or function (``symbol`` is its token) that waits for its last operand."""

    precedence: int
    symbol: str
    start: int
    exponent: int = 1


class _Bracket(NamedTuple):
    """An open bracket. ``role``: of LaTeX's arguments; ``function``: applied to what the bracket holds."""

    symbol: str
    role: str
    start: int
    function: _Operator | None = None


class Parser:
    """Parses the lexemes of one text, once."""

    def __init__(self, rules: Rules, text: str, lexemes: list[Lexeme], limits: Limits) -> None:
        self._rules, self._text, self._lexemes, self._position = rules, text, lexemes, 0
        self._builder = TreeBuilder(rules.notation, text, limits)
        self._stack: list[_Operator | _Bracket] = []
        self._brackets: list[_Bracket] = []
        self._spellings: dict[str, Lexeme] = {}
        self._left: Tree | None = None
        self._closed: _Bracket | None = None  # the bracket that was closed last
        self._last_reduced: _Operator | None = None  # what the last ``_reduce`` applied last

    def expression(self) -> Tree:
        """The tree of a text without ``=``."""
        return self._parse(equation=False)

    def equation(self) -> tuple[Tree, Tree | None]:
        """(left side, right side); (expression, None) of a text without ``=``."""
        last = self._parse(equation=True)
        return (last, None) if self._left is None else (self._left, last)

    def _parse(self, *, equation: bool) -> Tree:
        complete = False  # whether the operand before this position is complete
        while True:
            lexeme = self._lexemes[self._position]
            if not complete:
                complete = self._begin_operand(lexeme)
            elif lexeme.kind is Kind.END:
                break
            elif lexeme.kind is Kind.OPERATOR and lexeme.value != "=":
                self._operator(lexeme)
                complete = False
            elif lexeme.kind is Kind.CLOSE or (lexeme.kind is Kind.BAR and self._innermost() == "|"):
                complete = self._close(lexeme)
            elif lexeme.kind is Kind.OPERATOR:
                self._equals(lexeme, allowed=equation)
                complete = False
            else:
                self._implicit_product(lexeme)
                complete = False
        return self._finish()

    def _fail(self, lexeme: Lexeme, what: str, expected: str) -> NoReturn:
        shown = lexeme if lexeme.kind is not Kind.END else None
        raise error(
            self._rules.notation, self._text, lexeme.start, what, expected, end=shown.end if shown is not None else None
        )

    def _next(self) -> Lexeme:
        return self._lexemes[self._position]

    def _innermost(self) -> str:
        """The innermost open bracket, or the empty string."""
        return self._brackets[-1].symbol if self._brackets else ""

    # -- operands

    def _begin_operand(self, lexeme: Lexeme) -> bool:
        """Reads the start of an operand; True if it is complete."""
        kind = lexeme.kind
        if kind is Kind.OPERATOR and lexeme.value in "+-":
            return self._sign(lexeme)
        handler = _HANDLERS.get(kind)
        if handler is None:
            if kind is Kind.END and self._brackets:
                opened = self._brackets[-1]
                self._fail(lexeme, f"{opened.symbol} of character {opened.start + 1} is not closed", "an operand")
            self._fail(lexeme, "an operand is missing", "a number, a name, a function or an opening bracket")
        self._position += 1
        return handler(self, lexeme)

    def _sign(self, lexeme: Lexeme) -> bool:
        top = self._stack[-1] if self._stack else None
        if isinstance(top, _Operator) and top.precedence in (_FUNCTION, _ARGUMENT):
            self._fail(lexeme, "a function without brackets has a sign in its argument", "brackets around the argument")
        if self._rules.single_tokens and isinstance(top, _Operator) and top.symbol == "^":
            self._fail(lexeme, "an exponent of more than one character", "braces around the exponent")
        self._position += 1
        if lexeme.value == "-":
            self._stack.append(_Operator(_SIGN, "-", lexeme.start))
        return False

    def _number(self, lexeme: Lexeme) -> bool:
        self._builder.number(lexeme.value, lexeme.start)
        return True

    def _name(self, lexeme: Lexeme) -> bool:
        token = lexeme.value
        if token in CONSTANTS_OF_INTEGRATION:
            first = self._spellings.setdefault(token, lexeme)
            if self._spelling(first) != self._spelling(lexeme):
                self._fail(lexeme, "two names of one constant of integration", self._spelling(first))
        if token in UNKNOWNS:
            self._skip_argument_x()
        self._builder.leaf(token, lexeme.start)
        return True

    def _spelling(self, lexeme: Lexeme) -> str:
        return self._text[lexeme.start : lexeme.end].replace("{", "").replace("}", "").replace(" ", "")

    def _skip_argument_x(self) -> None:
        """Skips the (x) of y(x) and y'(x)."""
        values = [lexeme.value for lexeme in self._lexemes[self._position : self._position + 3]]
        if values == ["(", "x", ")"]:
            self._position += 3

    def _function(self, lexeme: Lexeme) -> bool:
        top = self._stack[-1] if self._stack else None
        if self._rules.single_tokens and isinstance(top, _Operator) and top.symbol == "^":
            self._fail(lexeme, "a function as an exponent without braces", "braces around the exponent")
        function = self._function_power(_Operator(_FUNCTION, lexeme.value, lexeme.start))
        following = self._next()
        if following.kind in (Kind.OPEN, Kind.BAR):
            self._position += 1
            self._open_bracket(
                _Bracket(following.value if following.kind is Kind.OPEN else "|", "", following.start, function)
            )
        elif following.kind not in (Kind.NUMBER, Kind.NAME, Kind.FUNCTION, Kind.FRACTION, Kind.ROOT):
            self._fail(following, "the argument of a function is missing", "an opening bracket, a number or a name")
        else:
            self._stack.append(function)
        return False

    def _function_power(self, function: _Operator) -> _Operator:
        """The function with the exponent that follows its name: sin^2 u is (sin u)^2, sin^-1 u is asin u."""
        caret = self._next()
        if caret.value != "^" or caret.kind is not Kind.OPERATOR:
            return function
        self._position += 1
        opening = self._next() if self._next().kind is Kind.OPEN else None
        self._position += opening is not None
        exponent = self._short_integer(whole=opening is not None)
        if opening is not None:
            if self._next().value != _CLOSING[opening.value]:
                self._fail(self._next(), "the exponent after the name of a function", _CLOSING[opening.value])
            self._position += 1
        if exponent >= 0:
            return function._replace(exponent=exponent)
        if exponent != -1 or function.symbol not in INVERSES:
            self._fail(
                caret, "a negative power between a function and its argument", "1/f(x), or the inverse by its name"
            )
        return function._replace(symbol=INVERSES[function.symbol])

    def _short_integer(self, *, whole: bool) -> int:
        """The integer at the position; ``whole``: also in LaTeX all its digits."""
        negative = self._next().value == "-"
        self._position += negative
        number = self._next()
        if number.kind is not Kind.NUMBER or not number.value.isdigit() or len(number.value) > 4:
            self._fail(number, "the exponent after the name of a function", "an integer, as in sin^2(x)")
        digits = number.value if whole else self._single_token(number)
        self._position += digits == number.value
        return -int(digits) if negative else int(digits)

    def _single_token(self, number: Lexeme) -> str:
        """The digits that an argument without braces takes: all in infix, one in LaTeX, where the rest stays a lexeme."""
        if not self._rules.single_tokens or len(number.value) == 1:
            return number.value
        rest = Lexeme(Kind.NUMBER, number.value[1:], number.start + 1, number.end)
        self._lexemes[self._position] = rest
        return number.value[0]

    # -- brackets and LaTeX's arguments

    def _open(self, lexeme: Lexeme) -> bool:
        self._open_bracket(_Bracket(lexeme.value, "", lexeme.start))
        return False

    def _bar(self, lexeme: Lexeme) -> bool:
        self._open_bracket(_Bracket("|", "", lexeme.start))
        return False

    def _open_bracket(self, bracket: _Bracket) -> None:
        self._stack.append(bracket)
        self._brackets.append(bracket)

    def _fraction(self, lexeme: Lexeme) -> bool:
        return self._argument("numerator", lexeme)

    def _root(self, lexeme: Lexeme) -> bool:
        following = self._next()
        if following.value == "[":
            self._position += 1
            self._open_bracket(_Bracket("[", "index", following.start))
            return False
        return self._argument("square root", lexeme)

    def _argument(self, role: str, command: Lexeme) -> bool:
        """Begins an argument: a group in braces, or one digit or letter; True if the operand of the command is complete."""
        lexeme = self._next()
        if lexeme.value == "{" and lexeme.kind is Kind.OPEN:
            self._position += 1
            self._open_bracket(_Bracket("{", role, lexeme.start))
            return False
        if lexeme.kind is Kind.NUMBER and lexeme.value[0] != ".":
            digits = self._single_token(lexeme)
            self._position += digits == lexeme.value
            self._builder.number(digits, lexeme.start)
        elif lexeme.kind is Kind.NAME:
            self._position += 1
            self._name(lexeme)
        else:
            self._fail(lexeme, f"the {role} is missing", "an argument in braces")
        return self._end_argument(role, command.start)

    def _end_argument(self, role: str, start: int) -> bool:
        """Does what the role of an argument asks for; True if the operand is complete."""
        command = Lexeme(Kind.FRACTION, "", start, start)
        match role:
            case "numerator":
                return self._argument("denominator", command)
            case "index":
                return self._argument("radicand", command)
            case "denominator":
                self._builder.apply("div", 2, start)
            case "square root":
                self._builder.apply("sqrt", 1, start)
            case "radicand":
                self._builder.root(start)
        return True

    def _close(self, lexeme: Lexeme) -> bool:
        self._reduce(0)
        if not self._stack:
            self._fail(lexeme, "a closing bracket without an opening one", "an operator or the end")
        bracket = self._stack[-1]
        assert isinstance(bracket, _Bracket)
        if _CLOSING[bracket.symbol] != lexeme.value:
            self._fail(
                lexeme,
                f"another bracket closes {bracket.symbol} of character {bracket.start + 1}",
                _CLOSING[bracket.symbol],
            )
        self._position += 1
        self._stack.pop()
        self._closed = self._brackets.pop()
        if bracket.symbol in ("|", "left|"):
            self._builder.apply("abs", 1, bracket.start)
        if bracket.function is not None:
            self._apply_operator(bracket.function)
            if bracket.symbol in ("|", "left|") and self._next().value == "^":
                self._fail(self._next(), "ln|u|^2 has two readings", "brackets around what the exponent belongs to")
        return self._end_argument(bracket.role, bracket.start)

    # -- operators

    def _operator(self, lexeme: Lexeme) -> None:
        precedence = _PRECEDENCE[lexeme.value]
        self._reject_split_argument(lexeme, precedence)
        self._reduce(precedence)
        self._position += 1
        self._stack.append(_Operator(precedence, lexeme.value, lexeme.start))
        following = self._next()
        if self._rules.single_tokens and lexeme.value == "^" and following.kind is Kind.NUMBER:
            digits = self._single_token(following)
            if digits != following.value:
                self._fail(following, "digits without braces after ^", "braces around the exponent")

    def _reject_split_argument(self, lexeme: Lexeme, precedence: int) -> None:
        """UserError for ``sin 2*x``, which a reader may take for sin(2 x)."""
        if precedence != _PRODUCT:
            return
        self._reduce(_ARGUMENT)
        top = self._stack[-1] if self._stack else None
        if isinstance(top, _Operator) and top.precedence == _FUNCTION and self._builder.operands[-1].constant:
            self._fail(lexeme, "the argument of a function may end here or go on", "brackets around the argument")

    def _implicit_product(self, lexeme: Lexeme) -> None:
        """A product without a sign; UserError where there are two readings."""
        previous = self._lexemes[self._position - 1]
        if lexeme.kind is Kind.NUMBER or lexeme.kind not in _STARTS:
            self._fail(lexeme, "an operator is missing before this", "an operator, a closing bracket or the end")
        if self._rules.application and previous.kind is Kind.NAME and lexeme.kind is Kind.OPEN:
            self._fail(lexeme, "a name before a bracket may be a product or a function", "* between them")
        if previous.kind is Kind.BAR and (
            self._closed is None or self._closed.function is None or self._innermost() == "|"
        ):
            self._fail(lexeme, "a bar may close one absolute value or open another", "* between the factors, or abs()")
        self._reduce(_ARGUMENT)
        top = self._stack[-1] if self._stack else None
        if isinstance(top, _Operator) and top.precedence == _FUNCTION:
            below = self._stack[-2] if len(self._stack) > 1 else None
            nested = isinstance(below, _Operator) and below.precedence == _FUNCTION
            if self._builder.operands[-1].constant and lexeme.kind not in (Kind.FUNCTION, Kind.OPEN, Kind.BAR):
                self._stack.append(_Operator(_ARGUMENT, "*", lexeme.start))
                return
            if nested or lexeme.kind is not Kind.FUNCTION:
                self._fail(lexeme, "the argument of a function may end here or go on", "brackets around the argument")
        elif (
            self._rules.application
            and isinstance(self._last_reduced, _Operator)
            and self._last_reduced.symbol == "^"
            and previous.kind is Kind.NUMBER
            and previous.end == lexeme.start
            and lexeme.kind in (Kind.NAME, Kind.FUNCTION)
        ):
            self._fail(lexeme, "2^3x has two readings", "* after the exponent, or brackets around it")
        self._reduce(_SIGN)
        top = self._stack[-1] if self._stack else None
        if isinstance(top, _Operator) and top.symbol == "/":
            self._fail(lexeme, "1/2x has two readings", "* or brackets around the denominator")
        self._reduce(_PRODUCT)
        self._stack.append(_Operator(_PRODUCT, "*", lexeme.start))

    def _equals(self, lexeme: Lexeme, *, allowed: bool) -> None:
        if not allowed or self._left is not None or self._brackets:
            self._fail(lexeme, "= has no meaning here", "an operator, a closing bracket or the end")
        self._reduce(0)
        self._position += 1
        self._left = self._builder.pop()

    def _reduce(self, precedence: int) -> None:
        """Applies the operators on the stack that bind at least as tightly, but ``+``, ``*`` and ``^`` of the same precedence."""
        self._last_reduced = None
        while self._stack:
            top = self._stack[-1]
            if isinstance(top, _Bracket) or top.precedence < precedence:
                return
            if top.precedence == precedence and top.symbol in "+*^" and precedence != _ARGUMENT:
                return
            self._stack.pop()
            self._last_reduced = top
            self._apply_operator(top)

    def _apply_operator(self, operator: _Operator) -> None:
        if operator.precedence == _FUNCTION:
            self._builder.function(operator.symbol, operator.exponent, operator.start)
        elif operator.precedence == _SIGN:
            self._builder.negate(operator.start)
        elif operator.symbol == "^":
            self._builder.power(operator.start)
        else:
            self._builder.apply(_TOKENS[operator.symbol], 2, operator.start)

    def _finish(self) -> Tree:
        self._reduce(0)
        if self._stack:
            bracket = self._stack[-1]
            raise error(
                self._rules.notation,
                self._text,
                len(self._text),
                f"{bracket.symbol} of character {bracket.start + 1} is not closed",
                _CLOSING[bracket.symbol],
            )
        return self._builder.pop()


_TOKENS = {"+": "add", "-": "sub", "*": "mul", "/": "div"}
_HANDLERS: dict[Kind, Callable[[Parser, Lexeme], bool]] = {
    Kind.NUMBER: Parser._number,
    Kind.NAME: Parser._name,
    Kind.FUNCTION: Parser._function,
    Kind.OPEN: Parser._open,
    Kind.BAR: Parser._bar,
    Kind.FRACTION: Parser._fraction,
    Kind.ROOT: Parser._root,
}
