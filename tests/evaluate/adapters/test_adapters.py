"""Adapters: every task has one, and all problem types share the same path of scoring and the same table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences, Sequences
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.integer_tokenizer import IntegerTokenizer
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.sequence_tokenizer import SequenceTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END
from mathpipe.evaluate.adapters.adapter import Adapter
from mathpipe.evaluate.adapters.adapter_registry import ADAPTERS, adapter_of, all_outcomes
from mathpipe.evaluate.analyze.baselines import BaselineCounts, ReferenceBaseline
from mathpipe.evaluate.analyze.column_roles import covariate_names, measure_names
from mathpipe.evaluate.analyze.evaluation_data import evaluation_data
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.report.failure_rendering import failure_card, render_failure
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.tasks.task_registry import TASKS


def addition() -> tuple[Any, Any]:
    problems, solutions = [[[1, 2, 3, 4]], [[2, 2, 2, 2]], [[0, 1, 1, 0]]], [[[4, 6]], [[4, 4]], [[1, 1]]]
    examples = MatrixExamples(np.arange(3), Matrices.from_list(problems), Matrices.from_list(solutions))
    return MatrixTokenizer.named("P1000"), examples


def integration() -> tuple[Any, Any]:
    tokenizer = ExpressionTokenizer()
    texts = [("sub Y' INT+ 1", "x"), ("sub Y' mul INT+ 2 x", "pow2 x"), ("sub Y' cos x", "sin x")]
    problems, solutions = (
        Sequences.from_list([bytes(tokenizer.tokens_to_ids(pair[k].split())) for pair in texts]) for k in (0, 1)
    )
    return tokenizer, TokenExamples(np.arange(3), problems, solutions, {})


def exclusive_or() -> tuple[Any, Any]:
    problems = Sequences.from_list([bytes([0, 1, 1, 1]), bytes([0, 0, 1, 1]), bytes([0, 0, 0, 1])])
    solutions = Sequences.from_list([bytes([1, 0]), bytes([1, 1]), bytes([0, 1])])
    return SequenceTokenizer(("0", "1", "?"), 2), TokenExamples(np.arange(3), problems, solutions, {})


def common_divisors() -> tuple[Any, Any]:
    problems = IntegerSequences.from_list([[12, 18], [5, 7], [8, 8]])
    solutions = IntegerSequences.from_list([[6], [1], [8]])
    examples = TokenExamples(np.arange(3), problems, solutions, {"class": solutions.values})
    return IntegerTokenizer.named("base10", "int"), examples


CASES = {
    "add": (addition, "matrices"),
    "integration-bwd": (integration, "expressions"),
    "xor": (exclusive_or, "sequences"),
    "gcd": (common_divisors, "integers"),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_an_adapter(task: str) -> None:
    adapter = adapter_of(task)
    assert type(adapter) is ADAPTERS[adapter.problem_type]
    assert adapter.outcomes[0] == "exact" and {"malformed", "unterminated"} <= {*adapter.outcomes}
    assert set(adapter.outcomes) <= set(all_outcomes())
    assert len(set(adapter.analyses)) == len(adapter.analyses)


def test_adapters_are_complete() -> None:
    assert {problem_type for _, problem_type in CASES.values()} == set(ADAPTERS)
    for problem_type, adapter in ADAPTERS.items():
        assert adapter.problem_type == problem_type and not adapter.__abstractmethods__
    with pytest.raises(TypeError, match="abstract"):
        Adapter(None, 0.05, 0)  # type: ignore[abstract]


@pytest.mark.parametrize("task", CASES)
def test_one_path_for_every_problem_type(task: str) -> None:
    """Three answers: the reference, one that is malformed, and one without END."""
    make, problem_type = CASES[task]
    adapter = adapter_of(task)
    tokenizer, examples = make()
    tokens = append_end(*tokenizer.encode(examples.solutions))
    tokens[1, 0] = 10**6
    tokens[2] = np.where(tokens[2] == END, tokens[2, 0], tokens[2])
    scored = adapter.score(tokenizer, examples, Hypotheses(tokens, np.array([-1.0, -2.0, -3.0])))
    names = [adapter.outcomes[k] for k in scored.outcome]
    assert names[0] == "exact" and names[1:] == ["malformed", "unterminated"]
    assert scored.passed.tolist() == [True, False, False] and scored.reference.passed.all()
    source = IntegerTokenizer.named("base10", "(int, int)") if problem_type == "integers" else tokenizer
    table = adapter.table(scored, "test", source, tokenizer)
    assert table["outcome"].to_pylist() == names
    assert measure_names(table) and covariate_names(table)
    metadata = {"task": task, "outcomes": list(adapter.outcomes), "split": "test"}
    counts = ReferenceBaseline().count_passes(scored)
    data = evaluation_data(table, metadata, BaselineCounts(**counts.to_json()))
    metrics = adapter.metrics(data)
    assert metrics["accuracy"] == pytest.approx(1 / 3) and metrics["reference_accuracy"] == 1
    analyses = adapter.analyse(data)
    assert "outcomes" in [analysis.name for analysis in analyses]
    assert adapter.criterion in adapter.summary(metrics, analyses)
    failures = list(adapter.failures(table))
    assert [failure.row for failure in failures] == [1, 2]
    for failure in failures:
        assert failure.problem_type == problem_type
        assert "problem" in "\n".join(render_failure(failure)) and "problem" in failure_card(failure)
