"""Balls of many expressions at once: nodes that they share are evaluated once."""

from __future__ import annotations

from collections.abc import Sequence

from flint import acb

from mathpipe.datasets.expressions.prefix import parse, subexpression
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.generate.symbolic.numeric.array_programs import Program
from mathpipe.generate.symbolic.numeric.ball_functions import RULES, Ball, CannotTell, Undefined, rational_power
from mathpipe.generate.symbolic.numeric.balls import Jet, binary_jet, compose_jet, leaf, rational
from mathpipe.generate.symbolic.numeric.taylor import Algebra

_INTEGERS = (IDS["INT+"], IDS["INT-"])


def evaluate(program: Program, tokens: bytes, algebra: Algebra, x: Sequence[Ball]) -> list[Jet | None]:
    """The jets of n expressions in x; None where a value is undefined or unknown at this precision, and for missing roots.

    ``tokens``: those of all sequences. ``x``: the value for each group of expressions, which is the row of its nodes.
    """
    leaves = [{"x": [value, *([acb(1)] if algebra.order else [])]} for value in x]
    components = len(algebra.monomials)
    nodes: list[Jet | None] = []
    columns = (program.token, program.left, program.right, program.row, program.position)
    for token, left, right, row, position in zip(*(column.tolist() for column in columns), strict=True):
        try:
            if token in _INTEGERS:
                integer = parse(subexpression(tokens, position))
                nodes.append([acb(integer), *[None] * (components - 1)])
            elif left < 0:
                nodes.append(leaf(TOKENS[token], leaves[row], components))
            else:
                nodes.append(_operation(tokens, position, algebra, nodes[left], nodes[right] if right >= 0 else None))
        except (Undefined, CannotTell):
            nodes.append(None)
    return [nodes[root] if root >= 0 else None for root in program.root.tolist()]


def _operation(tokens: bytes, position: int, algebra: Algebra, a: Jet | None, b: Jet | None) -> Jet | None:
    """The jet of the operator at a position of the tokens, applied to one or two operands."""
    name = TOKENS[tokens[position]]
    if a is None:
        return None
    if name in RULES:
        return compose_jet(algebra, RULES[name], a)
    if b is None:
        return None
    if name in ("pow", "rac"):
        base = subexpression(tokens, position + 1)
        exponent = rational(parse(subexpression(tokens, position + 1 + len(base))))
        if exponent is not None and (name == "pow" or exponent != 0):
            return compose_jet(algebra, rational_power(1 / exponent if name == "rac" else exponent), a)
    return binary_jet(name, algebra, a, b)
