"""Render expressions as infix and LaTeX. Tokens that are not an expression are shown as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mathpipe.datasets.expressions.prefix import Malformed, Tree, ids_to_text, parse
from mathpipe.datasets.expressions.vocabulary import COEFFICIENTS, TOKENS

_SUM, _PRODUCT, _POWER, _ATOM = 1, 2, 3, 4  # binding strength
_POWERS = {"pow2": 2, "pow3": 3, "pow4": 4, "pow5": 5}
_UNKNOWNS = {"Y": "y", "Y'": "y'", "Y''": "y''"}


@dataclass(frozen=True)
class Formula:
    """Text and its binding strength."""

    text: str
    binding: int

    @property
    def negative(self) -> bool:
        return self.text.startswith("-")


@dataclass(frozen=True)
class Style:
    """A notation: how to render leaves, and operators of one and two operands."""

    leaf: Callable[[str], str]
    unary: Callable[[str, Formula], Formula]
    binary: Callable[[str, Formula, Formula], Formula]


def to_infix(expression: bytes | Tree) -> str:
    """``x**2*sin(x) + 3/4``."""
    return _render(expression, INFIX)


def to_latex(expression: bytes | Tree) -> str:
    """``x^{2} \\sin\\left(x\\right) + \\frac{3}{4}``."""
    return _render(expression, LATEX)


def _render(expression: bytes | Tree, style: Style) -> str:
    if not isinstance(expression, bytes):
        return _formula(expression, style).text
    try:
        return _formula(parse(expression), style).text
    except Malformed:
        return ids_to_text(expression)


def _formula(tree: Tree, style: Style) -> Formula:
    if isinstance(tree, int):
        return Formula(str(tree), _ATOM if tree >= 0 else _PRODUCT)
    token, operands = TOKENS[tree[0]], [_formula(child, style) for child in tree[1:]]
    if not operands:
        return Formula(style.leaf(token), _ATOM)
    return style.unary(token, operands[0]) if len(operands) == 1 else style.binary(token, operands[0], operands[1])


def _parenthesize(formula: Formula, binding: int, left: str, right: str, *, sign: bool = False) -> str:
    """Add parentheses if the formula binds less tightly than ``binding`` or, with ``sign``, starts with a minus."""
    if formula.binding >= binding and not (sign and formula.negative):
        return formula.text
    return f"{left}{formula.text}{right}"


def _sum(token: str, a: Formula, b: Formula, left: str, right: str) -> Formula:
    if token == "sub":
        return Formula(f"{a.text} - {_parenthesize(b, _PRODUCT, left, right, sign=True)}", _SUM)
    if b.negative:  # also if it is a sum: a + (-p + q) = a - p + q
        return Formula(f"{a.text} - {b.text[1:]}", _SUM)
    return Formula(f"{a.text} + {b.text}", _SUM)


def _negated(b: Formula, left: str, right: str) -> Formula:
    return Formula(f"-{_parenthesize(b, _PRODUCT, left, right, sign=True)}", _PRODUCT)


def _infix_unary(token: str, a: Formula) -> Formula:
    if token == "inv":
        return Formula(f"1/{_parenthesize(a, _POWER, '(', ')')}", _PRODUCT)
    if token in _POWERS:
        return Formula(f"{_parenthesize(a, _ATOM, '(', ')')}**{_POWERS[token]}", _POWER)
    return Formula(f"{token}({a.text})", _ATOM)


def _infix_binary(token: str, a: Formula, b: Formula) -> Formula:
    if token in ("add", "sub"):
        return _sum(token, a, b, "(", ")")
    if token == "div":
        return Formula(f"{_parenthesize(a, _PRODUCT, '(', ')')}/{_parenthesize(b, _POWER, '(', ')')}", _PRODUCT)
    if token == "mul" and a.text == "-1":
        return _negated(b, "(", ")")
    if token == "mul":
        first, second = _parenthesize(a, _PRODUCT, "(", ")"), _parenthesize(b, _PRODUCT, "(", ")", sign=True)
        if (
            second.startswith("1/")
            and b.binding == _PRODUCT
            and second.count("/") == 1
            and "*" not in second.replace("**", "")
        ):
            return Formula(first + second[1:], _PRODUCT)
        return Formula(f"{first}*{second}", _PRODUCT)
    base, exponent = _parenthesize(a, _ATOM, "(", ")"), b.text
    if token == "rac":
        return Formula(f"{base}**(1/{_parenthesize(b, _ATOM, '(', ')')})", _POWER)
    if exponent == "-1":
        return Formula(f"1/{_parenthesize(a, _POWER, '(', ')')}", _PRODUCT)
    if b.negative and exponent[1:].isdigit():
        return Formula(f"1/{base}**{exponent[1:]}", _PRODUCT)
    return Formula(f"{base}**{_parenthesize(b, _ATOM, '(', ')')}", _POWER)


_L, _R = "\\left(", "\\right)"
_LATEX_FUNCTIONS = ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "ln")
_LATEX_NAMES = {
    **{name: f"\\{name}" for name in _LATEX_FUNCTIONS},
    **{f"a{name}": f"\\arc{name}" for name in ("sin", "cos", "tan")},
    **{name: f"a_{{{name[1:]}}}" for name in COEFFICIENTS},
    **_UNKNOWNS,
    "E": "e",
    "pi": "\\pi",
    "I": "i",
}


def _latex_unary(token: str, a: Formula) -> Formula:
    match token:
        case "inv":
            return Formula(f"\\frac{{1}}{{{a.text}}}", _ATOM)
        case "sqrt":
            return Formula(f"\\sqrt{{{a.text}}}", _ATOM)
        case "exp":
            return Formula(f"e^{{{a.text}}}", _POWER)
        case "abs":
            return Formula(f"\\left|{a.text}\\right|", _ATOM)
    if token in _POWERS:
        return Formula(f"{_base(a)}^{{{_POWERS[token]}}}", _POWER)
    name = _LATEX_NAMES.get(token, f"\\operatorname{{{token}}}")
    return Formula(f"{name}{_L}{a.text}{_R}", _ATOM)


def _base(a: Formula) -> str:
    return f"{{{_parenthesize(a, _ATOM, _L, _R)}}}"


def _latex_binary(token: str, a: Formula, b: Formula) -> Formula:
    if token in ("add", "sub"):
        return _sum(token, a, b, _L, _R)
    if token == "div" and a.negative and a.text[1:].isdigit():
        return Formula(f"-\\frac{{{a.text[1:]}}}{{{b.text}}}", _PRODUCT)
    if token == "div":
        return Formula(f"\\frac{{{a.text}}}{{{b.text}}}", _ATOM)
    if token == "mul" and a.text == "-1":
        return _negated(b, _L, _R)
    if token == "mul":
        first, second = _parenthesize(a, _PRODUCT, _L, _R), _parenthesize(b, _PRODUCT, _L, _R, sign=True)
        dot = " \\cdot " if second[:1].isdigit() else " "
        return Formula(f"{first}{dot}{second}", _PRODUCT)
    if token == "rac":
        return Formula(f"\\sqrt[{b.text}]{{{a.text}}}", _ATOM)
    if b.negative and b.text[1:].isdigit():
        below = a.text if b.text == "-1" else f"{_base(a)}^{{{b.text[1:]}}}"
        return Formula(f"\\frac{{1}}{{{below}}}", _ATOM)
    return Formula(f"{_base(a)}^{{{b.text}}}", _POWER)


INFIX = Style(lambda token: _UNKNOWNS.get(token, token), _infix_unary, _infix_binary)
LATEX = Style(lambda token: _LATEX_NAMES.get(token, token), _latex_unary, _latex_binary)
