"""Trees from operands and operators: the stack of a parser, with the limits on tokens, depth and digits.

``-3`` is an integer and 0.5 the fraction 1/2; ``u^(1/2)`` becomes ``sqrt u``, ``e^u`` becomes ``exp u``, and any other -u is
``mul INT- 1 u``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, NoReturn

from mathpipe.datasets.expressions.lexemes import error
from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import COEFFICIENTS, IDS, UNKNOWNS, VARIABLES

_HALF: Tree = (IDS["div"], 1, 2)
_E: Tree = (IDS["E"],)
_DIV = IDS["div"]
_LEAVES: dict[str, Tree] = {token: (k,) for token, k in IDS.items()}
_WITH_VALUES = frozenset((*VARIABLES, *UNKNOWNS, *COEFFICIENTS))


@dataclass(frozen=True)
class Limits:
    """Of an expression: ``tokens`` in prefix notation, ``depth`` of its tree, ``digits`` of a number."""

    tokens: int
    depth: int
    digits: int


class Operand(NamedTuple):
    """A tree, its depth, and whether it is free of variables."""

    tree: Tree
    depth: int
    constant: bool


@dataclass
class TreeBuilder:
    """The operands of an expression that is read from left to right. Positions are those of the text, for errors."""

    notation: str
    text: str
    limits: Limits
    operands: list[Operand] = field(default_factory=list)
    tokens: int = 0

    def leaf(self, token: str, start: int) -> None:
        """Adds a constant, variable or unknown."""
        self._push(Operand(_LEAVES[token], 0, token not in _WITH_VALUES), 1, start)

    def integer(self, value: int, start: int) -> None:
        """Adds an integer."""
        self._push(Operand(value, 0, True), 1 + len(str(abs(value))), start)

    def number(self, digits: str, start: int) -> None:
        """Adds an integer or decimal; decimals become exact fractions."""
        whole, _, decimals = digits.partition(".")
        count = len(whole) + len(decimals)
        if count > self.limits.digits:
            self._fail(start, f"a number of {count} digits", f"at most {self.limits.digits} digits")
        value = Fraction(int(whole + decimals), 10 ** len(decimals)) if decimals else Fraction(int(whole))
        if value.denominator == 1:
            self.integer(value.numerator, start)
            return
        lengths = len(str(value.numerator)), len(str(value.denominator))
        if max(lengths) > self.limits.digits:
            self._fail(start, "a decimal of too many digits", f"a denominator of at most {self.limits.digits} digits")
        self._push(Operand((_DIV, value.numerator, value.denominator), 1, True), 3 + sum(lengths), start)

    def apply(self, token: str, arity: int, start: int) -> None:
        """Replaces the last operand or, with ``arity`` 2, the last two by a node of them."""
        last = self.operands.pop()
        tree: Tree = (IDS[token], last.tree)
        depth, constant = last.depth, last.constant
        if arity == 2:
            first = self.operands.pop()
            tree = (IDS[token], first.tree, last.tree)
            depth, constant = max(depth, first.depth), constant and first.constant
        if depth >= self.limits.depth:
            self._fail(start, "nested too deeply", f"at most {self.limits.depth} levels")
        self._push(Operand(tree, depth + 1, constant), 1, start)

    def function(self, name: str, exponent: int, start: int) -> None:
        """Applies f, or the power f^n, to the last operand; the cube root is ``rac u 3``."""
        if name == "cbrt":
            self.integer(3, start)
            self.apply("rac", 2, start)
        else:
            self.apply(name, 1, start)
        if exponent != 1:
            self.integer(exponent, start)
            self.apply("pow", 2, start)

    def power(self, start: int) -> None:
        """The last but one to the power of the last operand."""
        base, exponent = self.operands[-2].tree, self.operands[-1].tree
        if exponent == _HALF:
            self.operands.pop()
            self.apply("sqrt", 1, start)
        elif base == _E:
            del self.operands[-2]
            self.apply("exp", 1, start)
        else:
            self.apply("pow", 2, start)

    def root(self, start: int) -> None:
        """The n-th root: n is the last but one operand."""
        radicand, index = self.operands.pop(), self.operands.pop()
        self.operands.append(radicand)
        if index.tree == 2:
            self.apply("sqrt", 1, start)
        else:
            self.operands.append(index)
            self.apply("rac", 2, start)

    def negate(self, start: int) -> None:
        """Changes the sign of the last operand."""
        tree, depth, constant = self.operands[-1]
        if isinstance(tree, int):
            self.operands[-1] = Operand(-tree, depth, constant)
        elif tree[0] == _DIV and isinstance(tree[1], int) and isinstance(tree[2], int):
            self.operands[-1] = Operand((_DIV, -tree[1], tree[2]), depth, constant)
        else:
            operand = self.operands.pop()
            self.integer(-1, start)
            self.operands.append(operand)
            self.apply("mul", 2, start)

    def pop(self) -> Tree:
        """Takes the last operand."""
        return self.operands.pop().tree

    def _push(self, operand: Operand, tokens: int, start: int) -> None:
        self.tokens += tokens
        if self.tokens > self.limits.tokens:
            self._fail(start, "the expression is too long", f"at most {self.limits.tokens} tokens")
        self.operands.append(operand)

    def _fail(self, start: int, what: str, expected: str) -> NoReturn:
        raise error(self.notation, self.text, start, what, expected)
