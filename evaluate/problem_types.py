"""Problem types: one adapter for matrices, one for sequences (expressions, bits). It knows how to score and store answers.

Decoding, files and analyses use only the adapter and are the same for every problem type.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import pyarrow as pa
import torch

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.dataset import Dataset
from mathpipe.datasets.expressions.vocabulary import CONSTANTS
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.analyze.baselines import Constants, MatrixBaselines, ReferenceBaseline
from mathpipe.evaluate.decode.decoding import Hypotheses
from mathpipe.evaluate.decode.grammar import Grammar, MatrixGrammar, PrefixGrammar
from mathpipe.evaluate.predictions import predictions_table, sequence_table
from mathpipe.evaluate.score.matrix_scoring import OUTCOMES, TOLERANCE, ScoredHypotheses, score
from mathpipe.evaluate.score.sequence_scoring import VerifierPool, score_sequences
from mathpipe.generate.tasks.registry import matrix_task, sequence_task

_CONSTANT_ROWS = 10_000  # references that define the constant baselines
_LENGTH_FACTOR = 2  # a predicted expression may have this many times the tokens of the longest stored solution
_MIN_LENGTH = 64


class ProblemType(Protocol):
    """A split, and how to score and store answers to its problems."""

    @property
    def outcomes(self) -> tuple[str, ...]: ...

    @property
    def extra_metrics(self) -> tuple[str, ...]:
        """Metrics logged during training besides accuracy."""
        ...

    def max_length(self, n: int) -> int:
        """Maximum number of tokens of a prediction, END included, for the first n examples."""
        ...

    @contextmanager
    def running(self) -> Iterator[None]:
        """Context in which the worker processes of the verifier run."""
        ...

    def grammar(self, rows: Any, max_length: int, device: torch.device | str) -> Grammar | None: ...

    def score(self, rows: Any, decoded: Hypotheses) -> ScoredHypotheses: ...

    def table(self, scored: Any, split: str) -> pa.Table: ...

    def baselines(self, n: int) -> MatrixBaselines | ReferenceBaseline: ...


@dataclass(frozen=True)
class MatrixProblemType:
    """Matrices, verified by their task. A correct answer has a fixed length; anything after it is malformed."""

    dataset: Dataset
    tolerance: float = TOLERANCE

    @property
    def _tokenizers(self) -> tuple[MatrixTokenizer, MatrixTokenizer]:
        return cast(MatrixTokenizer, self.dataset.source), cast(MatrixTokenizer, self.dataset.target)

    @property
    def outcomes(self) -> tuple[str, ...]:
        return OUTCOMES

    @property
    def extra_metrics(self) -> tuple[str, ...]:
        return ()

    def max_length(self, n: int) -> int:
        largest = max(int(rows.solutions.sizes.max()) for rows in self.dataset.chunks(stop=n))  # type: ignore[union-attr]
        return self._tokenizers[1].length(1, largest) + 1

    @contextmanager
    def running(self) -> Iterator[None]:
        yield

    def grammar(self, rows: Any, max_length: int, device: torch.device | str) -> Grammar:
        shape = matrix_task(self.dataset.task).answer_shape(rows.solved)
        return MatrixGrammar(self._tokenizers[1], *shape, task_ids=rows.problems.task_ids, device=device)

    def score(self, rows: Any, decoded: Hypotheses) -> ScoredHypotheses:
        return score(matrix_task(self.dataset.task), self._tokenizers[1], rows, decoded, self.tolerance)

    def table(self, scored: Any, split: str) -> pa.Table:
        return predictions_table(scored, split, *self._tokenizers, matrix_task(self.dataset.task))

    def baselines(self, n: int) -> MatrixBaselines:
        parts = [rows.solutions for rows in self.dataset.chunks(stop=min(n, _CONSTANT_ROWS))]
        constants = Constants.of(Matrices.concatenate(cast(list[Matrices], parts)))
        return MatrixBaselines(matrix_task(self.dataset.task), self._tokenizers[1], constants)


@dataclass(frozen=True)
class SequenceProblemType:
    """Expressions or bits, verified by their task."""

    dataset: Dataset
    verifier: VerifierPool

    @property
    def outcomes(self) -> tuple[str, ...]:
        return self.verifier.task.outcomes

    @property
    def extra_metrics(self) -> tuple[str, ...]:
        return self.verifier.task.measures if self.verifier.task.kind == "bits" else ()

    def max_length(self, n: int) -> int:
        longest = max(int(rows.solutions.lengths.max()) for rows in self.dataset.chunks(stop=n))  # type: ignore[union-attr]
        if self.verifier.task.kind == "bits":
            return longest + 1
        return max(_LENGTH_FACTOR * longest, _MIN_LENGTH) + 1

    @contextmanager
    def running(self) -> Iterator[None]:
        with self.verifier():
            yield

    def grammar(self, rows: Any, max_length: int, device: torch.device | str) -> Grammar | None:
        if self.verifier.task.kind != "expressions":
            return None
        tokenizer, symbols = cast(ExpressionTokenizer, self.dataset.target), self.verifier.task.symbols
        leaves = None if symbols is None else (*CONSTANTS, "I", *symbols[1])
        return PrefixGrammar(tokenizer.format, len(rows), max_length, leaves, device)

    def score(self, rows: Any, decoded: Hypotheses) -> ScoredHypotheses:
        return score_sequences(self.verifier, cast(ExpressionTokenizer, self.dataset.target), rows, decoded)

    def table(self, scored: Any, split: str) -> pa.Table:
        source, target = cast(ExpressionTokenizer, self.dataset.source), cast(ExpressionTokenizer, self.dataset.target)
        return sequence_table(scored, split, source, target)

    def baselines(self, n: int) -> ReferenceBaseline:
        return ReferenceBaseline()


def problem_type_of(dataset: Dataset, workers: int = 0, tolerance: float = TOLERANCE) -> ProblemType:
    """The adapter for this split. ``workers``: processes that verify expressions; 0 verifies in this process."""
    if dataset.problem_type == "matrices":
        return MatrixProblemType(dataset, tolerance)
    return SequenceProblemType(dataset, VerifierPool(sequence_task(dataset.task), workers))
