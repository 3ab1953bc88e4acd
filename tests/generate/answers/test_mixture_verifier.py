"""``score`` of several tasks: each line names its task, by its name or its task token."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.generate.answers.answer_stream import score_lines
from mathpipe.generate.answers.answer_verifier import Answer, AnswerVerifier
from mathpipe.generate.answers.mixture_verifier import MixtureVerifier
from mathpipe.generate.tasks.task_registry import get_task

A, INVERSE = [[2, 0], [1, 4]], [[0.5, 0], [-0.125, 0.25]]
LINES = [
    ("T", A, [[2, 1], [0, 4]], "exact"),
    ("inverse", A, INVERSE, "exact"),
    ("I", A, [[2, 1], [0, 4]], "wrong_value"),
    ("transpose", A, "no matrix", "malformed"),
    (None, A, INVERSE, "invalid_problem"),
    ("gcd", [48, 36], 12, "invalid_problem"),
    ("A", [[1, 2, 10, 20]], [[11, 22]], "exact"),
    (["T"], A, INVERSE, "invalid_problem"),
]


def lines(examples: list[Any]) -> list[bytes]:
    return [json.dumps({"task": t, "problem": p, "answer": a}).encode() for t, p, a, _ in examples]


@pytest.mark.parametrize("workers", [0, 1])
def test_lines_of_co_training_name_their_task(workers: int) -> None:
    verifier = MixtureVerifier(get_task("cotraining"))
    results = list(score_lines(lines(LINES), verifier, {"task": "task"}, workers))
    assert [each.verification.outcome for each in results] == [outcome for *_, outcome in LINES]
    assert [each.number for each in results] == list(range(1, len(LINES) + 1))
    assert results[0].to_json()["task"] == "T" and "task" not in results[4].to_json()
    assert "transpose" in str(results[4].verification.reason)


def test_results_are_those_of_each_task_alone() -> None:
    examples = [LINES[0], LINES[1], LINES[2], LINES[0]]
    names = ["transpose", "inverse", "inverse", "transpose"]
    answers = [Answer(p, a) for _, p, a, _ in examples]
    alone = [AnswerVerifier(get_task(name)).verify([answer])[0] for name, answer in zip(names, answers, strict=True)]
    assert MixtureVerifier(get_task("cotraining")).verify([t for t, *_ in examples], answers) == alone


def test_lines_of_any_task_may_name_another() -> None:
    verifier = MixtureVerifier(get_task("gcd"))
    examples = [
        (None, [48, 36], 12, "exact"),
        ("inverse", A, INVERSE, "exact"),
        ("integration-bwd", "x", "x^2/2", "equivalent"),
    ]
    examples += [("./euclid.py", [48, 36], 12, "invalid_problem"), ("gdc", [48, 36], 12, "invalid_problem")]
    results = list(score_lines(lines(examples), verifier, {"task": "task"}))
    assert [each.verification.outcome for each in results] == [outcome for *_, outcome in examples]


def test_settings_are_those_of_all_tasks() -> None:
    of_latex = functools.partial(AnswerVerifier, notation="latex")
    verifier = MixtureVerifier(get_task("inverse"), of_latex)
    results = verifier.verify(["gcd", None], [Answer([4, 6], 2), Answer(r"\begin{pmatrix}2\end{pmatrix}", "0.5")])
    assert results[0].outcome == "invalid_problem" and "latex" in str(results[0].reason)
    with pytest.raises(UserError, match="latex"):
        MixtureVerifier(get_task("gcd"), of_latex)
