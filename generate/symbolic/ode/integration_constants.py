"""Constants of integration: leaves of a sampled expression become a8 and a9, which absorb the constants beside them.

Published data uses a8 for the first constant and a9 for the second.
"""

from __future__ import annotations

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.symbolic.expr.canonical_form import Expr, RejectedExpression, X

CONSTANT_NAMES = ("a8", "a9")
C1, C2 = (se.Symbol(name) for name in CONSTANT_NAMES)
_LEAVES: tuple[Tree, ...] = tuple((IDS[name],) for name in CONSTANT_NAMES)


def count_leaves(tree: Tree) -> int:
    """The number of leaves of a tree."""
    if isinstance(tree, int) or len(tree) == 1:
        return 1
    return sum(count_leaves(child) for child in tree[1:])


def place_constants(tree: Tree, positions: dict[int, int]) -> Tree:
    """Replace leaf k, counted from the left, by constant ``positions[k]`` (0 or 1)."""
    return _replace_leaves(tree, positions, [0])


def _replace_leaves(tree: Tree, positions: dict[int, int], counter: list[int]) -> Tree:
    if isinstance(tree, int) or len(tree) == 1:
        k = counter[0]
        counter[0] += 1
        return _LEAVES[positions[k]] if k in positions else tree
    return (tree[0], *(_replace_leaves(child, positions, counter) for child in tree[1:]))


def absorb_into_constants(expression: Expr, constants: tuple[Expr, ...]) -> Expr:
    """Replace every part with one constant and no x by that constant, also within sums and products: 3 + sin(2 c) + x is c + x.

    Raises RejectedExpression if x or a constant vanishes, or if two constants occur in a part without x and thus are one.
    """
    absorbed = _absorb(expression, constants)
    symbols = absorbed.free_symbols
    if X not in symbols:
        raise RejectedExpression("no variable")
    if not symbols.issuperset(constants):
        raise RejectedExpression("no constant")
    return absorbed


def _absorb(e: Expr, constants: tuple[Expr, ...]) -> Expr:
    contained = [c for c in constants if se.has_symbol(e, c)]
    if not contained or e.is_Symbol:
        return e
    if not se.has_symbol(e, X):
        if len(contained) > 1:
            raise RejectedExpression("equivalent constants")
        return contained[0]
    children = e.args
    operands = [_absorb(child, constants) for child in children]
    if isinstance(e, (classes.Add, classes.Mul)):
        absorbing = [c for c in constants if any(o == c for o in operands)]
        if len(absorbing) > 1:
            raise RejectedExpression("equivalent constants")
        if absorbing:
            return e.func(*absorbing, *(o for o in operands if se.has_symbol(o, X)))
    return e if all(o is child for o, child in zip(operands, children, strict=True)) else e.func(*operands)
