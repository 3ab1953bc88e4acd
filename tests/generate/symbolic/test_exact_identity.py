"""Identities that are proven, false ones that are not, and rewrites that hold on part of the plane only and are never used."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mathpipe.datasets.expressions.prefix import parse
from mathpipe.generate.symbolic.check.exact.exact_identity import prove_antiderivative, prove_solution
from mathpipe.generate.symbolic.check.exact.reciprocals import Condition

Prefix = Callable[[str], bytes]


def prove(prefix: Prefix, f: str, primitive: str) -> Condition | None:
    return prove_antiderivative(parse(prefix(f)), parse(prefix(primitive)))


@pytest.mark.parametrize(
    ("f", "primitive"),
    [
        ("cos(x)", "sin(x)"),
        ("2*sin(x)*cos(x)", "-cos(2*x)/2"),
        ("1 + tan(x)**2", "sin(x)/cos(x)"),
        ("sin(x)**2 + cos(x)**2 - 1", "5"),
        ("exp(3*x)/exp(x)", "exp(2*x)/2"),
        ("x**x*(1 + ln(x))", "x**x"),
        ("2**x*ln(2)", "2**x"),
        ("6**x*(ln(2) + ln(3))", "2**x*3**x"),
        ("sqrt(8)*x", "sqrt(2)*x**2"),
        ("x**(-2/3)/3", "x**(1/3)"),
        ("1/sqrt(1-x**2)", "-acos(x)"),
        ("1/(1+x**2)", "-acot(x)"),
        ("1/(sqrt(x-1)*sqrt(x+1))", "acosh(x)"),
        ("cosh(x)", "sinh(x)"),
        ("1 - tanh(x)**2", "tanh(x)"),
        ("1/sqrt(1-x**2)", "asin(x)"),
        ("-x/sqrt(1-x**2)", "cos(asin(x))"),
        ("1/(1+x**2)**(3/2)", "sin(atan(x))"),
        ("1/((1-x)*sqrt(1-x**2))", "exp(atanh(x))"),
        ("2*x", "abs(x)*abs(x)"),
        ("sign(x)", "abs(x)"),
        ("exp(x)*sin(x)", "exp(x)*(sin(x) - cos(x))/2"),
        ("1/(x**2-1)", "(ln(x-1) - ln(x+1))/2"),
        ("pi*x + E", "pi*x**2/2 + E*x"),
        ("I*exp(I*x)", "exp(I*x)"),
    ],
)
def test_identities_are_proven(prefix: Prefix, f: str, primitive: str) -> None:
    assert prove(prefix, f, primitive) is not None


@pytest.mark.parametrize(
    ("f", "primitive"),
    [
        ("cos(x)", "sin(x) + x/10**30"),
        ("sqrt(x**2)", "x**2/2"),
        ("exp(x/2)", "2*sqrt(exp(x))"),
        ("ln(exp(x))", "x**2/2"),
        ("sqrt(x*(x-1))", "x*0"),
        ("sqrt(x-1)*sqrt(x+1) - sqrt(x**2-1)", "0"),
        ("sqrt(1/x) - 1/sqrt(x)", "0"),
        ("ln(1/x) + ln(x)", "0"),
        ("ln(x**2) - 2*ln(x)", "0"),
        ("ln(-x) - ln(x)", "pi"),
        ("sqrt(-x) - I*sqrt(x)", "0"),
        ("asin(sin(x)) - x", "0"),
        ("atan(tan(x)) - x", "0"),
        ("acosh(cosh(x)) - x", "0"),
        ("(x**3)**(1/3) - x", "0"),
        ("(x**2)**(1/4) - sqrt(x)", "0"),
        ("(exp(x))**(1/2)*(exp(x))**(1/2)/exp(x) - 2", "0"),
        ("abs(x) - x", "0"),
        ("exp(x*ln(x)) - x**(x+1)", "0"),
        ("1/0", "x"),
        ("x", "x**2/2 + 1/(x-x)"),
        ("x", "x**2/2 + ln(x-x)"),
        ("y", "x*y"),
    ],
)
def test_what_does_not_hold_everywhere_is_not_proven(prefix: Prefix, f: str, primitive: str) -> None:
    assert prove(prefix, f, primitive) is None


@pytest.mark.parametrize(
    ("f", "primitive", "condition"),
    [
        ("x", "x**2/2 + 0/(sqrt((x-3)**2) - (x-3))", Condition.EVERY_INTERVAL),
        ("x", "x**2/2 + 0/(ln(x**2) - 2*ln(x))", Condition.EVERY_INTERVAL),
        ("x", "x**2/2 + 0*abs(ln(x))", Condition.EVERY_INTERVAL),
        ("x", "x**2/2 + 0/sin(pi)", Condition.EVERY_INTERVAL),
        ("x", "x**2/2 + 0/(sin(x+1) - sin(x)*cos(1) - cos(x)*sin(1))", Condition.EVERY_INTERVAL),
        ("x", "x**2/2 + 0/(exp(x) + sin(x))", Condition.ONE_POINT),
        ("x", "x**2/2 + 0/(x + sqrt(x))", Condition.NONE),
        ("x", "x**2/2 + 0/(1 + ln(x))", Condition.NONE),
        ("1/(x + ln(x))*(1 + 1/x)", "ln(x + ln(x))", Condition.NONE),
        ("1/x", "ln(abs(x))", Condition.NONE),
    ],
)
def test_denominators_that_may_vanish_need_values(prefix: Prefix, f: str, primitive: str, condition: Condition) -> None:
    assert prove(prefix, f, primitive) is condition


@pytest.mark.parametrize(
    ("equation", "solution", "proven"),
    [
        ("y1 - y", "c*exp(x)", True),
        ("y1*y - x", "sqrt(x**2 + c)", True),
        ("y1 - 1 - y**2", "tan(x + c)", True),
        ("y1 - y*ln(y)", "exp(c*exp(x))", False),  # ln(e^u) is u on part of the plane
        ("y1 - sqrt(y**2)", "c*exp(x)", False),
        ("y1 - y", "c*exp(x) + 1/10**40", False),
        ("y1 - c", "c*x", False),  # the constant of a solution has no value in an equation
    ],
)
def test_solutions_of_first_order(prefix: Prefix, equation: str, solution: str, proven: bool) -> None:
    condition = prove_solution(parse(prefix(equation)), parse(prefix(solution)), ("Y", "Y'"), ("a8",))
    assert (condition is not None) is proven


def test_solutions_of_second_order(prefix: Prefix) -> None:
    names = ("Y", "Y'", "Y''"), ("a8", "a9")
    equation = parse(prefix("x**2*y2 + x*y1 - y"))
    assert prove_solution(equation, parse(prefix("c1*x + c2/x")), *names) is not None
    assert prove_solution(equation, parse(prefix("c1*x + c2/x**2")), *names) is None
