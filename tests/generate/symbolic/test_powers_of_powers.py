"""(u^r)^s = u^(r s) and ln(u^r) = r ln u for -1 < r <= 1, on principal branches, and what other exponents refute."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import symengine as se
from flint import acb

from mathpipe.datasets.expressions.prefix import Tree, parse
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.symbolic.check.exact.exact_identity import prove_antiderivative
from mathpipe.generate.symbolic.check.exact.expanded_identity import expand_identity
from mathpipe.generate.symbolic.check.exact.expression_builder import ExpressionBuilder
from mathpipe.generate.symbolic.numeric.balls import evaluate, precision
from mathpipe.generate.symbolic.numeric.taylor import VALUES

Prefix = Callable[[str], bytes]
X = (IDS["x"],)
POINTS = (2.3, -2.3, 0.4, -0.4, 1.7j, -1.7j, -1.2 + 0.01j, -1.2 - 0.01j, 0.5 - 2.2j, -3.1 + 1.3j)
EXPONENTS = tuple(
    Fraction(*pair) for pair in ((1, 2), (-1, 2), (2, 3), (-2, 3), (-1, 1), (3, 2), (2, 1), (-3, 2), (-2, 1))
)


def power(u: Tree, r: Fraction) -> Tree:
    return (IDS["pow"], u, (IDS["div"], r.numerator, r.denominator))


def value(tree: Tree, x: complex) -> acb:
    with precision(200):
        return evaluate(tree, VALUES, {"x": [acb(x)]})[0]


def equal_everywhere(a: Tree, b: Tree) -> bool:
    with precision(200):
        return all((value(a, x) - value(b, x)).contains(0) for x in POINTS)


@pytest.mark.parametrize("r", EXPONENTS, ids=str)
def test_logarithms_of_powers(r: Fraction) -> None:
    left: Tree = (IDS["ln"], power(X, r))
    right: Tree = (IDS["mul"], (IDS["div"], r.numerator, r.denominator), (IDS["ln"], X))
    proven = prove_antiderivative((IDS["sub"], left, right), 0) is not None
    assert proven is equal_everywhere(left, right) is (-1 < r <= 1)


@pytest.mark.parametrize("s", [Fraction(1, 2), Fraction(-1, 3)], ids=str)
@pytest.mark.parametrize("r", EXPONENTS, ids=str)
def test_powers_of_powers(r: Fraction, s: Fraction) -> None:
    left, right = power(power(X, r), s), power(X, r * s)
    proven = prove_antiderivative((IDS["sub"], left, right), 0) is not None
    assert proven is equal_everywhere(left, right) is (-1 < r <= 1)


@pytest.mark.parametrize("r", EXPONENTS, ids=str)
def test_expansion_takes_the_exponent_out_of_logarithms(r: Fraction) -> None:
    builder = ExpressionBuilder()
    u = builder.leaf(IDS["x"]) ** se.Rational(r.numerator, r.denominator)
    taken_out = builder.apply(IDS["ln"], u) == se.Rational(r.numerator, r.denominator) * se.log(builder.leaf(IDS["x"]))
    assert taken_out is (-1 < r <= 1)


IDENTITIES = [
    ("ln(sqrt(x))", "x*ln(x)/2 - x/2"),
    ("ln(x)", "2*x*ln(sqrt(x)) - x"),
    ("ln(1/sqrt(x))", "x/2 - x*ln(x)/2"),
    ("ln(3*sqrt(x + 1))", "(x + 1)*ln(x + 1)/2 - x/2 + x*ln(3)"),
    ("ln(sqrt(sqrt(x)))", "x*ln(x)/4 - x/4"),
    ("sqrt(sqrt(x))", "4*x**(5/4)/5"),
    ("sqrt(5*x**(1/3))", "sqrt(5)*6*x**(7/6)/7"),
    ("exp(ln(sqrt(x)))", "2*x**(3/2)/3"),
]


@pytest.mark.parametrize(("f", "primitive"), IDENTITIES)
def test_integrals_are_proven(prefix: Prefix, f: str, primitive: str) -> None:
    assert prove_antiderivative(parse(prefix(f)), parse(prefix(primitive))) is not None


@pytest.mark.parametrize(("f", "primitive"), IDENTITIES)
@pytest.mark.parametrize("error", ["x/10**30", "x*ln(2)", "ln(x)"])
def test_wrong_integrals_are_not(prefix: Prefix, f: str, primitive: str, error: str) -> None:
    tokens = prefix(f), prefix(f"{primitive} + {error}")
    assert prove_antiderivative(*map(parse, tokens)) is None
    assert expand_identity(*tokens) is None


@pytest.mark.parametrize(
    ("f", "primitive"),
    [
        ("ln(-sqrt(x)) - ln(x)/2", "0"),  # the constant factor is negative
        ("ln(sqrt(x)*(x + 1)) - ln(x)/2 - ln(x + 1)", "0"),  # two factors
        ("ln(sqrt(x)/(x + 1)) - ln(x)/2 + ln(x + 1)", "0"),
        ("sqrt(x*sqrt(x)) - x**(3/4)", "0"),  # r = 3/2
        ("ln(I*sqrt(x)) - ln(x)/2 - ln(I)", "0"),
        ("ln(sqrt(x**2)) - ln(x)", "0"),
        ("sqrt(sqrt(x)/x**2) - x**(-3/4)", "0"),
    ],
)
def test_other_logarithms_and_roots_are_not_proven(prefix: Prefix, f: str, primitive: str) -> None:
    assert prove_antiderivative(parse(prefix(f)), parse(prefix(primitive))) is None
    assert expand_identity(prefix(f), prefix(primitive)) is None
