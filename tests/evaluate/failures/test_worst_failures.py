"""Selection of the worst failures: one of each outcome without a value, then the largest errors, then the most confident."""

from __future__ import annotations

from typing import Any

import numpy as np

from mathpipe.evaluate.failures.failure import Failure
from mathpipe.evaluate.failures.worst_failures import WorstFailures


def variant(template: Failure, row: int, **changes: Any) -> Failure:
    """The failure at another row, of another problem."""
    return Failure(**{**vars(template), "row": row, "problem": np.array([[float(row)]]), **changes})


def with_error(template: Failure, row: int, error: float | None) -> Failure:
    return variant(template, row, errors={"error_l1": error})


def test_one_of_each_outcome_then_the_largest_errors(addition_failures: list[Failure]) -> None:
    wrong, other_shape, malformed = addition_failures
    worst = WorstFailures(count=5)
    errors = np.random.default_rng(0).permutation(40) / 10 + 0.1
    stream = [with_error(wrong, i, float(error)) for i, error in enumerate(errors)]
    stream += [with_error(malformed, 100 + i, None) for i in range(20)] + [other_shape, with_error(wrong, 200, None)]
    assert list(worst.observe(stream)) == stream
    selected = worst.selected()
    assert [f.outcome for f in selected] == ["malformed", "wrong_shape", *["wrong_value"] * 3]
    assert selected[0].row == 100
    assert [f.error for f in selected[2:]] == sorted(errors.tolist(), reverse=True)[:3]


def test_few_failures_are_all_shown(addition_failures: list[Failure]) -> None:
    wrong, _, malformed = addition_failures
    worst = WorstFailures(count=10)
    for failure in [malformed, with_error(wrong, 8, None), with_error(wrong, 9, 0.2), *[malformed] * 20]:
        worst.add(failure)
    assert [f.error for f in worst.selected()] == [-1, 0.2, -1, *[-1] * 7]
    assert [f.outcome for f in worst.selected()][:4] == ["malformed", "wrong_value", "wrong_value", "malformed"]
    assert WorstFailures().selected() == []


def test_equal_errors_are_ordered_by_row(addition_failures: list[Failure]) -> None:
    worst = WorstFailures(count=3)
    for row in (5, 3, 9, 1):
        worst.add(with_error(addition_failures[0], row, 1.0))
    assert [f.row for f in worst.selected()] == [1, 3, 5]


def test_without_errors_the_most_confident_come_first(addition_failures: list[Failure]) -> None:
    def failure(row: int, outcome: str, log_probability: float | None) -> Failure:
        changes = {"outcome": outcome, "errors": {"share": 0.0}, "log_probability": log_probability}
        return variant(addition_failures[0], row, **changes)

    worst = WorstFailures(count=6)
    for row, confidence in enumerate([-3.0, None, -0.5, -9.0, -0.5, -20.0]):
        worst.add(failure(row, "partial" if row == 4 else "wrong_value", confidence))
    worst.add(failure(10, "undecided", -0.1))
    worst.add(failure(11, "undecided", -0.2))
    assert [f.row for f in worst.selected()] == [10, 2, 4, 0, 3, 5]


def test_repeated_problem_is_shown_once(addition_failures: list[Failure]) -> None:
    matrix = np.array([[1.0, 2.0]])
    for problems in (["x", "y", "x", "x", "x", "add x y"], [matrix, 2 * matrix, matrix, matrix, matrix, matrix.T]):
        worst = WorstFailures(count=3)
        for row, problem in enumerate(problems):
            worst.add(variant(addition_failures[0], row, problem=problem, errors={}))
        assert [f.row for f in worst.selected()] == [0, 1, 5]
