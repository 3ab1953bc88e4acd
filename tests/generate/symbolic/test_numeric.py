"""Batches of expressions as numbers: the same reading as the parser, the same values and derivatives as mpmath."""

from __future__ import annotations

import cmath
import random
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Malformed, Tree, parse, words_of, write
from mathpipe.datasets.expressions.vocabulary import IDS, UNARY, WORDS
from mathpipe.generate.symbolic.expr.canonical_form import build, derivative, words
from mathpipe.generate.symbolic.numeric.array_programs import compile_expressions
from mathpipe.generate.symbolic.numeric.high_precision import slope_difference
from mathpipe.generate.symbolic.numeric.taylor import CURVES, FAMILY2, evaluate


def is_expression(sequence: bytes) -> bool:
    try:
        parse(sequence)
    except Malformed:
        return False
    return True


ALPHABET = [*(IDS[w] for w in ("x", "add", "sin", "INT+", "INT-", "0", "7", "f")), 91]


@settings(max_examples=200)
@given(
    st.lists(
        st.lists(
            st.sampled_from([IDS[w] for w in ("x", "add", "sin", "INT+", "INT-", "0", "7", "f")] + [91]), max_size=9
        ).map(bytes)
    )
)
def test_reading_many_at_once_is_as_strict_as_the_parser(sequences: list[bytes]) -> None:
    program = compile_expressions(Sequences.from_list(sequences))
    assert program.well_formed.tolist() == [is_expression(s) for s in sequences]


def test_bounds_are_those_of_the_parser() -> None:
    seven = "7 "
    edges = ["INT+ " + seven * 40, "INT+ " + seven * 41, "sin " * 200 + "x", "sin " * 201 + "x", "", "x"]
    sequences = [words_of(text) for text in edges]
    assert compile_expressions(Sequences.from_list(sequences)).well_formed.tolist() == [
        is_expression(s) for s in sequences
    ]
    assert [is_expression(s) for s in sequences] == [True, False, True, False, False, True]


def random_tree(rng: random.Random, operators: int) -> Tree:
    if operators == 0:
        return rng.choice([(IDS["x"],), (IDS["x"],), rng.randint(-12, 12), (IDS["pi"],)])
    if rng.random() < 0.5:
        return (
            IDS[rng.choice([name for name in UNARY if name not in ("abs", "sign")])],
            random_tree(rng, operators - 1),
        )
    k = rng.randint(0, operators - 1)
    word = IDS[rng.choice(["add", "sub", "mul", "div", "pow"])]
    return (word, random_tree(rng, k), random_tree(rng, operators - 1 - k))


def value(tree: Tree, x: Any) -> Any:
    if isinstance(tree, int):
        return mpmath.mpc(tree)
    name, operands = WORDS[tree[0]], [value(child, x) for child in tree[1:]]
    if any(abs(u) > 1000 for u in operands):
        raise OverflowError
    known = {"x": lambda: x, "pi": lambda: mpmath.mpc(mpmath.pi), "inv": lambda: 1 / operands[0]}
    known |= {f"pow{k}": lambda k=k: operands[0] ** k for k in (2, 3, 4, 5)}
    if name in known:
        return known[name]()
    a, *rest = operands
    binary = {
        "add": lambda b: a + b,
        "sub": lambda b: a - b,
        "mul": lambda b: a * b,
        "div": lambda b: a / b,
        "pow": lambda b: a**b,
    }
    return binary[name](*rest) if rest else getattr(mpmath, name)(a)


def test_values_and_derivatives_are_those_of_mpmath() -> None:
    rng = random.Random(0)
    found = [random_tree(rng, rng.randint(1, 5)) for _ in range(250)]
    points = np.array([0.3 + 0.8j, -1.2 + 0.4j])
    jet = np.stack([points, np.ones(2), np.zeros(2)])
    ours = evaluate(compile_expressions(Sequences.from_list([write(t) for t in found])), CURVES, {"x": jet}, 2)
    compared = 0
    with mpmath.workdps(30):
        for i, tree in enumerate(found):
            for k, point in enumerate(points):
                try:
                    wanted = [complex(c) for c in mpmath.taylor(lambda z, t=tree: value(t, z), mpmath.mpc(point), 2)]
                except (OverflowError, ZeroDivisionError, ValueError):
                    continue
                if not all(map(cmath.isfinite, wanted)) or max(map(abs, wanted)) > 1e6:
                    continue
                if not np.isfinite(ours[:, i, k]).all():  # undefined is never taken for a value
                    continue
                compared += 1
                error = np.abs(ours[:, i, k] - wanted)
                assert (error <= 1e-6 * max(1.0, *map(abs, wanted))).all(), tree
    assert compared > 150


def test_mixed_derivatives_of_two_constants() -> None:
    y = words_of("mul exp mul a8 x add a9 sin x")  # e^(c1 x) (c2 + sin x)
    x, c1, c2 = 0.7, 0.3, 1.1
    leaves = {name: np.zeros((7, 1), dtype=complex) for name in ("x", "a8", "a9")}
    for name, place, at in (("x", 1, x), ("a8", 3, c1), ("a9", 5, c2)):
        leaves[name][0], leaves[name][place] = at, 1
    got = evaluate(compile_expressions(Sequences.from_list([y])), FAMILY2, leaves, 1)[:, 0, 0]
    e, s, c = np.exp(c1 * x), np.sin(x), np.cos(x)
    slope = e * (c1 * (c2 + s) + c)
    wanted = [
        e * (c2 + s),
        slope,
        (c1 * slope + e * (c1 * c - s)) / 2,
        x * e * (c2 + s),
        e * (c2 + s) + x * slope,
        e,
        c1 * e,
    ]
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


@pytest.mark.parametrize(
    "text", ["acosh x", "mul x acosh acosh add x INT+ 3", "acosh pow sin x INT+ 2", "add acosh x acosh acosh x"]
)
def test_acosh_is_differentiated_on_the_whole_plane(text: str) -> None:
    primitive = build(parse(words_of(text)))
    for x in (-2.3, 0.4, 1.7, 0.3 - 0.9j, -1.1 + 0.2j):
        assert slope_difference(words(derivative(primitive)), words(primitive), x) == pytest.approx(0, abs=1e-30)


def test_huge_values_are_given_up_at_once() -> None:
    tower = words_of("exp exp exp exp exp INT+ 9")
    assert slope_difference(tower, words_of("x"), 0.5) is None
    assert slope_difference(words_of("x"), tower, 0.5) == float("inf")
