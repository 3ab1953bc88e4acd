"""Outcomes of matrices: a table of predictions with errors computed by hand, arbitrary tokens, scales of the errors."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END
from mathpipe.evaluate.adapters.matrix_adapter import MatrixAdapter
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.report.failure_rendering import render_failures
from mathpipe.evaluate.score.matrix_verifier import ScoredMatrices
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.tasks.matrix_task import MATRIX_OUTCOMES
from mathpipe.generate.tasks.task_registry import MATRIX_TASKS as TASKS

P1000 = MatrixTokenizer.named("P1000")
STOP = " <s>"  # the token of END

# transpose: A = [1 2 3; 4 5 6], X = A^T, sum |X| = 21, sum X^2 = 91, max |X| = 6
TRANSPOSE = ([[1, 2, 3], [4, 5, 6]], [[1, 4], [2, 5], [3, 6]])
# add: A = [1 2], B = [3 4], X = [4 6], sum 10, squares 52, max 6
ADD = ([[1, 2, 3, 4]], [[4, 6]])
# inverse: A = diag(2, 4), X = diag(1/2, 1/4), S = I
INVERSE = ([[2, 0], [0, 4]], [[0.5, 0], [0, 0.25]])


def encode(matrix: Any) -> str:
    """The tokens of the matrix in the output encoding, with END."""
    tokens, _ = P1000.encode(Matrices.from_list([matrix]))
    return " ".join(P1000.ids_to_tokens(tokens[0])) + STOP


# (task, problem, predicted tokens, outcome, error_l1, error_l2, error_max, coefficients_within_1pct, error_reference_l1)
UNMEASURED = (None,) * 5
TABLE: list[tuple[str, Any, str, str, tuple[float | None, ...]]] = [
    ("transpose", TRANSPOSE, encode([[1, 4], [2, 5], [3, 6]]), "exact", (0, 0, 0, 1, 0)),
    (
        "transpose",
        TRANSPOSE,
        "V3 V2 + 1 E0 + 400 E-2 + 200 E-2 + 500 E-2 + 300 E-2 + 600 E-2" + STOP,  # 1 in other tokens
        "within_tolerance",
        (0, 0, 0, 1, 0),
    ),
    (
        "transpose",
        TRANSPOSE,
        encode([[2, 4], [2, 5], [3, 6]]),
        "within_tolerance",
        (1 / 21, 1 / 91, 1 / 6, 5 / 6, 1 / 21),
    ),
    (
        "transpose",
        TRANSPOSE,
        encode([[2.06, 4], [2, 5], [3, 6]]),
        "wrong_value",
        (1.06 / 21, 1.06**2 / 91, 1.06 / 6, 5 / 6, 1.06 / 21),
    ),
    ("transpose", TRANSPOSE, encode([[1, 2, 3], [4, 5, 6]]), "wrong_shape", UNMEASURED),
    ("transpose", TRANSPOSE, encode([[1, 4], [2, 5]]), "wrong_shape", UNMEASURED),
    ("transpose", TRANSPOSE, "V3 V2 + 100 E-2" + STOP, "malformed", UNMEASURED),
    ("transpose", TRANSPOSE, encode(TRANSPOSE[1]).replace(STOP, " + 100 E-2 <s>"), "malformed", UNMEASURED),
    ("transpose", TRANSPOSE, encode(TRANSPOSE[1]).replace("400", "-"), "malformed", UNMEASURED),
    ("transpose", TRANSPOSE, STOP, "malformed", UNMEASURED),
    ("transpose", TRANSPOSE, encode(TRANSPOSE[1]).replace(STOP, " E0"), "unterminated", UNMEASURED),
    ("add", ADD, encode([[4, 6]]), "exact", (0, 0, 0, 1, 0)),
    ("add", ADD, encode([[4, 5.5]]), "within_tolerance", (0.05, 0.25 / 52, 0.5 / 6, 0.5, 0.05)),  # the bound itself
    ("add", ADD, encode([[4, 5.95]]), "within_tolerance", (0.005, 0.0025 / 52, 0.05 / 6, 1, 0.005)),
    ("add", ADD, encode([[4, 5.49]]), "wrong_value", (0.051, 0.51**2 / 52, 0.51 / 6, 0.5, 0.051)),
    ("add", ADD, encode([[6, 4]]), "wrong_value", (0.4, 8 / 52, 2 / 6, 0, 0.4)),
    ("add", ADD, encode([[4], [6]]), "wrong_shape", UNMEASURED),
    ("add", ADD, "V1 V2 + 400 E-2 + 600" + STOP, "malformed", UNMEASURED),
    ("add", ADD, "V1 V2 + 400 E-2 + 600 E-2 V1", "unterminated", UNMEASURED),
    ("inverse", INVERSE, encode([[0.5, 0], [0, 0.25]]), "exact", (0, 0, 0, 1, 0)),
    (
        "inverse",
        INVERSE,
        encode([[0.5, 0], [0, 0.26]]),
        "within_tolerance",
        (0.04 / 2, 0.04**2 / 2, 0.04, 3 / 4, 0.01 / 0.75),
    ),
    # another answer with A H - I = [0 0.05; 0 0.04]: sum 0.09, n = 2
    (
        "inverse",
        INVERSE,
        encode([[0.5, 0.025], [0, 0.26]]),
        "within_tolerance",
        (0.045, 0.0041 / 2, 0.05, 0.5, 0.035 / 0.75),
    ),
    ("inverse", INVERSE, encode([[0.5, 0.1], [0, 0.25]]), "wrong_value", (0.1, 0.02, 0.2, 3 / 4, 0.1 / 0.75)),
    ("inverse", INVERSE, encode([[2, 0], [0, 4]]), "wrong_value", (18 / 2, (9 + 225) / 2, 15, 0.5, 5.25 / 0.75)),
    ("inverse", INVERSE, encode(np.eye(3)), "wrong_shape", UNMEASURED),
    ("inverse", INVERSE, "V2 V2 V2 V2" + STOP, "malformed", UNMEASURED),
    ("inverse", INVERSE, "V2 V2 + 500 E-3", "unterminated", UNMEASURED),
]
MEASURES = ("error_l1", "error_l2", "error_max", "coefficients_within_1pct", "error_reference_l1")


@pytest.mark.parametrize(("task", "problem", "prediction", "outcome", "figures"), TABLE)
def test_outcomes_and_errors(
    task: str,
    problem: Any,
    prediction: str,
    outcome: str,
    figures: tuple[float | None, ...],
    decode: Callable[..., Hypotheses],
    make_examples: Callable[..., MatrixExamples],
) -> None:
    scored = MatrixAdapter(TASKS[task]).score(
        P1000, make_examples([problem[0]], [problem[1]]), decode(P1000, [prediction])
    )
    assert MATRIX_OUTCOMES[scored.outcome[0]] == outcome
    for name, figure in zip(MEASURES, figures, strict=True):
        assert scored.errors[name][0] == pytest.approx(np.nan if figure is None else figure, nan_ok=True, abs=1e-12), (
            name
        )
    assert bool(scored.passed[0]) == (outcome in ("exact", "within_tolerance"))
    assert bool(scored.readable[0]) == (outcome not in ("malformed", "unterminated"))


def test_batch_is_scored_like_its_members(
    decode: Callable[..., Hypotheses], make_examples: Callable[..., MatrixExamples]
) -> None:
    for name, group in itertools.groupby(TABLE, key=lambda case: case[0]):
        cases = list(group)
        together = MatrixAdapter(TASKS[name]).score(
            P1000,
            make_examples([case[1][0] for case in cases], [case[1][1] for case in cases]),
            decode(P1000, [case[2] for case in cases if case[3] != "unterminated"] + [[5] * 30] * _unterminated(cases)),
        )
        expected = [case[3] for case in cases if case[3] != "unterminated"] + ["unterminated"] * _unterminated(cases)
        assert [MATRIX_OUTCOMES[k] for k in together.outcome] == expected


def _unterminated(cases: list[Any]) -> int:
    return sum(case[3] == "unterminated" for case in cases)


def test_exact_answer_of_an_ill_conditioned_problem_fails(
    decode: Callable[..., Hypotheses], make_examples: Callable[..., MatrixExamples]
) -> None:
    # det A = -0.0004: the inverse has 5 digits, of which the encoding keeps 3.
    a, x = [[1.01, 2.03], [3.07, 6.17]], [[-15425, 5075], [7675, -2525]]
    scored = MatrixAdapter(TASKS["inverse"]).score(P1000, make_examples([a], [x]), decode(P1000, [encode(x)]))
    # rounded to -15400 5080; 7680 -2520 (ties to even): A H - I = [35.4 15.2; 107.6 46.2]
    assert scored.errors["error_l1"][0] == pytest.approx(204.4 / 2)
    assert scored.reference.errors["error_l1"][0] == pytest.approx(204.4 / 2)
    assert MATRIX_OUTCOMES[scored.outcome[0]] == "exact"
    assert not scored.passed[0]
    assert scored.correct_published[0]


@pytest.mark.parametrize(("task", "problem"), [("transpose", TRANSPOSE), ("add", ADD), ("inverse", INVERSE)])
@pytest.mark.parametrize("factor", [0, 9, -1, 1e90])
def test_errors_are_scaled_by_the_reference(
    task: str,
    problem: Any,
    factor: float,
    decode: Callable[..., Hypotheses],
    make_examples: Callable[..., MatrixExamples],
) -> None:
    answer = np.array(problem[1]) * factor
    scored = MatrixAdapter(TASKS[task]).score(
        P1000, make_examples([problem[0]], [problem[1]]), decode(P1000, [encode(answer)])
    )
    assert MATRIX_OUTCOMES[scored.outcome[0]] == "wrong_value"
    assert scored.errors["error_l1"][0] == pytest.approx(abs(factor - 1))
    assert scored.errors["error_reference_l1"][0] == pytest.approx(abs(factor - 1))


def test_only_zero_matches_a_zero_reference(
    decode: Callable[..., Hypotheses], make_examples: Callable[..., MatrixExamples]
) -> None:
    rows = make_examples([[[1, -1]]] * 2, [[[0]]] * 2)
    scored = MatrixAdapter(TASKS["add"]).score(P1000, rows, decode(P1000, [encode([[0]]), encode([[1e-7]])]))
    assert [MATRIX_OUTCOMES[k] for k in scored.outcome] == ["exact", "wrong_value"]
    assert scored.errors["error_l1"].tolist() == [0, np.inf]


def test_short_zeros_of_published_p10(
    decode: Callable[..., Hypotheses], make_examples: Callable[..., MatrixExamples]
) -> None:
    p10 = MatrixTokenizer.named("P10")
    rows = make_examples([[[1, -1]]] * 2, [[[0]]] * 2)
    scored = MatrixAdapter(TASKS["add"]).score(
        p10, rows, decode(p10, ["V1 V1 + 0 0 0 E0" + STOP, "V1 V1 + 0 E0" + STOP])
    )
    assert [MATRIX_OUTCOMES[k] for k in scored.outcome] == ["exact", "within_tolerance"]


@pytest.mark.parametrize("encoding", ["P10", "P1000", "B1999", "FP15"])
@pytest.mark.parametrize("task", list(TASKS))
def test_references_are_exact_in_every_encoding(task: str, encoding: str) -> None:
    spec = TASKS[task].default_spec.model_copy(update={"min_dim": 1, "max_dim": 3})
    problems = TASKS[task].sample(np.random.default_rng(3), 5, spec)
    solved = TASKS[task].solve(problems)
    accepted = ~np.logical_or.reduce([np.zeros(5, dtype=bool), *solved.rejected.values()])
    problems, solutions = problems.take(accepted), solved.solutions.take(accepted)
    tokenizer = MatrixTokenizer.named(encoding)
    tokens = append_end(*tokenizer.encode(solutions))
    n = len(problems)
    scored = MatrixAdapter(TASKS[task]).score(
        tokenizer, MatrixExamples(np.arange(n), problems, solutions), Hypotheses(tokens, np.zeros(n))
    )
    assert (scored.outcome == MATRIX_OUTCOMES.index("exact")).all()
    for name, values in scored.errors.items():
        if name in scored.reference.errors:  # not the single properties of a prediction
            np.testing.assert_array_equal(values, scored.reference.errors[name])


MIXED = (
    [[[1, 2], [3, 5]], [[1, 2, 3, 4]], [[7, 8]], [[1, 2], [3, 4]]],
    {
        "transpose": [[[1, 3], [2, 5]], [[1], [2], [3], [4]], [[7], [8]], [[1, 3], [2, 4]]],
        "add": [[[3], [8]], [[4, 6]], [[15]], [[3], [7]]],
    },
)


@st.composite
def arbitrary_tokens(
    draw: st.DrawFn, n: int, tokenizer: MatrixTokenizer, references: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Any integers, or references with a few tokens changed or cut off."""
    if draw(st.booleans()):
        integers = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, len(tokenizer.vocabulary) + 3)
        return draw(hnp.arrays(np.int64, st.tuples(st.just(n), st.integers(0, 20)), elements=integers))
    tokens = references[:, : draw(st.integers(1, references.shape[1]))].copy()
    for _ in range(draw(st.integers(1, 6))):
        i, j = draw(st.integers(0, n - 1)), draw(st.integers(0, tokens.shape[1] - 1))
        tokens[i, j] = draw(st.integers(0, len(tokenizer.vocabulary)))
    return tokens


@pytest.mark.parametrize("encoding", ["P10", "P1000", "B1999", "FP15"])
@pytest.mark.parametrize("task", ["transpose", "add", "inverse"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_arbitrary_tokens_never_raise(task: str, encoding: str, data: st.DataObject) -> None:
    tokenizer = MatrixTokenizer.named(encoding)
    if task == "inverse":
        problems, solutions = [INVERSE[0], [[4]]], [INVERSE[1], [[0.25]]]
    else:
        problems, solutions = MIXED[0], MIXED[1][task]
    rows = MatrixExamples(np.arange(len(problems)), Matrices.from_list(problems), Matrices.from_list(solutions))
    tokens = data.draw(arbitrary_tokens(len(rows), tokenizer, append_end(*tokenizer.encode(rows.solutions))))
    scored = MatrixAdapter(TASKS[task]).score(tokenizer, rows, Hypotheses(tokens, np.zeros(len(rows))))
    assert_consistent(scored, tokens)
    table = MatrixAdapter(TASKS[task]).table(scored, "test", tokenizer, tokenizer)
    assert len(table) == len(rows)
    render_failures(MatrixAdapter(TASKS[task]).failures(table))


def assert_consistent(scored: ScoredMatrices, tokens: np.ndarray[Any, Any]) -> None:
    names = np.array(MATRIX_OUTCOMES)[scored.outcome]
    measured = np.isin(names, ["exact", "within_tolerance", "wrong_value"])
    assert (np.isnan(scored.errors["error_l1"]) == ~measured).all()
    assert (scored.readable == (measured | (names == "wrong_shape"))).all()
    assert (scored.passed <= measured).all()
    assert (scored.passed[names == "wrong_value"] == False).all()  # noqa: E712
    assert ((names == "unterminated") == ~(tokens == END).any(axis=1)).all()


@example(values=[999e98] * 4)
@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(-1e100, 1e100).filter(lambda x: x == 0 or abs(x) > 1e-95), min_size=4, max_size=4))
def test_enormous_answers_are_wrong(values: list[float]) -> None:
    rows = MatrixExamples(np.arange(1), Matrices.from_list([INVERSE[0]]), Matrices.from_list([INVERSE[1]]))
    tokens = append_end(*P1000.encode(Matrices.from_list([np.reshape(values, (2, 2))])))
    scored = MatrixAdapter(TASKS["inverse"]).score(P1000, rows, Hypotheses(tokens, np.zeros(1)))
    error = np.abs(np.diag([2.0, 4.0]) @ scored.answers[0] - np.eye(2)).sum() / 2
    assert scored.errors["error_l1"][0] == pytest.approx(error)
    assert bool(scored.passed[0]) == (error <= 0.05)
