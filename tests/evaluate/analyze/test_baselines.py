"""Constant and copied answers, the reference and the attainable score, on problems small enough to count by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.analyze.baselines import (
    TOLERANCE_LEVELS,
    BaselineCounts,
    Constants,
    MatrixBaselines,
    copy_problems,
)
from mathpipe.evaluate.decode.decoding import Hypotheses
from mathpipe.evaluate.score.matrix_scoring import append_end, score
from mathpipe.generate.tasks.registry import TASKS

P1000 = MatrixTokenizer.named("P1000")


def baselines(task: str, rows: MatrixExamples, tokenizer: MatrixTokenizer = P1000, **changes: Any) -> BaselineCounts:
    sticks, found = (
        MatrixBaselines(dataclasses.replace(TASKS[task], **changes), tokenizer, Constants.of(rows.solutions)),
        BaselineCounts(),
    )
    half = len(rows) // 2
    for index in (np.arange(half), np.arange(half, len(rows))):  # counts add up over runs of rows
        part = rows.take(index)
        tokens = append_end(*tokenizer.encode(part.solutions))
        found += sticks.count_passes(score(TASKS[task], tokenizer, part, Hypotheses(tokens, np.zeros(len(part)))))
    assert BaselineCounts(**found.to_json()) == found
    return found


def test_constants_are_taken_for_each_shape_seen_often() -> None:
    often = [np.full((1, 2), k) for k in (1, 1, 1, 1, 1, 1, 2, 2, 2, 8)]
    rare = [np.full((2, 2), 5.0)] * 9
    like = Matrices.from_list([*often, *rare])
    constants = Constants.of(like)
    assert constants.answers("mean", like)[3].tolist() == [[2, 2]]
    assert constants.answers("median", like)[3].tolist() == [[1, 1]]
    assert constants.answers("zeros", like)[3].tolist() == [[0, 0]]
    assert constants.answers("mean", like)[12].tolist() == [[0, 0], [0, 0]]
    assert constants.answers("median", like).same_shape(like).all()


def test_copies_are_cut_and_padded_to_the_answer() -> None:
    problems = Matrices.from_list([[[1, 2, 3, 4]], [[1, 2], [3, 4]], [[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5, 6]]])
    like = Matrices.from_list([np.zeros((1, 2)), np.zeros((2, 2)), np.zeros((3, 2)), np.zeros((3, 2))])
    found = copy_problems(problems, like)
    assert [m.tolist() for m in found] == [
        [[1, 2]],
        [[1, 2], [3, 4]],
        [[1, 2], [4, 5], [0, 0]],
        [[1, 2], [4, 5], [0, 0]],
    ]
    assert copy_problems(problems, problems) is problems


def test_the_best_constant_and_the_copy_are_counted(problems: Callable[..., MatrixExamples]) -> None:
    # Sums of [a b]: 7 of 10 are 4, so the median is right there; the mean 5.2 never is. [4 0] is also copied right.
    sums = [(4, 0), (4, 0), (1, 3), (1, 3), (2, 2), (3, 1), (5, -1), (8, 0), (9, -1), (9, -1)]
    found = baselines("add", problems([[list(s)] for s in sums], [[[sum(s)]] for s in sums]))
    assert found.n == 10
    assert found.best_constant == "median"
    assert found.accuracy("constant", 0.05) == found.accuracy("median", 0.005) == 0.7
    assert found.accuracy("mean", 0.25) == 0
    assert found.accuracy("zeros", 0.25) == 0
    assert found.accuracy("copy", 0.05) == 0.3  # 4, 4 and 8
    assert found.accuracy("copy", 0.2) == 0.5  # 9 for 8 is 12.5 % off
    assert found.accuracy("reference", 0.005) == found.accuracy("best_representable", 0.005) == 1


def test_nothing_right_makes_zeros_the_best_constant(problems: Callable[..., MatrixExamples]) -> None:
    rows = problems([[[k, k]] for k in range(1, 5)], [[[2 * k]] for k in range(1, 5)])
    assert baselines("add", rows).best_constant == "zeros"


@pytest.mark.parametrize("encoding", ["P10", "P1000", "B1999", "FP15"])
def test_attainable_is_at_least_the_reference_and_often_more(encoding: str) -> None:
    rng = np.random.default_rng(5)
    problems = Matrices.from_dense(np.round(rng.uniform(-10, 10, (200, 3, 3)), 1))
    rows = MatrixExamples(np.arange(200), problems, TASKS["inverse"].solve(problems).solutions)
    found = baselines("inverse", rows, MatrixTokenizer.named(encoding))
    for tolerance in TOLERANCE_LEVELS:
        assert found.accuracy("best_representable", tolerance) >= found.accuracy("reference", tolerance)
    assert found.accuracy("best_representable", 0.005) > found.accuracy("reference", 0.005) + 0.05
    assert found.accuracy("reference", 0.005) < found.accuracy("reference", 0.05) < 1


def test_a_search_that_finds_less_than_the_reference_costs_nothing(problems: Callable[..., MatrixExamples]) -> None:
    rows = problems([[[1, 2]], [[3, 4]]], [[[3]], [[7]]])
    found = baselines("add", rows, best_representable=lambda problems, solutions: copy_problems(problems, solutions))
    assert found.accuracy("copy", 0.05) == 0
    assert found.accuracy("best_representable", 0.05) == found.accuracy("reference", 0.05) == 1


def test_the_reference_score_is_that_of_the_rounded_solution() -> None:
    rng = np.random.default_rng(6)
    a = np.round(rng.uniform(-10, 10, (300, 4, 4)), 1)
    x = np.linalg.inv(a)
    written = np.vectorize(lambda v: float(f"{v:.2e}"))(x)
    errors = np.abs(a @ written - np.eye(4)).sum(axis=(1, 2)) / 4
    rows = MatrixExamples(np.arange(300), Matrices.from_dense(a), Matrices.from_dense(x))
    found = baselines("inverse", rows)
    for tolerance in (0.05, 0.02, 0.01, 0.005):
        assert found.accuracy("reference", tolerance) == (errors <= tolerance).mean()


def test_a_tolerance_off_the_grid_is_refused(problems: Any) -> None:
    with pytest.raises(ValueError):
        baselines("add", problems([[[1, 1]], [[1, 1]]], [[[2]], [[2]]])).accuracy("copy", 0.03)
