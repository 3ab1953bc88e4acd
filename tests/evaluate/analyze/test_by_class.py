"""Accuracy by class of answer: metrics, the table of the report, and what is predicted most often."""

from __future__ import annotations

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.tokenizers.integer_tokenizer import IntegerTokenizer
from mathpipe.evaluate.adapters.adapter_registry import adapter_of
from mathpipe.evaluate.analyze.baselines import BaselineCounts
from mathpipe.evaluate.analyze.evaluation_data import MAX_CLASSES, EvaluationData, evaluation_data
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.score.scoring import append_end


def predictions(answers: list[int], gcds: list[int]) -> EvaluationData:
    """Predictions ``answers`` for problems (g, g) with the answers ``gcds``."""
    adapter = adapter_of("gcd")
    source, tokenizer = (IntegerTokenizer.named("base10", layout) for layout in ("(int, int)", "int"))
    problems = IntegerSequences.from_list([[g, g] for g in gcds])
    solutions = IntegerSequences.from_list([[g] for g in gcds])
    examples = TokenExamples(np.arange(len(gcds)), problems, solutions, {"class": solutions.values})
    tokens = append_end(*tokenizer.encode(IntegerSequences.from_list([[a] for a in answers])))
    scored = adapter.score(tokenizer, examples, Hypotheses(tokens, -np.arange(1.0, len(gcds) + 1)))
    table = adapter.table(scored, "test", source, tokenizer)
    metadata = {"task": "gcd", "outcomes": list(adapter.outcomes), "split": "test"}
    return evaluation_data(table, metadata, BaselineCounts())


def test_each_class_has_its_accuracy() -> None:
    data = predictions([1, 1, 2, 2, 2, 1, 12], [1, 1, 2, 6, 6, 6, 12])
    adapter = adapter_of("gcd")
    metrics = adapter.metrics(data)
    assert metrics["by_class"] == {
        "1": {"problems": 2, "accuracy": 1.0},
        "2": {"problems": 1, "accuracy": 1.0},
        "6": {"problems": 3, "accuracy": 0.0},
        "12": {"problems": 1, "accuracy": 1.0},
    }
    assert (metrics["classes"], metrics["classes_predicted"]) == (4, 3)
    analyses = {analysis.name: analysis for analysis in adapter.analyse(data)}
    rows = dict(zip(analyses["by_class"].column("class"), analyses["by_class"].rows, strict=True))
    assert rows[6][1:3] == [3, 0.0] and rows[6][5:] == ["+ 2", pytest.approx(2 / 3)]
    assert rows[12][5:] == ["+ 1 2", 1.0]
    text = adapter.summary(metrics, list(analyses.values()))
    assert "3 of the 4 smallest classes are right in 95 % or more of their problems: 1, 2, 12\n" in text


def test_token_accuracy_counts_tokens_not_integers() -> None:
    """Of 12 and 7 with END (3 + 1 and 2 + 1 tokens), 1 is wrong."""
    metrics = adapter_of("gcd").metrics(predictions([13, 7], [12, 7]))
    assert metrics["token_accuracy"] == pytest.approx(6 / 7)


def test_only_the_smallest_classes_are_listed() -> None:
    data = predictions(list(range(1, 121)), list(range(1, 121)))
    metrics = adapter_of("gcd").metrics(data)
    assert adapter_of("gcd").summary(metrics, []).count(": 1, 2, 3") == 1
    assert "19, 20, ...\n" in adapter_of("gcd").summary(metrics, [])
    assert metrics["classes"] == MAX_CLASSES and list(metrics["by_class"])[-1] == "100"
