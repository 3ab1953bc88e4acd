"""Failures of integers show values in the layout of the task; predictions that have none show their tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.tokenizers.integer_tokenizer import IntegerTokenizer
from mathpipe.evaluate.adapters.adapter_registry import adapter_of
from mathpipe.evaluate.analyze.column_roles import covariate_names, measure_names
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.failures.failure import Failure
from mathpipe.evaluate.failures.failure_dump import FailureWriter, read_failures
from mathpipe.evaluate.report.failure_rendering import failure_card, render_failure
from mathpipe.evaluate.score.scoring import append_end


@pytest.fixture
def failures(tmp_path: Path) -> list[Failure]:
    """gcd(12, 18), gcd(5, 70) and gcd(16, 8), answered by 12, by 5, which is right, and by a token that is none."""
    adapter = adapter_of("gcd")
    source, target = (IntegerTokenizer.named("base10", layout) for layout in ("(int, int)", "int"))
    problems = IntegerSequences.from_list([[12, 18], [5, 70], [16, 8]])
    solutions = IntegerSequences.from_list([[6], [5], [8]])
    examples = TokenExamples(np.arange(3), problems, solutions, {"class": solutions.values})
    tokens = append_end(*target.encode(IntegerSequences.from_list([[12], [5], [8]])))
    tokens[2, 0] = tokens[2, 1]  # 8 8 has no sign
    scored = adapter.score(target, examples, Hypotheses(tokens, np.array([-1.0, -2.0, -3.0])))
    table = adapter.table(scored, "test", source, target)
    values = [table[f"{name}_value"].to_pylist() for name in ("problem", "reference", "decoded")]
    assert values == [["(12, 18)", "(5, 70)", "(16, 8)"], ["6", "5", "8"], ["12", "5", None]]
    assert not [name for name in (*measure_names(table), *covariate_names(table)) if name.endswith("_value")]
    with (tmp_path / "failures.jsonl.zst").open("wb") as file:
        writer = FailureWriter(file)
        writer.append(adapter.failures(table))
        writer.close()
    return list(read_failures(tmp_path / "failures.jsonl.zst"))


def test_failures_show_values(failures: list[Failure]) -> None:
    wrong, malformed = failures
    headline, *lines = render_failure(wrong)
    assert headline.startswith("row 0, wrong_value (proven)")
    assert lines == ["problem     (12, 18)", "reference   6", "prediction  12"]
    assert wrong.prediction == "+ 1 2"
    assert "(12, 18)" in failure_card(wrong) and "<dd class=formula>12</dd>" in failure_card(wrong)
    assert render_failure(malformed)[1:] == ["problem     (16, 8)", "reference   8", "prediction  8 8 (tokens)"]
    assert malformed.outcome == "malformed" and malformed.decoded is None
