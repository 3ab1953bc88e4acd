"""Baselines on problems small enough to count by hand: constants, copies, references, best representable answers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.adapters.adapter_registry import adapter_of
from mathpipe.evaluate.analyze.baselines import (
    TOLERANCE_LEVELS,
    BaselineCounts,
    Constants,
    MatrixBaselines,
    copy_problems,
)
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.tasks.task_registry import matrix_task

P1000 = MatrixTokenizer.named("P1000")


def count_passes(
    task: str, examples: MatrixExamples, tokenizer: MatrixTokenizer = P1000, **changes: Any
) -> BaselineCounts:
    """Counts of the task with some attributes changed, in two parts that are added."""
    constants, changed_task = Constants.of(examples.solutions), copy.copy(matrix_task(task))
    vars(changed_task).update(changes)
    baselines = MatrixBaselines(changed_task, tokenizer, constants)
    counts, half = BaselineCounts(), len(examples) // 2
    for index in (np.arange(half), np.arange(half, len(examples))):
        part = examples.take(index)
        decoded = Hypotheses(append_end(*tokenizer.encode(part.solutions)), np.zeros(len(part)))
        counts += baselines.count_passes(adapter_of(task).score(tokenizer, part, decoded))
    assert BaselineCounts(**counts.to_json()) == counts
    return counts


def test_constants_of_frequent_shapes() -> None:
    often = [np.full((1, 2), k) for k in (1, 1, 1, 1, 1, 1, 2, 2, 2, 8)]
    rare = [np.full((2, 2), 5.0)] * 9
    like = Matrices.from_list([*often, *rare])
    constants = Constants.of(like)
    assert constants.answers("mean", like)[3].tolist() == [[2, 2]]
    assert constants.answers("median", like)[3].tolist() == [[1, 1]]
    assert constants.answers("zeros", like)[3].tolist() == [[0, 0]]
    assert constants.answers("mean", like)[12].tolist() == [[0, 0], [0, 0]]
    assert constants.answers("median", like).same_shape(like).all()


def test_copies_are_cropped_and_padded() -> None:
    problems = Matrices.from_list([[[1, 2, 3, 4]], [[1, 2], [3, 4]], [[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5, 6]]])
    like = Matrices.from_list([np.zeros((1, 2)), np.zeros((2, 2)), np.zeros((3, 2)), np.zeros((3, 2))])
    copies = copy_problems(problems, like)
    assert [m.tolist() for m in copies] == [
        [[1, 2]],
        [[1, 2], [3, 4]],
        [[1, 2], [4, 5], [0, 0]],
        [[1, 2], [4, 5], [0, 0]],
    ]
    assert copy_problems(problems, problems) is problems


def test_best_constant_and_copy(make_examples: Callable[..., MatrixExamples]) -> None:
    # Sums of [a b]: 7 of 10 are 4, which is the median; the mean 5.2 is never correct. Copies of [4 0] and [8 0] are correct.
    sums = [(4, 0), (4, 0), (1, 3), (1, 3), (2, 2), (3, 1), (5, -1), (8, 0), (9, -1), (9, -1)]
    counts = count_passes("add", make_examples([[list(s)] for s in sums], [[[sum(s)]] for s in sums]))
    assert counts.n == 10
    assert counts.best_constant == "median"
    assert counts.accuracy("constant", 0.05) == counts.accuracy("median", 0.005) == 0.7
    assert counts.accuracy("mean", 0.25) == 0
    assert counts.accuracy("zeros", 0.25) == 0
    assert counts.accuracy("copy", 0.05) == 0.3  # 4, 4 and 8
    assert counts.accuracy("copy", 0.2) == 0.5  # 9 for 8 is 12.5 % off
    assert counts.accuracy("reference", 0.005) == counts.accuracy("best_representable", 0.005) == 1


def test_zeros_are_the_best_constant_if_none_passes(make_examples: Callable[..., MatrixExamples]) -> None:
    examples = make_examples([[[k, k]] for k in range(1, 5)], [[[2 * k]] for k in range(1, 5)])
    assert count_passes("add", examples).best_constant == "zeros"


@pytest.mark.parametrize("encoding", ["P10", "P1000", "B1999", "FP15"])
def test_best_representable_is_at_least_the_reference(encoding: str) -> None:
    rng = np.random.default_rng(5)
    problems = Matrices.from_dense(np.round(rng.uniform(-10, 10, (200, 3, 3)), 1))
    examples = MatrixExamples(np.arange(200), problems, matrix_task("inverse").solve(problems).solutions)
    counts = count_passes("inverse", examples, MatrixTokenizer.named(encoding))
    for tolerance in TOLERANCE_LEVELS:
        assert counts.accuracy("best_representable", tolerance) >= counts.accuracy("reference", tolerance)
    assert counts.accuracy("best_representable", 0.005) > counts.accuracy("reference", 0.005) + 0.05
    assert counts.accuracy("reference", 0.005) < counts.accuracy("reference", 0.05) < 1


def test_best_representable_falls_back_to_the_reference(make_examples: Callable[..., MatrixExamples]) -> None:
    examples = make_examples([[[1, 2]], [[3, 4]]], [[[3]], [[7]]])
    counts = count_passes(
        "add", examples, best_representable=lambda problems, solutions: copy_problems(problems, solutions)
    )
    assert counts.accuracy("copy", 0.05) == 0
    assert counts.accuracy("best_representable", 0.05) == counts.accuracy("reference", 0.05) == 1


def test_reference_is_the_rounded_solution() -> None:
    rng = np.random.default_rng(6)
    a = np.round(rng.uniform(-10, 10, (300, 4, 4)), 1)
    x = np.linalg.inv(a)
    rounded = np.vectorize(lambda v: float(f"{v:.2e}"))(x)
    errors = np.abs(a @ rounded - np.eye(4)).sum(axis=(1, 2)) / 4
    examples = MatrixExamples(np.arange(300), Matrices.from_dense(a), Matrices.from_dense(x))
    counts = count_passes("inverse", examples)
    for tolerance in (0.05, 0.02, 0.01, 0.005):
        assert counts.accuracy("reference", tolerance) == (errors <= tolerance).mean()


def test_unknown_tolerance_level_raises(make_examples: Any) -> None:
    with pytest.raises(ValueError):
        count_passes("add", make_examples([[[1, 1]], [[1, 1]]], [[[2]], [[2]]])).accuracy("copy", 0.03)
