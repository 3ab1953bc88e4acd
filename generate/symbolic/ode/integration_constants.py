"""Constants of integration: a leaf of a drawn expression becomes a8 (another a9), and takes in what is constant beside it.

Published data writes the first constant a8 and the second a9.
"""

from __future__ import annotations

import symengine as se
from symengine.lib import symengine_wrapper as classes

from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.symbolic.expr.canonical_form import Expr, Unwritable, X

NAMES = ("a8", "a9")
C1, C2 = (se.Symbol(name) for name in NAMES)
_LEAVES: tuple[Tree, ...] = tuple((IDS[name],) for name in NAMES)


def leaf_count(tree: Tree) -> int:
    """Leaves of a tree."""
    if isinstance(tree, int) or len(tree) == 1:
        return 1
    return sum(leaf_count(child) for child in tree[1:])


def with_constants(tree: Tree, places: dict[int, int]) -> Tree:
    """The tree in which leaf k, counted from the left, is constant ``places[k]`` (0 or 1)."""
    return _replaced(tree, places, [0])


def _replaced(tree: Tree, places: dict[int, int], seen: list[int]) -> Tree:
    if isinstance(tree, int) or len(tree) == 1:
        k = seen[0]
        seen[0] += 1
        return _LEAVES[places[k]] if k in places else tree
    return (tree[0], *(_replaced(child, places, seen) for child in tree[1:]))


def absorbed(expression: Expr, constants: tuple[Expr, ...]) -> Expr:
    """Every part that holds one constant and no x becomes that constant, within sums and products too: 3 + sin(2 c) + x is c + x.

    Unwritable where x is gone, a constant is gone, or two constants meet in one part without x: then they are one.
    """
    found = _absorbed(expression, constants)
    there = found.free_symbols
    if X not in there:
        raise Unwritable("no variable")
    if not there.issuperset(constants):
        raise Unwritable("no constant")
    return found


def _absorbed(e: Expr, constants: tuple[Expr, ...]) -> Expr:
    held = [c for c in constants if se.has_symbol(e, c)]
    if not held or e.is_Symbol:
        return e
    if not se.has_symbol(e, X):
        if len(held) > 1:
            raise Unwritable("constants are one")
        return held[0]
    operands = [_absorbed(child, constants) for child in e.args]
    if isinstance(e, (classes.Add, classes.Mul)):
        still = [o for o in operands if not se.has_symbol(o, X)]
        mine = [c for c in constants if any(o == c for o in still)]
        if len(mine) > 1:
            raise Unwritable("constants are one")
        if mine:
            operands = [*mine, *(o for o in operands if se.has_symbol(o, X))]
    return e.func(*operands)
