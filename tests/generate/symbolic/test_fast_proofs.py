"""Balls in double precision contain the exact values and derivatives; expressions with isolated zeros; rewrites of symengine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import symengine as se
from flint import acb

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree, parse, write
from mathpipe.datasets.expressions.vocabulary import IDS, UNARY
from mathpipe.generate.outcomes import SYMBOLIC_OUTCOMES
from mathpipe.generate.symbolic.check.antiderivatives import PREFIX, verify_antiderivatives
from mathpipe.generate.symbolic.check.exact.expanded_identity import expand_identity
from mathpipe.generate.symbolic.check.exact.expression_builder import ExpressionBuilder
from mathpipe.generate.symbolic.check.exact.isolated_zeros import (
    derivative_has_isolated_singularities,
    has_isolated_zeros,
)
from mathpipe.generate.symbolic.check.exact.reciprocals import Condition
from mathpipe.generate.symbolic.check.exact.symengine_expressions import NotDecided
from mathpipe.generate.symbolic.numeric.array_programs import compile_expressions
from mathpipe.generate.symbolic.numeric.ball_functions import CannotTell, Undefined
from mathpipe.generate.symbolic.numeric.balls import evaluate as evaluate_ball
from mathpipe.generate.symbolic.numeric.balls import precision
from mathpipe.generate.symbolic.numeric.real_balls import RealBalls, evaluate
from mathpipe.generate.symbolic.numeric.taylor import SECOND_DERIVATIVES

Prefix = Callable[[str], bytes]
X = np.array([0.3137, 0.7411, 1.3719, 2.4337, -0.2893, -0.6673, -1.4231, -2.3911])
POINTS = (0.37, 1.9, -0.61, -2.7, 0.4 + 0.3j, 1.8 - 1.1j, -0.5 + 0.9j, -1.6 - 0.45j, 0.2 - 3.9j)
_BINARY = ("add", "sub", "mul", "mul", "div", "pow", "rac")


def random_tree(rng: np.random.Generator, depth: int, unary: tuple[str, ...]) -> Tree:
    if depth == 0 or rng.random() < 0.15:
        leaves = (*[(IDS["x"],)] * 4, 2, -1, 3, (IDS["div"], 1, 2), (IDS["pi"],), (IDS["E"],), (IDS["div"], -2, 3))
        return leaves[rng.integers(len(leaves))]
    if rng.random() < 0.5:
        return (IDS[unary[rng.integers(len(unary))]], random_tree(rng, depth - 1, unary))
    name = _BINARY[rng.integers(len(_BINARY))]
    return (IDS[name], random_tree(rng, depth - 1, unary), random_tree(rng, depth - 1, unary))


def test_real_balls_contain_exact_values_and_derivatives() -> None:
    rng = np.random.default_rng(3)
    trees = [random_tree(rng, 4, tuple(UNARY)) for _ in range(1500)]
    zeros, ones = np.zeros_like(X), np.ones_like(X)
    leaf = [RealBalls(X, zeros), RealBalls(ones, zeros), RealBalls(zeros, zeros)]
    jets = evaluate(
        compile_expressions(Sequences.from_list([write(t) for t in trees])), SECOND_DERIVATIVES, {"x": leaf}, len(X)
    )
    compared = 0
    for row, tree in enumerate(trees):
        for k, x in enumerate(X.tolist()):
            with precision(400):
                try:
                    exact = evaluate_ball(tree, SECOND_DERIVATIVES, {"x": [acb(x), acb(1), None]})
                except CannotTell:
                    continue
                except Undefined:
                    assert not all(jet.finite()[row, k] for jet in jets), (tree, x)
                    continue
                for value, jet in zip(exact, jets, strict=True):
                    mid, radius = jet.mid[row, k], jet.rad[row, k]
                    if np.isfinite(mid) and np.isfinite(radius):
                        exact_value = acb(0) if value is None else value
                        assert float(abs(exact_value - mid).lower()) <= radius, (tree, x)
                        compared += 1
    assert compared > 10_000


def _value(tree: Tree, x: complex) -> complex | None:
    with precision(300):
        try:
            jet = evaluate_ball(tree, SECOND_DERIVATIVES, {"x": [acb(x), None, None]})
        except (Undefined, CannotTell):
            return None
        value = acb(0) if jet[0] is None else jet[0]
        return complex(value) if value.is_finite() and value.rad() < 1e-20 else None


_NAMES = {"log": "ln", "Abs": "abs"}


def _tree(e: se.Basic) -> Tree:
    """A symengine expression as a tree, node by node."""
    if e.is_Integer:
        return int(e)
    if e.is_Rational:
        return (IDS["div"], int(e.p), int(e.q))
    if e.is_Symbol:
        return (IDS["x"],) if str(e) == "x" else (IDS["acosh"], (IDS["x"],))
    for constant, name in ((se.pi, "pi"), (se.E, "E"), (se.I, "I")):
        if e == constant:
            return (IDS[name],)
    operands = [_tree(child) for child in e.args]
    if e.is_Add or e.is_Mul:
        total = operands[0]
        for operand in operands[1:]:
            total = (IDS["add" if e.is_Add else "mul"], total, operand)
        return total
    if e.is_Pow or type(e).__name__ == "Pow":
        return (IDS["exp"], operands[1]) if e.args[0] == se.E else (IDS["pow"], *operands)
    name = type(e).__name__.lower()
    return (IDS[_NAMES.get(name, name)], *operands)


def test_rewrites_of_symengine_hold_on_principal_branches() -> None:
    """Built and expanded: the same values at real and complex points, on and off the cuts."""
    rng = np.random.default_rng(5)
    unary = tuple(
        name for name in UNARY if not name.startswith("a") or name in ("asin", "acos", "atan", "asinh", "atanh")
    )
    compared = 0
    for _ in range(1500):
        tree = random_tree(rng, 3, tuple(name for name in unary if name not in ("abs", "sign")))
        try:
            built = ExpressionBuilder().build(write(tree))
            forms = [_tree(built), _tree(se.expand(built))]
        except (NotDecided, RuntimeError, KeyError, ValueError):
            continue
        for x in POINTS:
            expected = _value(tree, x)
            for form in forms:
                value = _value(form, x)
                if expected is not None and value is not None:
                    assert abs(value - expected) <= 1e-9 * abs(expected) + 1e-20, (tree, x, form)
                    compared += 1
    assert compared > 10_000


@pytest.mark.parametrize(
    ("f", "primitive", "proven"),
    [
        ("x*cos(x)", "x*sin(x) + cos(x)", True),
        ("1/(sqrt(x-1)*sqrt(x+1))", "acosh(x)", True),
        ("1/sqrt(x**2-1)", "acosh(x)", False),
        ("-1/(2*x**2*sqrt(1/x))", "sqrt(1/x)", False),
        ("sqrt(x/(x+1))", "x*sqrt(x)/sqrt(x+1)", False),
        ("1/x + 1/(x+1)", "ln(x*(x+1))", True),
        ("x", "x**2/2 + 1/(sqrt(x**2)-x) - 1/(sqrt(x**2)-x)", False),
        ("ln(x) + 1", "x*ln(x)", True),
        ("cos(x)", "sin(x) + x/10**12", False),
    ],
)
def test_identity_by_expansion(prefix: Prefix, f: str, primitive: str, proven: bool) -> None:
    assert (expand_identity(prefix(f), prefix(primitive)) is not None) is proven


@pytest.mark.parametrize(
    ("f", "primitive", "condition"),
    [
        ("(1 - 1/(2*sqrt(x)))/(x - sqrt(x))", "ln(x - sqrt(x))", Condition.NONE),
        ("(1 + 1/sqrt(x**2+1))/(x + asinh(x))", "ln(x + asinh(x))", Condition.NONE),
        ("2*x/((sqrt(x**2) - x)*(x + 1)) - 2*x/((sqrt(x**2) - x)*(x + 1))", "2", Condition.NONE),
        ("1 + (1 + tan(x)**2)*tan(x)", "x + tan(x)**2/2", Condition.NONE),
        ("1/x + 1/(x+1)", "ln(x*(x+1))", Condition.NONE),
        ("1", "x + ln(sin(x)**2 + cos(x)**2)*0", Condition.ONE_POINT),
        ("cos(x)", "sin(x) + 0/(sqrt(x**2) - x)", None),
        ("cos(x)*sqrt(sqrt(x**2) - x)/sqrt(sqrt(x**2) - x)", "sin(x) + 0/(sqrt(x**2) - x)", Condition.NONE),
        ("cos(x)", "sin(x) + 0*sqrt(sqrt(x**2) - x)", None),
        ("sqrt(sqrt(x**2) - x) - sqrt(sqrt(x**2) - x)", "0*ln(sqrt(x**2) - x)", None),
        ("cos(x)", "sin(x) + 0*ln(x - x)", None),
        ("1/(x - x) - 1/(x - x)", "1", None),
        ("sqrt(x*cos(x)) - x*cos(x)/sqrt(x*cos(x))", "1", Condition.NONE),
        ("sqrt(x + ln(x))**3 - (x + ln(x))*sqrt(x + ln(x))", "1", Condition.NONE),
        ("sqrt(x - 1)/sqrt(1 - 2*x) - sqrt((x - 1)/(1 - 2*x))", "1", None),
        ("sqrt(x**2) - x**2/x", "1", None),
    ],
)
def test_what_is_left_to_check_after_expansion(
    prefix: Prefix, f: str, primitive: str, condition: Condition | None
) -> None:
    """Nothing if f divides by whatever F' divides by; a root of u in f does not say that u is not zero."""
    assert expand_identity(prefix(f), prefix(primitive)) is condition


def test_huge_products_are_not_multiplied_out(prefix: Prefix) -> None:
    product = "*".join(f"(1 + x + x**{k} + exp({k}*x) + sin({k}*x))**9" for k in range(2, 12))
    assert expand_identity(prefix("x"), prefix(product)) is None


@pytest.mark.parametrize(
    ("formula", "isolated"),
    [
        ("sin(x) + x*exp(x)", True),
        ("x + ln(x)", True),
        ("ln(tan(x))*sqrt(x)", True),
        ("1 + sqrt(x)", True),
        ("asin(x + ln(x))", True),
        ("sqrt(x**2) - x", False),
        ("x + sqrt(x**2 + 2*x + 1)", False),
        ("ln(x**2) - 2*ln(x)", False),
        ("atan(1/x) + atan(x) - pi/2", False),
        ("abs(x) - x", False),
    ],
)
def test_isolated_zeros(prefix: Prefix, formula: str, isolated: bool) -> None:
    assert has_isolated_zeros(parse(prefix(formula))) is isolated
    assert derivative_has_isolated_singularities(parse(prefix(f"1/({formula})"))) is isolated


@pytest.mark.parametrize(
    "primitive", ["x**2/2 + 0/(atan(1/x)+atan(x)-pi/2)", "x**2/2 + 0/(sqrt(x**2)-x)", "x**2/2 + sqrt(1/x)*0/(abs(x)-x)"]
)
def test_a_divisor_that_is_zero_on_one_side_is_not_accepted(prefix: Prefix, primitive: str) -> None:
    """The answer has no value for x > 0."""
    problem, answer, none = (Sequences.from_list([ids]) for ids in (PREFIX + prefix("x"), prefix(primitive), b""))
    outcome = SYMBOLIC_OUTCOMES[verify_antiderivatives(problem, none, answer).outcome[0]]
    assert outcome in ("partial", "undecided", "wrong_value")
