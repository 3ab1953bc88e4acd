"""The interface of a problem type: decoding limits, scoring, predictions table, baselines, analyses and failures.

Evaluation never asks which problem type it has. It asks the adapter of the task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mathpipe.datasets.dataset import Dataset
from mathpipe.datasets.errors import UserError
from mathpipe.evaluate.adapters.prediction_columns import (
    at_best,
    count_column,
    evidence_column,
    number_column,
    text_column,
    token_strings,
)
from mathpipe.evaluate.analyze.analysis import Analyse, Analysis
from mathpipe.evaluate.analyze.baselines import Baselines, ReferenceBaseline
from mathpipe.evaluate.analyze.column_roles import covariate_names, float_column, measure_names
from mathpipe.evaluate.analyze.covariates import Column
from mathpipe.evaluate.analyze.evaluation_data import EvaluationData
from mathpipe.evaluate.analyze.summary import Metrics, headline_metrics, summary_text
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.evaluate.failures.failure import LABELS, Failure, FailureParts
from mathpipe.evaluate.score.scoring import (
    AnswersT,
    AnswerTokenizer,
    Errors,
    ExamplesT,
    ScoredHypotheses,
    Verifier,
    score,
)
from mathpipe.generate.outcomes import Domain

if TYPE_CHECKING:
    import torch

    from mathpipe.evaluate.decode.grammar import Grammar

TokenizerT = TypeVar("TokenizerT", bound=AnswerTokenizer[Any])


@dataclass(frozen=True)
class Terminal:
    """How to draw on a terminal: ``width`` in characters, with or without ``colour``, in ASCII or Unicode."""

    width: int = 100
    colour: bool = False
    ascii_only: bool = False

    def shorten(self, text: str) -> str:
        """The text, cut to the width."""
        ellipsis = ".." if self.ascii_only else "…"
        return text if len(text) <= self.width else text[: max(self.width - len(ellipsis), 0)] + ellipsis


class Adapter(ABC, Generic[ExamplesT, AnswersT, TokenizerT]):
    """Evaluation of one task, by its problem type: ``ExamplesT`` of a dataset, decoded ``AnswersT``, and their ``TokenizerT``."""

    problem_type: ClassVar[str]
    analyses: ClassVar[tuple[Analyse, ...]]
    """The analyses of a report, in its order."""
    criterion: ClassVar[str]
    """What ``accuracy`` counts, for people."""
    typical_column: ClassVar[str]
    """Wrong answers near the median of this column are shown as typical."""
    worst_order: ClassVar[str]
    """How the worst failures are chosen, for people."""
    tolerances: ClassVar[tuple[float, ...]] = ()
    """Smaller tolerances of the error test whose accuracies a training logs, too."""
    evidence_counts: ClassVar[tuple[str, ...]] = ()
    """The names of ``EVIDENCE_COUNTS`` that are columns of the predictions."""

    @abstractmethod
    def __init__(self, task: Any, tolerance: float, workers: int, domain: Domain) -> None: ...

    @property
    @abstractmethod
    def verifier(self) -> Verifier[ExamplesT, AnswersT]: ...

    @property
    def outcomes(self) -> tuple[str, ...]:
        return self.verifier.outcomes

    @property
    def extra_metrics(self) -> tuple[str, ...]:
        """Measures that are averaged into metrics, in training and in evaluation."""
        return ()

    # Decoding and scoring

    @abstractmethod
    def max_length(self, dataset: Dataset, n: int) -> int:
        """Maximum number of tokens of a prediction, END included, for the first n examples."""

    def grammar(
        self, tokenizer: TokenizerT, examples: ExamplesT, max_length: int, device: torch.device | str
    ) -> Grammar | None:
        """The grammar of constrained decoding; None if every token sequence is well-formed."""
        return None

    def running(self) -> AbstractContextManager[None]:
        """Context in which the worker processes of the verifier run."""
        return nullcontext()

    def score(
        self, tokenizer: TokenizerT, examples: ExamplesT, decoded: Hypotheses
    ) -> ScoredHypotheses[ExamplesT, AnswersT]:
        """Score hypotheses of the examples ``decoded.problem``, encoded by ``tokenizer``."""
        return score(self.verifier, tokenizer, examples, decoded)

    def baselines(self, dataset: Dataset, n: int) -> Baselines:
        """The baselines for the first n examples."""
        return ReferenceBaseline()

    def published_encodings(self) -> tuple[str, ...]:
        """Number encodings of published failure files; UserError if there are no such files."""
        raise UserError(
            "published failure files exist for matrix tasks only", expected="a matrix task, such as eigenvectors"
        )

    # Predictions

    def table(
        self,
        scored: ScoredHypotheses[ExamplesT, AnswersT],
        split: str,
        source: TokenizerT,
        target: TokenizerT,
    ) -> pa.Table:
        """Rows of the predictions file (see ``mathpipe.evaluate.predictions``)."""
        best, problems = scored.best, scored.problems
        predicted = token_strings(target, scored.decoded.tokens, scored.lengths)
        outcome = pa.DictionaryArray.from_arrays(pa.array(scored.outcome, pa.int8()), list(scored.outcomes))
        measures = {name: number_column(values) for name, values in self.measures(scored).items()}
        problem_tokens = token_strings(source, *source.encode(problems.problems))
        covariates = self.covariates(problems.take(best))
        return pa.table(
            {
                "row": pa.array(problems.row, pa.int64()),
                "split": pa.array([split] * len(scored), pa.string()),
                "rank": pa.array(scored.rank, pa.int32()),
                "prediction": pa.array(predicted, pa.string()),
                **self.answer_columns(scored),
                "outcome": outcome.cast(pa.string()),
                "evidence": evidence_column(scored.evidence),
                **{f"evidence_{name}": count_column(scored.evidence_counts[name]) for name in self.evidence_counts},
                "passed": pa.array(scored.passed),
                "matches_reference": pa.array(scored.matches_reference),
                "log_probability": number_column(scored.decoded.log_probability),
                **measures,
                "problem_tokens": text_column(problem_tokens, best),
                **self.problem_columns(scored, target),
                "correct_rank": number_column(scored.correct_rank),
                **{name: at_best(values, best) for name, values in covariates.items()},
            }
        )

    @abstractmethod
    def answer_columns(self, scored: ScoredHypotheses[ExamplesT, AnswersT]) -> dict[str, pa.Array]:
        """Columns of every hypothesis besides its measures: ``decoded`` and others."""

    def measures(self, scored: ScoredHypotheses[ExamplesT, AnswersT]) -> Errors:
        """Error measures and other measures of every hypothesis, (n,) each."""
        return scored.errors

    @abstractmethod
    def problem_columns(self, scored: ScoredHypotheses[ExamplesT, AnswersT], target: TokenizerT) -> dict[str, pa.Array]:
        """Columns of the problem and the reference at rank 0, null at other ranks."""

    @abstractmethod
    def covariates(self, problems: ExamplesT) -> dict[str, Column]:
        """Properties of each problem that may explain a failure."""

    # Report

    def analyse(self, data: EvaluationData) -> list[Analysis]:
        """All analyses that apply to these predictions."""
        return [analysis for analyse in self.analyses for analysis in analyse(data)] if len(data) else []

    def metrics(self, data: EvaluationData) -> Metrics:
        """Metrics of the model and of the baselines."""
        return headline_metrics(data) | {"criterion": self.criterion} | self.type_metrics(data)

    @abstractmethod
    def type_metrics(self, data: EvaluationData) -> Metrics:
        """Metrics of this problem type alone."""

    def summary(self, metrics: Metrics, analyses: list[Analysis]) -> str:
        """The metrics as text for a terminal."""
        return summary_text(metrics, analyses, self.extra_metrics)

    # Failures

    def failures(self, predictions: pa.Table) -> Iterator[Failure]:
        """The failed problems of a predictions table, in order: best hypotheses that do not pass verification."""
        failed = predictions.filter(pc.and_(pc.equal(predictions["rank"], 0), pc.invert(predictions["passed"])))
        if not len(failed):
            return
        errors = {name: _finite(failed, name) for name in measure_names(failed)}
        covariates = {name: _finite(failed, name) for name in covariate_names(failed)}
        evidence_counts = {f"evidence_{name}": failed[f"evidence_{name}"].to_pylist() for name in self.evidence_counts}
        names = ["row", "split", "outcome", "evidence", "prediction", *(n for n in LABELS if n in failed.column_names)]
        values = {name: failed[name].to_pylist() for name in names}
        values |= {name: _finite(failed, name) for name in ("reference_error_l1", "log_probability")}
        ranks = failed["correct_rank"].to_pylist()
        for i, parts in enumerate(self.failure_parts(failed)):
            yield Failure(
                problem_type=self.problem_type,
                **{name: column[i] for name, column in values.items()},
                **vars(parts),
                evidence_counts={name: column[i] for name, column in evidence_counts.items()},
                errors={name: column[i] for name, column in errors.items()},
                covariates={name: column[i] for name, column in covariates.items()},
                correct_rank=None if ranks[i] is None else int(ranks[i]),
            )

    @abstractmethod
    def failure_parts(self, failed: pa.Table) -> Sequence[FailureParts]:
        """Problem, reference and prediction of each failed row, as failures show them."""

    @staticmethod
    @abstractmethod
    def render_failure(failure: Failure, terminal: Terminal) -> list[str]:
        """Problem, reference and prediction as lines of text."""

    @staticmethod
    @abstractmethod
    def failure_html(failure: Failure) -> str:
        """Problem, reference and prediction as HTML."""


def _finite(table: pa.Table, name: str) -> list[float | None]:
    """A column as floats, None where null or not finite."""
    if name not in table.column_names:
        return [None] * len(table)
    values: NDArray[np.float64] = float_column(table, name)
    return [value if finite else None for value, finite in zip(values.tolist(), np.isfinite(values), strict=True)]
