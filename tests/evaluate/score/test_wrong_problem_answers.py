"""Detection of answers to another problem than the given one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END
from mathpipe.evaluate.adapters.matrix_adapter import MatrixAdapter
from mathpipe.evaluate.analyze.analysis import Analysis
from mathpipe.evaluate.analyze.baselines import BaselineCounts
from mathpipe.evaluate.analyze.evaluation_data import evaluation_data
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.matrix_task import MATRIX_OUTCOMES
from mathpipe.generate.tasks.task_registry import MATRIX_TASKS
from mathpipe.generate.tasks.wrong_problems import flip_largest_off_diagonal

TOKENIZER = MatrixTokenizer.named("P1000")
COUNT = 200
WRONG_PROBLEMS = [(task, name) for task in MATRIX_TASKS.values() for name in task.wrong_problems]
METADATA = {"outcomes": list(MATRIX_OUTCOMES), "split": "test", "tolerance": 0.05, "decoding": "greedy"}

Answer = Callable[[MatrixExamples], Matrices]


def table(task: Any, answer: Answer, damage: Callable[[np.ndarray], None] = lambda _: None, **spec: Any) -> pa.Table:
    spec_of_problems = MatrixSpec(**({"min_dim": 3, "max_dim": 3, "max_coeff": task.default_spec.max_coeff} | spec))
    problems = task.sample(np.random.default_rng(3), COUNT, spec_of_problems)
    rows = MatrixExamples(np.arange(COUNT), problems, task.solve(problems).solutions)
    tokens = append_end(*TOKENIZER.encode(answer(rows)))
    damage(tokens)
    scored = MatrixAdapter(task).score(TOKENIZER, rows, Hypotheses(tokens, -np.ones(COUNT)))
    return MatrixAdapter(task).table(scored, "test", TOKENIZER, TOKENIZER)


def analyses_of(task: Any, predictions: pa.Table) -> dict[str, Analysis]:
    return {
        a.name: a
        for a in MatrixAdapter(task).analyse(
            evaluation_data(predictions, {**METADATA, "task": task.name}, BaselineCounts())
        )
    }


@pytest.mark.parametrize(("task", "name"), WRONG_PROBLEMS, ids=lambda x: getattr(x, "name", x))
def test_answers_to_another_problem_are_named(task: Any, name: str) -> None:
    def other(rows: MatrixExamples) -> Matrices:
        return task.solve(rows.problems.map(task.wrong_problems[name])).solutions

    predictions = table(task, other)
    wrong = [not passed for passed in predictions["passed"].to_pylist()]
    assert sum(wrong) > COUNT / 3  # a flipped sign leaves some spectra nearly as they were
    named = [n for n, w in zip(predictions["confused_with"].to_pylist(), wrong, strict=True) if w]
    assert named.count(name) >= 0.9 * len(named)  # ill-conditioned answers do not pass as written
    first = dict(
        zip(
            analyses_of(task, predictions)["wrong_problem_answers"].columns,
            analyses_of(task, predictions)["wrong_problem_answers"].rows[0],
            strict=True,
        )
    )
    assert first["problem"] == name
    assert first["wrong_answers"] == len(named)
    assert first["proportion"] == named.count(name) / len(named)


@pytest.mark.parametrize("task", [t for t in MATRIX_TASKS.values() if t.wrong_problems], ids=lambda t: t.name)
def test_other_wrong_answers_are_not_named(task: Any) -> None:
    def far(rows: MatrixExamples) -> Matrices:
        return rows.solutions.map(lambda x: 1.7 * x + 0.3)

    predictions = table(task, far)
    assert sum(name is not None for name in predictions["confused_with"].to_pylist()) <= 0.05 * COUNT


def test_malformed_answers_and_other_shapes_are_not_named() -> None:
    task = MATRIX_TASKS["transpose"]

    def itself(rows: MatrixExamples) -> Matrices:
        return rows.problems

    def broken(tokens: np.ndarray) -> None:
        tokens[:50, 3] = END

    square = table(task, itself, broken)["confused_with"].to_pylist()
    assert square[:50] == [None] * 50
    assert set(square[50:]) == {"A transposed"}
    oblong = table(task, itself, rectangular=True, min_dim=2, max_dim=4)
    shapes = [len(x) for x in oblong["problem"].to_pylist()]
    assert len(set(shapes)) > 1
    same = (np.array(oblong["rows"]) == np.array(oblong["cols"])).tolist()
    assert [name is not None for name in oblong["confused_with"].to_pylist()] == same


def test_flipping_any_sign_of_a_3x3_matrix_gives_the_same_spectrum() -> None:
    a = np.random.default_rng(0).normal(size=(50, 3, 3))
    a += a.transpose(0, 2, 1)
    flipped = np.linalg.eigvalsh(flip_largest_off_diagonal(a))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        other = a.copy()
        other[:, i, j] *= -1
        other[:, j, i] *= -1
        np.testing.assert_allclose(np.linalg.eigvalsh(other), flipped, atol=1e-9)
    assert np.abs(np.linalg.eigvalsh(a) - flipped).max(axis=1).min() > 0
    small = a[:, :2, :2]
    assert flip_largest_off_diagonal(small) is small


def test_summary_names_the_wrong_problem() -> None:
    task = MATRIX_TASKS["inverse"]

    def mixed(rows: MatrixExamples) -> Matrices:
        answers = rows.solutions.dense().copy()
        answers[:80] = answers[:80].transpose(0, 2, 1)
        answers[80:100] *= 3
        return Matrices.from_dense(answers)

    predictions = table(task, mixed)
    data = evaluation_data(predictions, {**METADATA, "task": "inverse"}, BaselineCounts())
    adapter = MatrixAdapter(task)
    text = adapter.summary(adapter.metrics(data), adapter.analyse(data))
    assert "of the wrong answers solve another problem: A transposed (as do 0.00 % of the correct answers)" in text
    correct = table(task, lambda rows: rows.solutions)
    assert "wrong_problem_answers" not in analyses_of(task, correct)
