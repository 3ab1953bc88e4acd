"""Integers in tuples and lists, in the integer encoding of the run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import torch

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.dataset import Dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.tokenizers.integer_tokenizer import IntegerTokenizer
from mathpipe.evaluate.adapters.adapter import Terminal
from mathpipe.evaluate.adapters.prediction_columns import number_column
from mathpipe.evaluate.adapters.token_adapter import TokenAdapter, render_texts, shown_texts, texts_html
from mathpipe.evaluate.analyze.calibration_analysis import calibration
from mathpipe.evaluate.analyze.covariate_analyses import by_class, by_covariate, failure_discriminability
from mathpipe.evaluate.analyze.covariates import Column, integer_covariates
from mathpipe.evaluate.analyze.evaluation_data import EvaluationData
from mathpipe.evaluate.analyze.outcome_analyses import by_outcome, by_rank
from mathpipe.evaluate.analyze.summary import Metrics, class_metrics
from mathpipe.evaluate.decode.grammar import Grammar
from mathpipe.evaluate.failures.failure import Failure
from mathpipe.evaluate.score.token_verifier import ScoredTokens

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
    ) -> Grammar | None:
        raise UserError(
            "constrained decoding does not apply to tasks of integers",
            expected="a task of matrices or expressions, which have a grammar",
            got=self.task.name,
            next_step="leave --constrained out",
        )

    def answer_columns(self, scored: ScoredTokens) -> dict[str, pa.Array]:
        offsets, values = pa.array(scored.answers.offsets, pa.int32()), pa.array(scored.answers.values, pa.int64())
        return {"decoded": pa.ListArray.from_arrays(offsets, values, mask=pa.array(~scored.readable))}

    def problem_columns(self, scored: ScoredTokens, target: IntegerTokenizer) -> dict[str, pa.Array]:
        solutions: Any = scored.problems.solutions
        tokens = target.encode(solutions)[1]
        return super().problem_columns(scored, target) | {"reference_tokens": number_column(tokens, scored.best)}

    def token_covariates(self, problems: Sequences, solutions: Sequences) -> dict[str, Column]:
        return integer_covariates(problems, solutions)

    def type_metrics(self, data: EvaluationData) -> Metrics:
        return super().type_metrics(data) | class_metrics(data)

    @staticmethod
    def render_failure(failure: Failure, terminal: Terminal) -> list[str]:
        return render_texts(shown_texts(failure), terminal)

    @staticmethod
    def failure_html(failure: Failure) -> str:
        return texts_html(shown_texts(failure))
