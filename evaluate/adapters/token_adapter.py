"""What expressions, sequences and integers share: answers are token sequences that the task's verifier accepts or rejects."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from html import escape
from typing import Any

import numpy as np
import pyarrow as pa

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.dataset import Dataset
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.evaluate.adapters.adapter import Adapter, Terminal, TokenizerT
from mathpipe.evaluate.adapters.prediction_columns import text_column, token_strings
from mathpipe.evaluate.analyze.covariates import Column
from mathpipe.evaluate.analyze.evaluation_data import EvaluationData
from mathpipe.evaluate.analyze.evidence_analyses import domain_metrics, evidence_metrics
from mathpipe.evaluate.analyze.summary import Metrics, token_metrics
from mathpipe.evaluate.failures.failure import Failure, FailureParts
from mathpipe.evaluate.score.scoring import Errors
from mathpipe.evaluate.score.token_verifier import ScoredTokens, TokenVerifier
from mathpipe.generate.outcomes import Domain
from mathpipe.generate.tasks.error_measures import TOLERANCE
from mathpipe.generate.tasks.token_task import TokenTask

_MAX_CHARACTERS = 400  # of a problem or answer on a page


class TokenAdapter(Adapter[TokenExamples, Sequences, TokenizerT]):
    """Evaluation of a task whose answers are token sequences. ``workers``: processes that verify; 0 verifies in this process."""

    criterion = "passed verification"
    typical_column = "problem_length"
    worst_order = (
        "first one of each kind that is no wrong answer (malformed, unterminated, undecided, timeout), then the most confident "
        "wrong answers: the largest log probability. Each problem is shown once."
    )

    def __init__(
        self, task: TokenTask[Any], tolerance: float = TOLERANCE, workers: int = 0, domain: Domain = "real"
    ) -> None:
        self.task = task
        self._verifier = TokenVerifier(task, workers, domain)

    @property
    def verifier(self) -> TokenVerifier:
        return self._verifier

    def running(self) -> AbstractContextManager[None]:
        return self._verifier.running()

    def max_length(self, dataset: Dataset, n: int) -> int:
        chunks: Iterator[Any] = dataset.chunks(stop=n)
        return self.longest_answer(max(int(examples.solutions.lengths.max()) for examples in chunks)) + 1

    def longest_answer(self, longest_reference: int) -> int:
        """Maximum number of tokens of an answer, without END."""
        return longest_reference

    def answer_columns(self, scored: ScoredTokens) -> dict[str, pa.Array]:
        offsets, values = pa.array(scored.answers.offsets, pa.int32()), pa.array(scored.answers.values, pa.uint8())
        return {"decoded": pa.ListArray.from_arrays(offsets, values, mask=pa.array(~scored.readable))}

    def measures(self, scored: ScoredTokens) -> Errors:
        return {"token_accuracy": scored.num_correct_tokens / scored.num_tokens, **scored.errors}

    def problem_columns(self, scored: ScoredTokens, target: TokenizerT) -> dict[str, pa.Array]:
        references = token_strings(target, *target.encode(scored.problems.solutions))
        return {"reference": text_column(references, scored.best)}

    def covariates(self, problems: TokenExamples) -> dict[str, Column]:
        """Covariates of the tokens, then further columns that the dataset stores."""
        columns = self.token_covariates(problems.problems, problems.solutions)
        stored = {name: np.asarray(values) for name, values in problems.columns.items() if name not in columns}
        return columns | stored

    @abstractmethod
    def token_covariates(self, problems: Sequences, solutions: Sequences) -> dict[str, Column]:
        """Properties of the tokens of each problem and solution, (n,) each, that may explain a failure."""

    def type_metrics(self, data: EvaluationData) -> Metrics:
        return token_metrics(data, self.extra_metrics) | domain_metrics(data) | evidence_metrics(data)

    def failure_parts(self, failed: pa.Table) -> Sequence[FailureParts]:
        columns = (failed[name].to_pylist() for name in ("problem_tokens", "reference"))
        return [FailureParts(problem, reference) for problem, reference in zip(*columns, strict=True)]


def shown_texts(failure: Failure) -> dict[str, str]:
    """Problem, reference and prediction as text of tokens."""
    return {"problem": failure.problem, "reference": failure.reference, "prediction": failure.prediction}


def render_texts(texts: dict[str, str], terminal: Terminal) -> list[str]:
    """One line per text, after its name."""
    return [terminal.shorten(f"{name:<10}  {text or '(no tokens)'}") for name, text in texts.items()]


def texts_html(texts: dict[str, str]) -> str:
    """The texts as an HTML list."""
    lines = []
    for name, text in texts.items():
        short = text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"
        lines.append(f"<dt>{name}</dt><dd class=formula>{escape(short or '(no tokens)')}</dd>")
    return f"<dl>{''.join(lines)}</dl>"
