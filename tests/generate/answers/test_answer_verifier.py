"""Answers that any model wrote: right, equivalent, wrong and malformed ones in every notation; nothing is evaluated."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mathpipe
from mathpipe.datasets.errors import UserError
from mathpipe.generate.answers.answer_text import NoAnswer, extract_answer
from mathpipe.generate.answers.answer_verifier import Answer, AnswerVerifier
from mathpipe.generate.answers.time_limit import TimeLimitExceeded, time_limit
from mathpipe.generate.tasks.task_registry import get_task, load_task

EXPRESSIONS = [  # task, problem, answer, outcome
    ("integration-bwd", "x*cos(x)", "x*sin(x) + cos(x)", "equivalent"),
    ("integration-bwd", "x*cos(x)", "x sin(x) + cos(x) + C", "equivalent"),
    ("integration-bwd", "x*cos(x)", "y = x*sin(x) - (-cos(x)) + 7", "equivalent"),
    ("integration-bwd", "x*cos(x)", r"x\sin x + \cos x", "equivalent"),
    ("integration-bwd", "x*cos(x)", r"$x \sin\left(x\right) + \cos(x) + C$", "equivalent"),
    ("integration-bwd", r"\frac{1}{x}", r"\ln\left|x\right|", "equivalent"),
    ("integration-bwd", "sub Y' mul x cos x", "add mul x sin x cos x", "equivalent"),
    ("integration-bwd", "mul x cos x", ["add", "mul", "x", "sin", "x", "cos", "x"], "equivalent"),
    ("integration-bwd", "2", "2 x", "equivalent"),
    ("integration-bwd", "0.5", "x/2", "equivalent"),
    ("integration-bwd", "x*cos(x)", "x*sin(x)", "wrong_value"),
    ("integration-bwd", "x*cos(x)", r"\frac{x^2}{2}\sin x", "wrong_value"),
    ("integration-bwd", "x*cos(x)", 7, "wrong_value"),
    ("integration-bwd", "x*cos(x)", "x*sin(x", "malformed"),
    ("integration-bwd", "x*cos(x)", r"\frac{x}{", "malformed"),
    ("integration-bwd", "x*cos(x)", "add x", "malformed"),
    ("integration-bwd", "x*cos(x)", "y*x", "malformed"),
    ("integration-bwd", "x*cos(x)", "the answer is x", "malformed"),
    ("integration-bwd", "x*cos(x)", "", "malformed"),
    ("integration-bwd", "x*cos(x)", None, "malformed"),
    ("integration-bwd", "x*cos(x)", {"x": 1}, "malformed"),
    ("integration-bwd", "x*cos(x)", float("nan"), "malformed"),
    ("ode1", "y' = y", "C*exp(x)", "equivalent"),
    ("ode1", "y' - y", r"y = c e^x", "equivalent"),
    ("ode1", "y' = y", "exp(x)", "particular"),
    ("ode1", "y' = y", "C*exp(2x)", "wrong_value"),
]
MATRICES = [
    ("inverse", "[[2, 0], [0, 4]]", "[[1/2, 0], [0, 0.25]]", "exact"),
    ("inverse", [[2, 0], [0, 4]], [["1/2", 0], [0, 0.25]], "exact"),
    ("inverse", "[[2, 0], [0, 3]]", "[[0.5, 0], [0, 0.333]]", "within_tolerance"),
    ("inverse", "[[2, 0], [0, 3]]", r"\begin{pmatrix} \frac{1}{2} & 0 \\ 0 & \frac13 \end{pmatrix}", "malformed"),
    ("inverse", "[[2, 0], [0, 3]]", r"\begin{pmatrix} \frac{1}{2} & 0 \\ 0 & 0.3333 \end{pmatrix}", "within_tolerance"),
    ("inverse", "[[2, 0], [0, 4]]", "[[1/2, 0], [0, 0.5]]", "wrong_value"),
    ("inverse", "[[2, 0], [0, 4]]", "[[1e300, 0], [0, 1e300]]", "wrong_value"),
    ("inverse", "[[2, 0], [0, 4]]", "[[1/2, 0]]", "wrong_shape"),
    ("inverse", "[[2, 0], [0, 4]]", [[0.0] * 101] * 2, "wrong_shape"),
    ("inverse", "[[2, 0], [0, 4]]", "[[1/0, 0], [0, 1]]", "malformed"),
    ("inverse", "[[2, 0], [0, 4]]", "[[1, 2], [3]]", "malformed"),
    ("inverse", "[[2, 0], [0, 4]]", [[1, 2], [3]], "malformed"),
    ("inverse", "[[2, 0], [0, 4]]", "[[nan, 0], [0, 1]]", "malformed"),
    ("inverse", "[[2, 0], [0, 4]]", "[[2**0.5, 0], [0, 1]]", "malformed"),
    ("transpose", "[[2, 0], [1, 4]]", "[[2, 1], [0, 4]]", "exact"),
    ("determinant", "[[2, 1], [1, 4]]", 7.01, "within_tolerance"),
    ("determinant", "[[2, 1], [1, 4]]", -7, "wrong_value"),
]
OTHERS = [
    ("gcd", "[48, 36]", "12", "exact"),
    ("gcd", [48, 36], 12, "exact"),
    ("gcd", "(48, 36)", "6", "wrong_value"),
    ("gcd", "(48, 36)", "[12]", "malformed"),
    ("gcd", "(48, 36)", "12.0", "malformed"),
    ("gcd", "(48, 36)", True, "malformed"),
    ("gcd", "(48, 36)", 10**50, "malformed"),
    ("gcd", "(48, 36)", "6 + 6", "malformed"),
    ("xor", "0110", "11", "exact"),
    ("xor", "0110", "1 1", "exact"),
    ("xor", "0110", "10", "wrong_value"),
    ("xor", "0110", "1", "malformed"),
    ("xor", "0110", "1x", "malformed"),
]


@pytest.mark.parametrize(("task", "problem", "answer", "outcome"), [*EXPRESSIONS, *MATRICES, *OTHERS])
def test_outcome_of_each_answer(task: str, problem: Any, answer: Any, outcome: str) -> None:
    result = mathpipe.verify(task, problem, answer)
    assert result.outcome == outcome, result
    assert result.correct == (outcome in ("exact", "equivalent", "within_tolerance"))
    assert (result.reason is not None) or outcome != "malformed" or task == "xor"
    in_batch = AnswerVerifier(get_task(task)).verify([Answer(problem, a) for a in ("0", answer, "1")])[1]
    assert in_batch == result


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ("inverse", "[[1, 1], [1, 1]]"),
        ("inverse", "[[1, 2]]"),
        ("inverse", "[[1e300]]"),
        ("inverse", "x"),
        ("gcd", "48"),
        ("integration-bwd", "y''"),
        ("integration-bwd", ""),
        ("integration-bwd", "__import__('os')"),
        ("xor", "ab"),
    ],
)
def test_a_problem_that_the_task_does_not_have_is_an_error(task: str, problem: str) -> None:
    with pytest.raises(UserError):
        mathpipe.verify(task, problem, "1")
    right = {"inverse": ("[[2]]", "0.5"), "gcd": ("[4, 6]", "2"), "xor": ("01", "1"), "integration-bwd": ("1", "x")}
    invalid, correct = AnswerVerifier(get_task(task)).verify([Answer(problem, "1"), Answer(*right[task])])
    assert invalid.outcome == "invalid_problem" and correct.correct


def test_measures_evidence_and_reference() -> None:
    proven = mathpipe.verify("integration-bwd", "cos(x)", "sin(x)")
    assert proven.evidence == "proven" and proven.measures == {"satisfied_fraction": 1.0}
    assert mathpipe.verify("integration-bwd", "cos(x)", "sin(x)", reference="sin(x)").outcome == "exact"
    rounded = mathpipe.verify("inverse", "[[4]]", "0.26")
    assert rounded.measures["error_l1"] == pytest.approx(0.04) and rounded.evidence is None
    assert mathpipe.verify("inverse", "[[4]]", "0.26", reference="0.26").outcome == "exact"


def test_domain_decides_whether_real_answers_count() -> None:
    problem, answer = "1/(x*ln(x))", "ln(abs(ln(x)))"
    real, complex_ = (mathpipe.verify("integration-bwd", problem, answer, domain=d) for d in ("real", "complex"))
    assert real.outcome == complex_.outcome == "real_domain"
    assert real.correct and not complex_.correct


@pytest.mark.parametrize(
    ("text", "extraction", "answer"),
    [
        (r"so \boxed{\frac{x}{2}} and \boxed{\sin{x}}.", "boxed", r"\sin{x}"),
        (r"\boxed{\{1\}}", "boxed", r"\{1\}"),
        ("first\nthen\n  $x^2$ \n\n", "last-line", "x^2"),
        ("x^2", "last-line", "x^2"),
        ("all of it", None, "all of it"),
    ],
)
def test_extraction(text: str, extraction: Any, answer: str) -> None:
    assert extract_answer(text, extraction) == answer


@pytest.mark.parametrize(
    ("text", "extraction"), [("x", "boxed"), (r"\boxed{x", "boxed"), ("", "last-line"), ("$\n", "last-line")]
)
def test_extraction_without_an_answer(text: str, extraction: Any) -> None:
    with pytest.raises(NoAnswer):
        extract_answer(text, extraction)
    assert mathpipe.verify("integration-bwd", "1", text, extract=extraction).outcome == "malformed"


def test_text_around_the_answer_is_ignored_only_when_asked() -> None:
    text = r"The integral is \boxed{x + C}."
    assert mathpipe.verify("integration-bwd", "1", text).outcome == "malformed"
    assert mathpipe.verify("integration-bwd", "1", text, extract="boxed").correct


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"extract": "first"}, "no extraction"),
        ({"notation": "lists"}, "not written as lists"),
        ({"domain": "whole"}, "no domain"),
        ({"seconds": 0}, "time limit"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mathpipe.verify("integration-bwd", "x", "x", **arguments)
    with pytest.raises(UserError, match="unknown task"):
        mathpipe.verify("integration", "x", "x")
    with pytest.raises(UserError, match="several tasks"):
        mathpipe.verify("cotraining", "[[1]]", "[[1]]")


def test_one_notation_refuses_the_others() -> None:
    verifier = AnswerVerifier(get_task("integration-bwd"), "latex")
    assert [r.outcome for r in verifier.verify([Answer(r"\cos x", r"\sin x"), Answer(r"\cos x", "x**2")])] == [
        "equivalent",
        "malformed",
    ]


def test_a_failing_or_slow_verifier_gives_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    task = get_task("inverse")
    verify = task.verify

    def flawed(problems: Any, references: Any, predicted: Any) -> Any:
        entries = predicted.values.tolist()
        if 13.0 in entries:
            raise MemoryError
        if 17.0 in entries:
            time.sleep(30)
        return verify(problems, references, predicted)

    monkeypatch.setattr(task, "verify", flawed)
    answers = [Answer("[[2]]", text) for text in ("0.5", "13", "0.5", "17", "1")]
    started = time.monotonic()
    results = AnswerVerifier(task, seconds=0.5).verify(answers)
    assert [r.outcome for r in results] == ["exact", "undecided", "exact", "timeout", "wrong_value"]
    assert time.monotonic() - started < 20


def test_time_limit_restores_the_timer() -> None:
    with pytest.raises(TimeLimitExceeded), time_limit(0.05):
        time.sleep(5)
    with time_limit(60):
        pass
    time.sleep(0.1)  # nothing fires


def test_a_task_that_compares_needs_a_reference(tmp_path: Path) -> None:
    file = tmp_path / "double.py"
    file.write_text(
        '"""Twice a number."""\n\ndef example(rng, spec):\n    n = int(rng.integers(100))\n    return n, 2 * n\n'
    )
    verifier = AnswerVerifier(load_task(str(file)))
    with_reference, without = verifier.verify([Answer("4", "8", "8"), Answer("4", "8")])
    assert with_reference.outcome == "exact" and without.outcome == "invalid_problem"
    problem = next(mathpipe.environment(str(file)))
    assert problem.score(problem.solution).correct and not problem.score("-1").correct


def test_parsed_answers_depend_on_no_other() -> None:
    verifier = AnswerVerifier(get_task("inverse"))
    rng = np.random.default_rng(0)
    answers = [Answer(rng.integers(1, 9, (2, 2)).tolist(), rng.integers(1, 9, (2, 2)).tolist()) for _ in range(50)]
    assert list(verifier.verify(answers)) == [verifier.verify([each])[0] for each in answers]


def test_options_of_the_task() -> None:
    assert mathpipe.verify("modular-add", [90, 10], 3, modulus=97).outcome == "exact"
    assert mathpipe.verify("modular-add", [90, 10], 4, modulus=96).outcome == "exact"
    assert mathpipe.verify("modular-add", [90, 10], 3, modulus=96).outcome == "wrong_value"


def test_an_option_of_an_impossible_type_is_an_error() -> None:
    with pytest.raises(UserError, match=r"no option takes a value of this type.*numbers, text or lists"):
        mathpipe.verify("modular-add", [90, 10], 3, modulus={"a": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modulu": 97}, r"modular-add has no option modulu\. Expected: one of modulus.*did you mean modulus\?"),
        ({"modulus": "x"}, r"modular-add: modulus is invalid\. Expected: a valid integer.*Got: 'x'"),
        ({"modulus": -5}, r"modular-add: modulus is invalid\. Expected: greater than.*Got: -5"),
    ],
)
def test_wrong_options_are_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mathpipe.verify("modular-add", [90, 10], 3, **options)
    with pytest.raises(UserError, match=message):
        mathpipe.environment("modular-add", **options)
