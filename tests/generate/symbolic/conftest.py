"""Infix formulas of tests as prefix tokens."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest

from mathpipe.datasets.expressions.prefix import integer_to_ids, text_to_ids

_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow"}
_NAMES = {"c": "a8", "c1": "a8", "c2": "a9", "y": "Y", "y1": "Y'", "y2": "Y''", "e": "E"}


@pytest.fixture(scope="session")
def prefix() -> Callable[[str], bytes]:
    """``prefix("x**2/2 + ln(abs(x))")``: the tokens; Python's parser reads the formula, nothing is evaluated."""
    return _prefix


def _prefix(formula: str) -> bytes:
    return _ids(ast.parse(formula, mode="eval").body)


def _ids(node: ast.expr) -> bytes:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return integer_to_ids(node.value)
    if isinstance(node, ast.Name):
        return text_to_ids(_NAMES.get(node.id, node.id))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        if isinstance(node.operand, ast.Constant) and isinstance(node.operand.value, int) and node.operand.value:
            return integer_to_ids(-node.operand.value)
        return text_to_ids("mul") + integer_to_ids(-1) + _ids(node.operand)
    if isinstance(node, ast.BinOp):
        return text_to_ids(_BINARY[type(node.op)]) + _ids(node.left) + _ids(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return text_to_ids(node.func.id) + b"".join(map(_ids, node.args))
    raise ValueError(ast.dump(node))
