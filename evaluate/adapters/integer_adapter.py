"""Integers in tuples and lists, in the integer encoding of the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mathpipe.datasets.containers.integer_layout import unflatten
from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.dataset import Dataset
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.tokenizers.integer_tokenizer import IntegerTokenizer
from mathpipe.evaluate.adapters.adapter import Terminal
from mathpipe.evaluate.adapters.prediction_columns import number_column
from mathpipe.evaluate.adapters.token_adapter import TokenAdapter, render_texts, texts_html
from mathpipe.evaluate.analyze.calibration_analysis import calibration
from mathpipe.evaluate.analyze.covariate_analyses import by_class, by_covariate, failure_discriminability
from mathpipe.evaluate.analyze.covariates import Column, integer_covariates
from mathpipe.evaluate.analyze.evaluation_data import EvaluationData
from mathpipe.evaluate.analyze.outcome_analyses import by_outcome, by_rank
from mathpipe.evaluate.analyze.summary import Metrics, class_metrics
from mathpipe.evaluate.failures.failure import Failure, FailureParts
from mathpipe.evaluate.score.token_verifier import ScoredTokens

if TYPE_CHECKING:
    import torch

    from mathpipe.evaluate.decode.integer_grammar import IntegerGrammar

_LENGTH_FACTOR = 2  # a predicted answer may have this many times the tokens of the longest reference
_MIN_LENGTH = 8


class IntegerAdapter(TokenAdapter[IntegerTokenizer]):
    """Evaluation of a task whose answers are integers."""

    problem_type = "integers"
    analyses = (by_outcome, by_rank, by_class, failure_discriminability, calibration, by_covariate)

    @property
    def extra_metrics(self) -> tuple[str, ...]:
        return self.task.measures[:1]

    def max_length(self, dataset: Dataset, n: int) -> int:
        chunks: Iterator[Any] = dataset.chunks(stop=n)
        longest = max(int(dataset.target.encode(examples.solutions)[1].max()) for examples in chunks)
        return self.longest_answer(longest) + 1

    def longest_answer(self, longest_reference: int) -> int:
        return max(_LENGTH_FACTOR * longest_reference, _MIN_LENGTH)

    def grammar(
        self, tokenizer: IntegerTokenizer, examples: TokenExamples, max_length: int, device: torch.device | str
    ) -> IntegerGrammar:
        from mathpipe.evaluate.decode.integer_grammar import IntegerGrammar  # imports torch: reports do without

        return IntegerGrammar(tokenizer, len(examples), max_length, device)

    def answer_columns(self, scored: ScoredTokens) -> dict[str, pa.Array]:
        offsets, values = pa.array(scored.answers.offsets, pa.int32()), pa.array(scored.answers.values, pa.int64())
        return {"decoded": pa.ListArray.from_arrays(offsets, values, mask=pa.array(~scored.readable))}

    def problem_columns(self, scored: ScoredTokens, target: IntegerTokenizer) -> dict[str, pa.Array]:
        solutions: Any = scored.problems.solutions
        tokens = target.encode(solutions)[1]
        return super().problem_columns(scored, target) | {"reference_tokens": number_column(tokens, scored.best)}

    def table(self, scored: ScoredTokens, split: str, source: IntegerTokenizer, target: IntegerTokenizer) -> pa.Table:
        """With the values as text: (12, 18) instead of its tokens or its flat row."""
        table = super().table(scored, split, source, target)
        problems: Any = scored.problems
        columns = {
            "problem_value": _value_column(source.layout, problems.problems, scored.best),
            "reference_value": _value_column(target.layout, problems.solutions, scored.best),
            "decoded_value": _value_column(target.layout, scored.answers, scored.readable),
        }
        for name, column in columns.items():
            table = table.append_column(name, column)
        return table

    def failure_parts(self, failed: pa.Table) -> Sequence[FailureParts]:
        columns = (failed[name].to_pylist() for name in ("problem_value", "reference_value", "decoded_value"))
        return [FailureParts(*values) for values in zip(*columns, strict=True)]

    def token_covariates(self, problems: Sequences, solutions: Sequences) -> dict[str, Column]:
        return integer_covariates(problems, solutions)

    def type_metrics(self, data: EvaluationData) -> Metrics:
        return super().type_metrics(data) | class_metrics(data)

    @staticmethod
    def render_failure(failure: Failure, terminal: Terminal) -> list[str]:
        return render_texts(_shown_values(failure), terminal)

    @staticmethod
    def failure_html(failure: Failure) -> str:
        return texts_html(_shown_values(failure))


def _shown_values(failure: Failure) -> dict[str, str]:
    """Problem, reference and prediction as values; the tokens of a prediction that could not be decoded."""
    tokens = f"{failure.prediction} (tokens)" if failure.prediction else ""
    return {
        "problem": failure.problem,
        "reference": failure.reference,
        "prediction": tokens if failure.decoded is None else failure.decoded,
    }


def _value_column(layout: str, rows: Sequences, present: NDArray[np.bool_]) -> pa.Array:
    """The values of flat rows as text, null where not ``present``."""
    shown = [str(unflatten(layout, rows[i])) if here else None for i, here in enumerate(present.tolist())]
    return pa.array(shown, pa.string())
