"""Random expressions follow the published spec: counts, shapes, letters, leaves."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import WORDS
from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.expr.random_trees import (
    BINARY_WEIGHTS,
    UNARY_WEIGHTS,
    check_spec,
    draw_operator_counts,
    draw_trees,
    nested_exponentials,
    ways,
)


def shape(tree: Tree) -> str:
    return "." if isinstance(tree, int) or len(tree) == 1 else f"({''.join(shape(child) for child in tree[1:])})"


def all_shapes(operators: int) -> list[str]:
    """Every unary-binary tree with so many operators, by building them."""
    if operators == 0:
        return ["."]
    smaller = [all_shapes(k) for k in range(operators)]
    unary = [f"({a})" for a in smaller[operators - 1]]
    pairs = ((a, b) for k in range(operators) for a, b in itertools.product(smaller[k], smaller[operators - 1 - k]))
    return unary + [f"({a}{b})" for a, b in pairs]


def nodes(tree: Tree) -> list[Tree]:
    return [tree] if isinstance(tree, int) else [tree, *(node for child in tree[1:] for node in nodes(child))]


def test_the_recursion_counts_trees() -> None:
    assert [ways(1, n) for n in range(6)] == [1, 2, 6, 22, 90, 394]
    assert [ways(2, n) for n in range(5)] == [1, 4, 16, 68, 304]
    assert [ways(1, n) for n in range(5)] == [len(set(all_shapes(n))) for n in range(5)]


@pytest.mark.parametrize("operators", [1, 2, 3, 4])
def test_shapes_are_uniform(operators: int) -> None:
    shapes = all_shapes(operators)
    drawn = draw_trees(
        np.random.default_rng(operators), 150 * len(shapes), ExpressionSpec(), [operators] * 150 * len(shapes)
    )
    counts = Counter(map(shape, drawn))
    assert set(counts) == set(shapes)
    assert chisquare([counts[s] for s in shapes]).pvalue > 1e-4


def test_letters_and_leaves_follow_their_weights() -> None:
    drawn = draw_trees(np.random.default_rng(1), 8000, ExpressionSpec())
    every = [node for tree in drawn for node in nodes(tree)]
    for weights in (BINARY_WEIGHTS, UNARY_WEIGHTS):
        counts = Counter(
            WORDS[n[0]] for n in every if not isinstance(n, int) and len(n) == (3 if weights is BINARY_WEIGHTS else 2)
        )
        total = sum(counts.values())
        expected = [total * w / sum(weights.values()) for w in weights.values()]
        assert chisquare([counts[name] for name in weights], expected).pvalue > 1e-4
    leaves = Counter(
        node if isinstance(node, int) else "x" for node in every if isinstance(node, int) or len(node) == 1
    )
    total = sum(leaves.values())
    expected = [0.75 * total, *[0.05 * total] * 5]
    assert chisquare([leaves["x"], *(leaves[k] for k in range(1, 6))], expected).pvalue > 1e-4


def test_operator_counts_are_uniform_but_for_the_few() -> None:
    spec = ExpressionSpec(min_operators=4, max_operators=15)
    counts = Counter(draw_operator_counts(np.random.default_rng(2), 60_000, spec))
    expected = [60_000 * 0.025 / 4] * 4 + [60_000 * 0.975 / 12] * 12
    assert chisquare([counts[k] for k in range(16)], expected).pvalue > 1e-4


def test_a_tree_depends_on_its_own_row_of_numbers_alone() -> None:
    spec = ExpressionSpec()
    counts = [5] * 50
    few, many = (draw_trees(np.random.default_rng(3), n, spec, counts[:n]) for n in (20, 50))
    assert many[:20] == few


def test_families_draw_their_own_functions() -> None:
    allowed = {"polynomial": "pow", "trigonometric": ("sin", "cos", "tan", "asin", "acos", "atan"), "logarithmic": "ln"}
    for family, names in allowed.items():
        spec = ExpressionSpec(family=family)
        drawn = draw_trees(np.random.default_rng(4), 200, spec)
        unary = {WORDS[n[0]] for tree in drawn for n in nodes(tree) if not isinstance(n, int) and len(n) == 2}
        assert unary
        assert all(name.startswith(names) for name in unary)


def test_operators_can_be_left_out_and_weighted() -> None:
    spec = ExpressionSpec(operators="div:0,sub:0,tan:0,exp:100")
    words = Counter(
        WORDS[n[0]]
        for tree in draw_trees(np.random.default_rng(5), 500, spec)
        for n in nodes(tree)
        if not isinstance(n, int)
    )
    assert not words["div"] + words["sub"] + words["tan"]
    assert words["exp"] > words["sin"] * 5


@pytest.mark.parametrize(
    ("operators", "named"),
    [("dvi:0", "div"), ("div:-1", "weight"), ("div:many", "weight"), ("add:0,mul:0,div:0,sub:0", "arity")],
)
def test_operators_that_cannot_be_drawn_are_refused(operators: str, named: str) -> None:
    with pytest.raises((UserError, ValueError), match=named):
        check_spec(ExpressionSpec(operators=operators))


def test_exponentials_within_exponentials_are_counted_on_one_way() -> None:
    from mathpipe.datasets.expressions.prefix import words_of

    assert nested_exponentials(words_of("exp sinh cosh exp x")) == 4
    assert nested_exponentials(words_of("add exp x add exp x add exp x exp x")) == 1
    assert nested_exponentials(words_of("exp sin x")) == 1
    assert nested_exponentials(words_of("sin x")) == 0
