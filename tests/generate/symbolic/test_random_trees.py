"""Random expressions follow the published distribution: operator counts, shapes, operators, leaves."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.symbolic.expr.random_trees import (
    BINARY_WEIGHTS,
    UNARY_WEIGHTS,
    check_spec,
    count_trees,
    nested_exponentials,
    sample_operator_counts,
    sample_trees,
)


def shape(tree: Tree) -> str:
    return "." if isinstance(tree, int) or len(tree) == 1 else f"({''.join(shape(child) for child in tree[1:])})"


def all_shapes(operators: int) -> list[str]:
    """Every unary-binary tree with this number of operators, by enumeration."""
    if operators == 0:
        return ["."]
    smaller = [all_shapes(k) for k in range(operators)]
    unary = [f"({a})" for a in smaller[operators - 1]]
    pairs = ((a, b) for k in range(operators) for a, b in itertools.product(smaller[k], smaller[operators - 1 - k]))
    return unary + [f"({a}{b})" for a, b in pairs]


def nodes(tree: Tree) -> list[Tree]:
    return [tree] if isinstance(tree, int) else [tree, *(node for child in tree[1:] for node in nodes(child))]


def test_count_trees_matches_enumeration() -> None:
    assert [count_trees(1, n) for n in range(6)] == [1, 2, 6, 22, 90, 394]
    assert [count_trees(2, n) for n in range(5)] == [1, 4, 16, 68, 304]
    assert [count_trees(1, n) for n in range(5)] == [len(set(all_shapes(n))) for n in range(5)]


@pytest.mark.parametrize("operators", [1, 2, 3, 4])
def test_shapes_are_uniform(operators: int) -> None:
    shapes = all_shapes(operators)
    trees = sample_trees(
        np.random.default_rng(operators), 150 * len(shapes), ExpressionSpec(), [operators] * 150 * len(shapes)
    )
    counts = Counter(map(shape, trees))
    assert set(counts) == set(shapes)
    assert chisquare([counts[s] for s in shapes]).pvalue > 1e-4


def test_operators_and_leaves_follow_their_weights() -> None:
    trees = sample_trees(np.random.default_rng(1), 8000, ExpressionSpec())
    every = [node for tree in trees for node in nodes(tree)]
    for weights in (BINARY_WEIGHTS, UNARY_WEIGHTS):
        counts = Counter(
            TOKENS[n[0]] for n in every if not isinstance(n, int) and len(n) == (3 if weights is BINARY_WEIGHTS else 2)
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


def test_operator_count_distribution() -> None:
    spec = ExpressionSpec(min_operators=4, max_operators=15)
    counts = Counter(sample_operator_counts(np.random.default_rng(2), 60_000, spec))
    expected = [60_000 * 0.025 / 4] * 4 + [60_000 * 0.975 / 12] * 12
    assert chisquare([counts[k] for k in range(16)], expected).pvalue > 1e-4


def test_trees_are_independent_of_each_other() -> None:
    spec = ExpressionSpec()
    counts = [5] * 50
    few, many = (sample_trees(np.random.default_rng(3), n, spec, counts[:n]) for n in (20, 50))
    assert many[:20] == few


def test_families_restrict_the_functions() -> None:
    allowed = {"polynomial": "pow", "trigonometric": ("sin", "cos", "tan", "asin", "acos", "atan"), "logarithmic": "ln"}
    for family, names in allowed.items():
        spec = ExpressionSpec(family=family)
        trees = sample_trees(np.random.default_rng(4), 200, spec)
        unary = {TOKENS[n[0]] for tree in trees for n in nodes(tree) if not isinstance(n, int) and len(n) == 2}
        assert unary
        assert all(name.startswith(names) for name in unary)


def test_operator_weights_can_be_overridden() -> None:
    spec = ExpressionSpec(operators="div:0,sub:0,tan:0,exp:100")
    operator_counts = Counter(
        TOKENS[n[0]]
        for tree in sample_trees(np.random.default_rng(5), 500, spec)
        for n in nodes(tree)
        if not isinstance(n, int)
    )
    assert not operator_counts["div"] + operator_counts["sub"] + operator_counts["tan"]
    assert operator_counts["exp"] > operator_counts["sin"] * 5


@pytest.mark.parametrize(
    ("operators", "named"),
    [("dvi:0", "div"), ("div:-1", "weight"), ("div:many", "weight"), ("add:0,mul:0,div:0,sub:0", "arity")],
)
def test_invalid_operator_weights_are_rejected(operators: str, named: str) -> None:
    with pytest.raises((UserError, ValueError), match=named):
        check_spec(ExpressionSpec(operators=operators))


def test_nested_exponentials_are_counted_along_one_path() -> None:
    from mathpipe.datasets.expressions.prefix import text_to_ids

    assert nested_exponentials(text_to_ids("exp sinh cosh exp x")) == 4
    assert nested_exponentials(text_to_ids("add exp x add exp x add exp x exp x")) == 1
    assert nested_exponentials(text_to_ids("exp sin x")) == 1
    assert nested_exponentials(text_to_ids("sin x")) == 0
