"""Results of a batch as columns: the same as one by one, in every way of access."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from mathpipe.generate.answers.answer_verifications import AnswerVerification, AnswerVerifications
from mathpipe.generate.answers.answer_verifier import Answer, AnswerVerifier, ParsedAnswer
from mathpipe.generate.tasks.task_registry import get_task

MATRIX_ANSWERS = [
    Answer([[2, 0], [0, 4]], [[0.5, 0], [0, 0.25]]),
    Answer([[2, 0], [0, 4]], "no matrix"),
    Answer([[1, 2], [2, 4]], [[1, 0], [0, 1]]),  # singular
    Answer([[2, 0], [0, 4]], [[0.5, 0, 0]]),
    Answer([[2, 0], [0, 4]], [[0.5, 0], [0, 0.25]], [[0.5, 0], [0, 0.25]]),
    Answer([[1e12, 0], [0, 4]], [[0.5, 0], [0, 0.25]]),
    Answer([[1, 2, 3]], [[1]]),
]
EXPRESSION_ANSWERS = [
    Answer("x", "x^2/2"),
    Answer("x", "x^2/2", "x^2/2"),
    Answer("cos(x)", "x("),
    Answer("cos(x)", "x"),
]


@pytest.fixture(params=["inverse", "integration-bwd"])
def results(request: pytest.FixtureRequest) -> tuple[AnswerVerifications, list[AnswerVerification]]:
    """The results of a batch, and those of its answers one by one."""
    verifier = AnswerVerifier(get_task(request.param))
    answers = MATRIX_ANSWERS if request.param == "inverse" else EXPRESSION_ANSWERS
    return verifier.verify(answers), [verifier.verify([each])[0] for each in answers]


def test_batch_equals_single_answers(results: tuple[AnswerVerifications, list[AnswerVerification]]) -> None:
    batch, single = results
    assert len(batch) == len(single)
    assert list(batch) == single == [batch[i] for i in range(len(batch))]
    assert batch[-1] == single[-1]
    assert list(batch[::-2]) == single[::-2] and list(batch[1:3]) == single[1:3] and list(batch[:0]) == []
    assert batch.outcomes == [each.outcome for each in single]
    assert batch.correct.tolist() == [each.correct for each in single]
    with pytest.raises(IndexError):
        batch[len(batch)]


def test_outcomes_of_the_table() -> None:
    outcomes = AnswerVerifier(get_task("inverse")).verify(MATRIX_ANSWERS).outcomes
    invalid = "invalid_problem"
    assert outcomes == ["exact", "malformed", invalid, "wrong_shape", "exact", invalid, invalid]
    symbolic = AnswerVerifier(get_task("integration-bwd")).verify(EXPRESSION_ANSWERS).outcomes
    assert symbolic == ["equivalent", "exact", "malformed", "wrong_value"]


def test_columns_hold_the_values_of_the_results(results: tuple[AnswerVerifications, list[AnswerVerification]]) -> None:
    batch, single = results
    for name, values in batch.measures.items():
        expected = [each.measures.get(name, np.nan) for each in single]
        np.testing.assert_array_equal(np.where(np.isfinite(values), values, np.nan), expected)


def test_results_are_plain_values(results: tuple[AnswerVerifications, list[AnswerVerification]]) -> None:
    batch, single = results
    assert list(copy.deepcopy(batch)) == single
    assert all(type(each.correct) is bool and type(each.outcome) is str for each in batch)


def test_arrays_give_the_results_of_their_values() -> None:
    verifier = AnswerVerifier(get_task("inverse"))
    rng = np.random.default_rng(0)
    problems = [rng.normal(size=(2, 2)) for _ in range(40)]
    answers = [np.linalg.inv(p).round(2) for p in problems]
    parsed = [ParsedAnswer(*pair) for pair in zip(problems, answers, strict=True)]
    batch = verifier.verify_batch(verifier.part.problem_batch(problems), verifier.part.batch(answers))
    assert list(batch) == list(verifier.verify_parsed(parsed))


def test_no_answers_give_no_results() -> None:
    verifier = AnswerVerifier(get_task("inverse"))
    assert list(verifier.verify([])) == [] and len(verifier.verify_parsed([])) == 0
