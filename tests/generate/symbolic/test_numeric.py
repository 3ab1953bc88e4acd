"""Array programs accept what the parser accepts, and give the values and derivatives of mpmath."""

from __future__ import annotations

import cmath
import random
from typing import Any

import mpmath
import numpy as np
import pytest
from flint import acb
from hypothesis import given, settings
from hypothesis import strategies as st

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Malformed, Tree, parse, text_to_ids, write
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS, UNARY
from mathpipe.generate.symbolic.check.point_checks import AntiderivativeCheck, State
from mathpipe.generate.symbolic.expr.canonical_form import build, derivative, to_tokens
from mathpipe.generate.symbolic.numeric.array_programs import compile_expressions
from mathpipe.generate.symbolic.numeric.ball_functions import CannotTell, Undefined
from mathpipe.generate.symbolic.numeric.balls import BallProgram, precision, run, run_values
from mathpipe.generate.symbolic.numeric.taylor import SECOND_DERIVATIVES, TWO_CONSTANTS, VALUES, Algebra, evaluate


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
def test_compilation_is_as_strict_as_the_parser(sequences: list[bytes]) -> None:
    program = compile_expressions(Sequences.from_list(sequences))
    assert program.well_formed.tolist() == [is_expression(s) for s in sequences]


def test_limits_match_the_parser() -> None:
    seven = "7 "
    edges = ["INT+ " + seven * 40, "INT+ " + seven * 41, "sin " * 200 + "x", "sin " * 201 + "x", "", "x"]
    sequences = [text_to_ids(text) for text in edges]
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
    token = IDS[rng.choice(["add", "sub", "mul", "div", "pow"])]
    return (token, random_tree(rng, k), random_tree(rng, operators - 1 - k))


def value(tree: Tree, x: Any) -> Any:
    if isinstance(tree, int):
        return mpmath.mpc(tree)
    name, operands = TOKENS[tree[0]], [value(child, x) for child in tree[1:]]
    if any(abs(u) > 1000 for u in operands):
        raise OverflowError
    values = {"x": lambda: x, "pi": lambda: mpmath.mpc(mpmath.pi), "inv": lambda: 1 / operands[0]}
    values |= {f"pow{k}": lambda k=k: operands[0] ** k for k in (2, 3, 4, 5)}
    if name in values:
        return values[name]()
    a, *rest = operands
    binary = {
        "add": lambda b: a + b,
        "sub": lambda b: a - b,
        "mul": lambda b: a * b,
        "div": lambda b: a / b,
        "pow": lambda b: a**b,
    }
    return binary[name](*rest) if rest else getattr(mpmath, name)(a)


def test_values_and_derivatives_match_mpmath() -> None:
    rng = random.Random(0)
    trees = [random_tree(rng, rng.randint(1, 5)) for _ in range(250)]
    points = np.array([0.3 + 0.8j, -1.2 + 0.4j])
    x_coefficients = np.stack([points, np.ones(2), np.zeros(2)])
    computed = evaluate(
        compile_expressions(Sequences.from_list([write(t) for t in trees])),
        SECOND_DERIVATIVES,
        {"x": x_coefficients},
        2,
    )
    compared = 0
    with mpmath.workdps(30):
        for i, tree in enumerate(trees):
            for k, point in enumerate(points):
                try:
                    expected = [complex(c) for c in mpmath.taylor(lambda z, t=tree: value(t, z), mpmath.mpc(point), 2)]
                except (OverflowError, ZeroDivisionError, ValueError):
                    continue
                if not all(map(cmath.isfinite, expected)) or max(map(abs, expected)) > 1e6:
                    continue
                if not np.isfinite(computed[:, i, k]).all():  # undefined values are skipped
                    continue
                compared += 1
                error = np.abs(computed[:, i, k] - expected)
                assert (error <= 1e-6 * max(1.0, *map(abs, expected))).all(), tree
    assert compared > 150


def test_mixed_derivatives_of_two_constants() -> None:
    y = text_to_ids("mul exp mul a8 x add a9 sin x")  # e^(c1 x) (c2 + sin x)
    x, c1, c2 = 0.7, 0.3, 1.1
    leaves = {name: np.zeros((7, 1), dtype=complex) for name in ("x", "a8", "a9")}
    for name, index, at in (("x", 1, x), ("a8", 3, c1), ("a9", 5, c2)):
        leaves[name][0], leaves[name][index] = at, 1
    computed = evaluate(compile_expressions(Sequences.from_list([y])), TWO_CONSTANTS, leaves, 1)[:, 0, 0]
    e, s, c = np.exp(c1 * x), np.sin(x), np.cos(x)
    slope = e * (c1 * (c2 + s) + c)
    expected = [
        e * (c2 + s),
        slope,
        (c1 * slope + e * (c1 * c - s)) / 2,
        x * e * (c2 + s),
        e * (c2 + s) + x * slope,
        e,
        c1 * e,
    ]
    np.testing.assert_allclose(computed, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "text", ["acosh x", "mul x acosh acosh add x INT+ 3", "acosh pow sin x INT+ 2", "add acosh x acosh acosh x"]
)
def test_acosh_derivative_holds_on_the_whole_plane(text: str) -> None:
    primitive = build(parse(text_to_ids(text)))
    check = AntiderivativeCheck(parse(to_tokens(derivative(primitive))), parse(to_tokens(primitive)))
    for x in (-2.3, 0.4, 1.7, 0.3 - 0.9j, -1.1 + 0.2j):
        assert check.at(complex(x)).state is State.ZERO


def test_values_beyond_any_precision_are_unknown() -> None:
    tower, x = parse(text_to_ids("exp exp exp exp exp mul INT+ 9 x")), parse(text_to_ids("x"))
    assert AntiderivativeCheck(tower, x).at(0.5).state is State.UNKNOWN
    assert AntiderivativeCheck(x, tower).at(0.5).state is State.ANSWER_UNKNOWN
    assert AntiderivativeCheck(x, parse(text_to_ids("exp exp exp exp exp INT+ 9"))).at(0.5).state is State.NONZERO


def balls_of(text: str, x: float, algebra: Algebra) -> list[Any]:
    program, nodes = BallProgram([parse(text_to_ids(text))]), []
    with precision(200):
        run(program, algebra, {"x": [acb(x), acb(1), None][: len(algebra.monomials)]}, nodes)
    return list(nodes[program.roots[0]])


def test_balls_contain_the_values_of_array_programs() -> None:
    rng = random.Random(1)
    compared = 0
    for tree in [random_tree(rng, rng.randint(1, 5)) for _ in range(300)]:
        expected = evaluate(
            compile_expressions(Sequences.from_list([write(tree)])),
            SECOND_DERIVATIVES,
            {"x": np.array([[0.7 + 0.2j], [1], [0]])},
            1,
        )[:, 0, 0]
        try:
            program, nodes = BallProgram([tree]), []
            with precision(200):
                run(program, SECOND_DERIVATIVES, {"x": [acb(0.7, 0.2), acb(1), None]}, nodes)
        except (Undefined, CannotTell):
            continue
        for ball, value_ in zip(nodes[program.roots[0]], expected, strict=True):
            number = 0 if ball is None else complex(ball)
            if cmath.isfinite(number) and np.isfinite(value_) and 1e-3 < abs(number) < 1e6:
                compared += 1
                assert abs(number - value_) <= 1e-6 * abs(number), tree
    assert compared > 300


@pytest.mark.parametrize(
    "text", ["inv sub x x", "ln sub x x", "div x INT+ 0", "abs sqrt INT- 1", "sign I", "pow sub x x INT- 2", "y"]
)
def test_undefined_values_are_certain(text: str) -> None:
    with pytest.raises(Undefined):
        balls_of(text, 0.5, VALUES)


def test_sign_of_a_ball_around_zero_is_undecided() -> None:
    with pytest.raises(CannotTell):
        balls_of("sign sub add pow2 sin x pow2 cos x INT+ 1", 0.5, VALUES)


def test_values_alone_are_those_of_jets() -> None:
    """Bit by bit, at real and complex points; where a jet has no value there is none either."""
    rng = random.Random(3)
    compared = 0
    for _ in range(200):
        program, x = BallProgram([random_tree(rng, 8)]), acb(rng.uniform(-3, 3), rng.choice((0, rng.uniform(-2, 2))))
        nodes: list[Any] = []
        try:
            run(program, VALUES, {"x": [x]}, nodes)
        except (Undefined, CannotTell) as error:
            with pytest.raises(type(error)):
                run_values(program, {"x": x})
            continue
        values = run_values(program, {"x": x})
        assert [str(v) for v in values] == [str(jet[0]) for jet in nodes]
        compared += 1
    assert compared > 50
