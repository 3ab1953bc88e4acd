"""Convert expression trees to and from SymPy, node by node: SymPy never parses text."""

from __future__ import annotations

from functools import cache
from typing import Any

import sympy

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import COEFFICIENTS, IDS, TOKENS, UNKNOWNS, VARIABLES

_LEAVES: dict[str, sympy.Expr] = {
    "pi": sympy.pi,
    "E": sympy.E,
    "I": sympy.I,
    **{name: sympy.Symbol(name, real=True, nonzero=True) for name in (*VARIABLES, *COEFFICIENTS)},
    **{name: sympy.Symbol(name) for name in UNKNOWNS},
}
_FUNCTIONS: dict[str, Any] = {
    "exp": sympy.exp,
    "ln": sympy.log,
    "abs": sympy.Abs,
    "sign": sympy.sign,
    "sqrt": sympy.sqrt,
    **{
        name: getattr(sympy, name)
        for base in ("sin", "cos", "tan", "cot", "sec", "csc")
        for name in (base, f"a{base}", f"{base}h", f"a{base}h")
    },
}
_POWERS = {"pow2": 2, "pow3": 3, "pow4": 4, "pow5": 5, "inv": -1}


def to_sympy(tree: Tree) -> Any:
    """The SymPy expression of a tree; variables and coefficients are real symbols."""
    if isinstance(tree, int):
        return sympy.Integer(tree)
    token, operands = TOKENS[tree[0]], [to_sympy(child) for child in tree[1:]]
    match token, *operands:
        case "add", a, b:
            return a + b
        case "sub", a, b:
            return a - b
        case "mul", a, b:
            return a * b
        case "div", a, b:
            return a / b
        case "pow", a, b:
            return a**b
        case "rac", a, b:
            return a ** (1 / b)
        case name, a if name in _POWERS:
            return a ** _POWERS[name]
        case name, a:
            return _FUNCTIONS[name](a)
    return _LEAVES[token]


@cache
def _function_ids() -> dict[Any, int]:
    """Token ids of SymPy's function classes."""
    return {cls: IDS[name] for name, cls in _FUNCTIONS.items() if name != "sqrt"}


def from_sympy(e: Any) -> Tree:
    """The tree of a SymPy expression; UserError for a node without a token. n-ary sums and products nest to the right."""
    if e.is_Integer:
        return int(e)
    if e.is_Rational:
        return (IDS["div"], int(e.p), int(e.q))
    if e.is_Symbol:
        if e.name in IDS:
            return (IDS[e.name],)
    elif e is sympy.pi or e is sympy.E or e is sympy.I:
        return (IDS[{sympy.pi: "pi", sympy.E: "E", sympy.I: "I"}[e]],)
    elif e.is_Add or e.is_Mul:
        return _nested(IDS["add" if e.is_Add else "mul"], [from_sympy(child) for child in e.args])
    elif e.is_Pow and e.base is sympy.E:
        return (IDS["exp"], from_sympy(e.exp))
    elif e.is_Pow:
        base = from_sympy(e.base)
        if e.exp is sympy.S.Half:
            return (IDS["sqrt"], base)
        return (IDS["pow"], base, from_sympy(e.exp))
    elif e.func in _function_ids():
        return (_function_ids()[e.func], *(from_sympy(child) for child in e.args))
    raise UserError(f"no token for {e.func}", expected="an expression of the published vocabulary", got=str(e)[:80])


def _nested(operator: int, operands: list[Tree]) -> Tree:
    """op(a, op(b, c))."""
    tree = operands[-1]
    for operand in reversed(operands[:-1]):
        tree = (operator, operand, tree)
    return tree
