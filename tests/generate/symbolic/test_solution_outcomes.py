"""What must pass as the general solution of an equation, and what must not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import mpmath
import pytest
import symengine as se

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.outcomes import EVIDENCE, SYMBOLIC_OUTCOMES
from mathpipe.generate.symbolic.check.accepted_solutions import is_solution
from mathpipe.generate.symbolic.check.exact.expanded_solution import SolutionBuilder, solution_expands
from mathpipe.generate.symbolic.check.general_solutions import verify_general_solutions
from mathpipe.generate.symbolic.check.solution_points import FIRST_ORDER, SECOND_ORDER
from mathpipe.generate.tasks.task_registry import token_task

Prefix = Callable[[str], bytes]
RIGHT_OUTCOMES = ("exact", "equivalent", "real_domain")


def outcome_and_evidence(prefix: Prefix, equation: str, solution: str, reference: str = "") -> tuple[str, str]:
    order = SECOND_ORDER if "y2" in equation else FIRST_ORDER
    columns = (prefix(equation), prefix(reference) if reference else b"", prefix(solution))
    result = verify_general_solutions(order, *(Sequences.from_list([ids]) for ids in columns))
    return SYMBOLIC_OUTCOMES[result.outcome[0]], EVIDENCE[result.evidence[0]]


WRONG = [
    ("x*y1 - y", "c*x + sqrt((x-2)**2) + x - 2"),
    ("x*y1 - y", "c*x + sqrt((x-7)**2) + x - 7"),
    ("y1 - y", "c*exp(x) + (x/100)**30"),
    ("y1 - y", "c*exp(x) + 1/10**20"),
    ("y2 + y", "c1*cos(x) + c2*sin(x) + (sqrt((c1-5)**2) + c1 - 5)*x"),
    ("y2 + y", "c1*cos(x) + c2*sin(x) + x/10**12"),
    # far, on one side, for some constants
    ("y1 - 1", "x + c + abs(x-9) - x + 9"),
    ("y1 - y", "c*exp(x) + (1 + sign(x-20))"),
    ("y1 - 2*x", "x**2 + c + sqrt((x+30)**2) - x - 30"),
    ("y1 - y", "c*exp(x) + (abs(c-9) + c - 9)*x"),
    ("y1 - y", "c*exp(x) + (sqrt((c+20)**2) - c - 20)*x"),
    ("y1 - cos(x)", "sin(x) + c + exp(30*(x-8))"),
    ("x*y1 - 2*y", "c*x**2 + (x/1000)**40"),
    ("y1 + y", "c*exp(-x) + (abs(x) - x)"),
    ("y2 - y", "c1*exp(x) + c2*exp(-x) + abs(x-12) + x - 12"),
    ("y2", "c1 + c2*x + (abs(c2-8) + c2 - 8)*x**2"),
    ("y2 + 4*y", "c1*cos(2*x) + c2*sin(2*x) + (x/50)**40"),
    # small
    ("y1 - y", "c*exp(x)*(1 + x/10**30)"),
    ("y1 - 10**12*cos(x) - 1", "10**12*sin(x) + c"),
    ("y2 + y", "c1*cos(x) + c2*sin(x*(1 + 1/10**25))"),
    ("y1 + y/10**20", "c"),
    ("10**30*y1 - 1", "c"),
    ("y1*y - x", "sqrt(x**2 + c) + c/10**18"),
    ("y2 - 1/10**15", "c1*x + c2"),
    # plainly wrong
    ("y1 - y", "c + exp(x)"),
    ("y1 - y", "c*exp(2*x)"),
    ("y2 + y", "c1*exp(x) + c2*sin(x)"),
    ("x*y1 - y", "c*x**2"),
    ("y1 - y**2", "1/(c + x)"),
    ("y1 - exp(y)", "ln(c - x)"),
    ("y2 - 6*x", "x**3 + c1*x + c2*x**2"),
    ("y1 - 1", "c + asin(sin(x))"),
]


@pytest.mark.parametrize(("equation", "solution"), WRONG)
def test_wrong_solutions_are_convicted(prefix: Prefix, equation: str, solution: str) -> None:
    outcome, evidence = outcome_and_evidence(prefix, equation, solution)
    assert outcome in ("wrong_value", "partial")
    assert evidence == "proven"


RIGHT = [
    ("y2 - 400*y", "c1*exp(20*x) + c2*exp(-20*x)", "equivalent"),
    ("y1 - 10**9*cos(x)", "10**9*sin(x) + c", "equivalent"),
    ("y1 + 1000*(y-1)", "1 + c*exp(-1000*x)", "equivalent"),
    ("y1 - y*ln(y)", "exp(c*exp(x))", "real_domain"),
    # steep, large, small
    ("y2 - 10000*y", "c1*exp(100*x) + c2*exp(-100*x)", "equivalent"),
    ("y2 + 10**8*y", "c1*cos(10**4*x) + c2*sin(10**4*x)", "equivalent"),
    ("y1 - 10**15", "10**15*x + c", "equivalent"),
    ("y1 - y/10**12", "c*exp(x/10**12)", "equivalent"),
    ("y1 + 300*y", "c*exp(-300*x)", "equivalent"),
    ("y1 - 200*x*y", "c*exp(100*x**2)", "equivalent"),
    ("y2", "10**20*c1 + c2*x", "equivalent"),
    ("y1 - exp(50*x)", "exp(50*x)/50 + c", "equivalent"),
    ("y2 - 10**10*sin(x)", "-10**10*sin(x) + c1*x + c2", "equivalent"),
    # other forms
    ("y1 - y", "exp(x + c)", "equivalent"),
    ("y1 - y", "-3*exp(c)*exp(x)", "equivalent"),
    ("x*y1 - y", "c*x", "equivalent"),
    ("x*y1 - y", "ln(c)*x", "equivalent"),
    ("y1 - y**2", "1/(c - x)", "equivalent"),
    ("y1 - exp(y)", "-ln(c - x)", "equivalent"),
    ("y1*y - x", "sqrt(x**2 + c)", "equivalent"),
    ("y1*y - x", "-sqrt(x**2 + c)", "equivalent"),
    ("y1 - 1 - y**2", "tan(x + c)", "equivalent"),
    ("y2 + y", "c1*cos(x + c2)", "equivalent"),
    ("y2 - y", "c1*cosh(x) + c2*sinh(x)", "equivalent"),
    ("x**2*y2 + x*y1 - y", "c1*x + c2/x", "equivalent"),
    ("y2 + 2*y1 + y", "(c1 + c2*x)*exp(-x)", "equivalent"),
    ("y1 - 2*x*y", "c*exp(x**2)", "equivalent"),
    ("x*y1 - 1", "ln(x) + c", "equivalent"),
    ("x*y1 - 1", "ln(abs(x)) + c", "equivalent"),
    ("y1 + y*tan(x)", "c*cos(x)", "equivalent"),
    ("y2*y - y1**2", "c1*exp(c2*x)", "equivalent"),
    # real only
    ("x*y1 - y*ln(y/x) - y", "x*exp(c*x)", "real_domain"),
    ("x*y1 - y*ln(y)", "exp(c*x)", "real_domain"),
    ("y1 - 3*x**2", "ln(exp(x**3)) + c", "equivalent"),
]


@pytest.mark.parametrize(("equation", "solution", "expected"), RIGHT)
def test_right_solutions_are_accepted(prefix: Prefix, equation: str, solution: str, expected: str) -> None:
    outcome, evidence = outcome_and_evidence(prefix, equation, solution)
    assert outcome == expected
    assert evidence in ("proven", "enclosed", "sampled")


PARTICULAR = [
    ("y1 - y", "0"),
    ("y1 - y", "5*exp(x)"),
    ("y1 - y", "exp(x) + c*(exp(ln(x)) - x)"),
    ("y2 + y", "(c1 + c2)*sin(x)"),
    ("y2 - 400*y", "(c1 + c2)*exp(20*x)"),
    ("y2 + y", "c1*c2*cos(x)"),
    ("y1 + 1000*(y-1)", "1"),
]


@pytest.mark.parametrize(("equation", "solution"), PARTICULAR)
def test_solutions_without_free_constants_are_particular(prefix: Prefix, equation: str, solution: str) -> None:
    assert outcome_and_evidence(prefix, equation, solution)[0] == "particular"


def test_a_solution_for_part_of_the_constants_is_partial(prefix: Prefix) -> None:
    """atan(tan(c/x)) is c/x only where it is smaller than pi/2."""
    assert outcome_and_evidence(prefix, "x*y1 + (1 + y**2)*atan(y)", "tan(c/x)")[0] == "partial"
    assert outcome_and_evidence(prefix, "y1 - sqrt((y/x)**2)", "c*x")[0] == "partial"


def test_constants_for_which_the_reference_fails_do_not_count(prefix: Prefix) -> None:
    """y' = sqrt(y^2) has the solutions c e^x for c > 0 only."""
    equation = "y1 - sqrt(y**2)"
    assert outcome_and_evidence(prefix, equation, "2*c*exp(x)")[0] == "partial"
    assert outcome_and_evidence(prefix, equation, "2*c*exp(x)", reference="c*exp(x)")[0] == "real_domain"
    assert outcome_and_evidence(prefix, equation, "c*exp(x)", reference="c*exp(x)")[0] == "real_domain"
    assert outcome_and_evidence(prefix, equation, "-2*c*exp(x)", reference="c*exp(x)")[0] == "partial"


def wrong_pairs(prefix: Prefix, order: int) -> tuple[Sequences, Sequences]:
    pairs = [(prefix(e), prefix(s)) for e, s in WRONG if ("y2" in e) == (order == 2)]
    equations, solutions = (Sequences.from_list(column) for column in zip(*pairs, strict=True))
    return equations, solutions


@pytest.mark.parametrize("order", [1, 2])
def test_checks_of_generation_and_of_stored_pairs_accept_none_of_the_wrong(prefix: Prefix, order: int) -> None:
    equations, solutions = wrong_pairs(prefix, order)
    task = token_task(f"ode{order}")
    assert not task.rechecked(equations, solutions).any()
    assert not task.proven(equations, solutions).any()
    masks, reasons = is_solution((FIRST_ORDER, SECOND_ORDER)[order - 1], equations, solutions)
    assert not masks.any()
    assert sum(mask.astype(int) for mask in reasons.values()).tolist() == [1] * len(masks)  # each has one reason


@pytest.mark.parametrize(
    ("equation", "solution"),
    [
        ("y1 - y", "c*exp(x)"),
        ("y1 - exp(y)", "-ln(c - x)"),  # e^(-ln u)
        ("x*y1 - x/cosh(y)", "asinh(x + c)"),  # cosh(asinh u)
        ("y1*cos(y) - 1", "asin(x + c)"),
        ("y1*sin(y) + 1", "acos(x + c)"),
        ("y1 - cos(y)**2", "atan(x + c)"),
        ("y1 - cosh(y)**2", "atanh(x + c)"),
        ("y1*sinh(y) - 1", "acosh(x + c)"),
        ("y2 + y", "c1*cos(x) + c2*sin(x)"),
        ("y2 - 2*y1 + y", "(c1 + c2*x)*exp(x)"),
    ],
)
def test_right_solutions_expand_to_zero(prefix: Prefix, equation: str, solution: str) -> None:
    order = SECOND_ORDER if "y2" in equation else FIRST_ORDER
    assert solution_expands(prefix(equation), prefix(solution), order.unknowns, order.constants)
    wrong = f"{solution} + x/10**20"
    assert not solution_expands(prefix(equation), prefix(wrong), order.unknowns, order.constants)


@pytest.mark.parametrize("factor", ["1", "y", "exp(y)"])
def test_roots_of_quotients_are_not_quotients_of_roots(prefix: Prefix, factor: str) -> None:
    """sqrt(a/b) = -sqrt(a)/sqrt(b) where a > 0 > b, here for x > 1: the equation holds for 1/2 < x < 1 only."""
    equation = prefix(f"y1 - {factor}*(sqrt((x - 1)/(1 - 2*x)) - sqrt(x - 1)/sqrt(1 - 2*x))")
    assert not solution_expands(equation, prefix("c"), FIRST_ORDER.unknowns, FIRST_ORDER.constants)


FUNCTIONS = ("sin", "cos", "tan", "cot", "sinh", "cosh", "tanh", "coth", "exp")
ARGUMENTS: list[tuple[str, Callable[[mpmath.mpc, mpmath.mpc], mpmath.mpc]]] = [
    ("{}", lambda x, v: v),
    ("-{}", lambda x, v: -v),
    ("2*{}", lambda x, v: 2 * v),
    ("-2*{}", lambda x, v: -2 * v),
    ("x + {}", lambda x, v: x + v),
]


@pytest.mark.parametrize("inverse", ["asin", "acos", "atan", "asinh", "acosh", "atanh", "ln"])
def test_rewrites_hold_on_principal_branches(prefix: Prefix, inverse: str) -> None:
    """The expression that symengine gets has the value of the formula in every quadrant and on the real axis."""
    for name, (argument, value_of_argument) in product(FUNCTIONS, ARGUMENTS):
        formula = f"{name}({argument.format(f'{inverse}(x**2 + x)')})"
        builder = SolutionBuilder()
        built = builder.build(prefix(formula))
        built = built.subs({symbol: se.acosh(u) for u, symbol in builder.symbols.items()})
        for x in (0.31, -0.44, 0.6 + 1.1j, -1.4 + 0.3j, -0.7 - 2.2j, 2.1 - 0.8j):
            inner = getattr(mpmath, inverse)(mpmath.mpmathify(x * x + x))
            expected = complex(getattr(mpmath, name)(value_of_argument(x, inner)))
            value = complex(built.subs({se.Symbol("x"): x}).n(53, real=False))
            assert abs(value - expected) <= 1e-9 * (1 + abs(expected)), (formula, x)
