"""Problems of the calculus tasks that are shorter than any equation, alone, and answers that are larger than any number."""

from __future__ import annotations

import pytest

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import text_to_ids
from mathpipe.generate.outcomes import SYMBOLIC_OUTCOMES
from mathpipe.generate.tasks.task_registry import token_task


def outcome_of(task: str, problem: str, answer: str) -> str:
    texts = (problem, answer, answer)
    (k,) = token_task(task).verify(*(Sequences.from_list([text_to_ids(text)]) for text in texts)).outcome
    return SYMBOLIC_OUTCOMES[k]


@pytest.mark.parametrize("task", ["integration-bwd", "integration-fwd", "integration-ibp", "ode1", "ode2"])
@pytest.mark.parametrize("problem", ["", "sub", "sub Y'"])
def test_part_of_a_problem_is_never_solved(task: str, problem: str) -> None:
    assert outcome_of(task, problem, "mul a8 x") not in ("exact", "equivalent", "real_domain")


@pytest.mark.parametrize("task", ["integration-bwd", "integration-fwd", "integration-ibp"])
@pytest.mark.parametrize("problem", ["x", "Y'", "sub Y'"])
def test_integral_without_its_prefix(task: str, problem: str) -> None:
    assert outcome_of(task, problem, "x") not in ("exact", "equivalent", "real_domain")
    assert outcome_of(task, "sub Y' INT+ 1", "x") == "exact"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("task", ["integration-bwd", "ode1", "ode2"])
@pytest.mark.parametrize("base", ["INT+ 2", "add x INT+ 2", "mul INT+ 2 x", "div INT+ 1 INT+ 3"])
def test_towers_of_powers_have_no_exact_value(task: str, base: str) -> None:
    """2^(5^50) is no number that can be written down, so neither a proof nor a search for singularities computes it."""
    problem = {"integration-bwd": "sub Y' x", "ode1": "add Y' Y", "ode2": "add Y'' Y"}[task]
    for answer in ("pow5 " * 50 + base, "mul a8 " + "pow5 " * 50 + base):
        assert outcome_of(task, problem, answer) not in ("exact", "equivalent", "real_domain")
