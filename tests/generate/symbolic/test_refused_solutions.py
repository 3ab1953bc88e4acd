"""Equations that hold in part: y turns where an inverse function in the equation does not follow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import parse
from mathpipe.generate.outcomes import SYMBOLIC_OUTCOMES
from mathpipe.generate.symbolic.check.accepted_solutions import is_solution
from mathpipe.generate.symbolic.check.general_solutions import verify_general_solutions
from mathpipe.generate.symbolic.check.solution_checks import SolutionPoints
from mathpipe.generate.symbolic.check.solution_points import FIRST_ORDER, SECOND_ORDER
from mathpipe.generate.tasks.task_registry import token_task

Prefix = Callable[[str], bytes]

EQUATIONS = [  # u = k/(c + a x) has the slope -a u^2 / k
    ("{k}*y1 + {a}*asin(y)**2*sqrt(1 - y**2)", "sin({k}/(c + {a}*x))"),
    ("{k}*y1 - {a}*acos(y)**2*sqrt(1 - y**2)", "cos({k}/(c + {a}*x))"),
    ("{k}*y1 + {a}*(1 + y**2)*atan(y)**2", "tan({k}/(c + {a}*x))"),
]


@pytest.mark.parametrize(("k", "a"), [("(-3)", "E"), ("3", "1"), ("1", "1"), ("1", "(-2)")])
@pytest.mark.parametrize(("equation", "solution"), EQUATIONS)
def test_generation_refuses_what_the_verifier_calls_partial(
    prefix: Prefix, equation: str, solution: str, k: str, a: str
) -> None:
    equations, solutions = (Sequences.from_list([prefix(text.format(k=k, a=a))]) for text in (equation, solution))
    outcome = verify_general_solutions(FIRST_ORDER, equations, solutions, solutions).outcome
    assert SYMBOLIC_OUTCOMES[outcome[0]] == "partial"
    masks, reasons = is_solution(FIRST_ORDER, equations, solutions)
    assert not masks.any() and sum(mask.astype(int) for mask in reasons.values()).tolist() == [1]


@pytest.mark.parametrize(
    ("solution", "extremum"),
    [
        ("sin(x + c)", np.pi / 2),
        ("cos(x + c)", 0.0),
        ("cosh(x + c)", 0.0),
        ("2/cos(x + c)", 0.0),
        ("1 + sech(x + c)", 0.0),
    ],
)
def test_points_lie_on_both_sides_of_turns(prefix: Prefix, solution: str, extremum: float) -> None:
    """For one choice of the constant at least, between the extremum and the next extremum or pole."""
    points = SolutionPoints(FIRST_ORDER, parse(prefix(solution)), b"seed", real_only=True)
    by_constant: dict[float, list[float]] = {}
    for place in points.all():
        (c,) = place.constants
        by_constant.setdefault(c, []).append(place.x.real + c - extremum)
    assert any(
        any(-np.pi / 2 < u < 0 for u in angles) and any(0 < u < np.pi / 2 for u in angles)
        for angles in by_constant.values()
    )


@pytest.mark.parametrize("name", ["ode1", "ode2"])
def test_generated_pairs_are_right_as_predictions(name: str) -> None:
    task = token_task(name)
    batches = task.pairs(
        task.default_spec, lambda k: np.random.default_rng([5, k]), lambda p: np.ones(len(p), dtype=np.bool_)
    )
    for _ in range(3):
        batch = next(batches)
        result = task.verify(batch.problems, batch.solutions, batch.solutions)
        assert {task.outcomes[k] for k in result.outcome} <= {"exact", "real_domain"}


@pytest.mark.parametrize(
    ("constant", "outcome"),
    [
        ("acos(5)", "equivalent"),
        ("acos(atanh(tanh(5)))", "equivalent"),
        ("acos(4 - exp(I*pi))", "undecided"),  # balls do not tell on which side of the cut it is
        ("(sin(1)**2 + cos(1)**2 - 1)", "particular"),
    ],
)
def test_balls_that_contain_zero_do_not_make_a_solution_particular(prefix: Prefix, constant: str, outcome: str) -> None:
    """y = c2 (c1 x + k) has the determinant -c2 k."""
    equations, solutions = (Sequences.from_list([prefix(text)]) for text in ("y2", f"c2*(c1*x + {constant})"))
    result = verify_general_solutions(SECOND_ORDER, equations, Sequences.from_list([b""]), solutions)
    assert SYMBOLIC_OUTCOMES[result.outcome[0]] == outcome


def test_narrow_bands_of_tanh_are_tried(prefix: Prefix) -> None:
    """tanh is 1 within 1e-40 outside of a band of x whose width is 1/300."""
    reference = "c1*x + c2 + tanh(4 - 300*x)"
    equation = "y2 - 180000*tanh(4 - 300*x)*(tanh(4 - 300*x)**2 - 1)"
    for text, right in ((reference, True), ("c1*x + c2 + tanh(4 - 600*x)", False)):
        columns = (Sequences.from_list([prefix(t)]) for t in (equation, reference, text))
        outcome = SYMBOLIC_OUTCOMES[verify_general_solutions(SECOND_ORDER, *columns).outcome[0]]
        assert (outcome in ("exact", "equivalent", "real_domain")) is right
