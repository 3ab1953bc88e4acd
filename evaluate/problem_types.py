"""What is evaluated: matrices, or sequences (expressions, bits). One object a kind knows how answers are scored and written.

Decoding, files and analyses ask these objects and nothing else, so that they are the same for every kind.
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
from mathpipe.evaluate.analyze.baselines import Constants, ReferenceYardstick, Yardsticks
from mathpipe.evaluate.decode.decoding import Decoded
from mathpipe.evaluate.decode.grammar import Grammar, MatrixGrammar, PrefixGrammar
from mathpipe.evaluate.predictions import predictions_table, sequence_table
from mathpipe.evaluate.score.matrix_scoring import OUTCOMES, TOLERANCE, Verdicts, score
from mathpipe.evaluate.score.sequence_scoring import Judges, score_sequences
from mathpipe.generate.tasks.registry import matrix_task, sequence_task

_CONSTANT_ROWS = 10_000  # references from which the constant baselines are taken
_ROOM = 2  # times the longest stored solution: words a predicted expression may have
_AT_LEAST = 64


class Kind(Protocol):
    """A split, and how answers to its problems are scored and written."""

    @property
    def outcomes(self) -> tuple[str, ...]: ...

    @property
    def measures(self) -> tuple[str, ...]:
        """Shares that are watched while a model trains, besides accuracy."""
        ...

    def max_length(self, n: int) -> int:
        """Words a prediction may have, END included, for the first n rows."""
        ...

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Whatever works beside this process, while the block lasts."""
        ...

    def grammar(self, rows: Any, max_length: int, device: torch.device | str) -> Grammar | None: ...

    def score(self, rows: Any, decoded: Decoded) -> Verdicts: ...

    def table(self, scored: Any, split: str) -> pa.Table: ...

    def yardsticks(self, n: int) -> Yardsticks | ReferenceYardstick: ...


@dataclass(frozen=True)
class MatrixKind:
    """Matrices, verified by their task; a right answer has one length, and whatever comes after it is malformed."""

    dataset: Dataset
    tolerance: float = TOLERANCE

    @property
    def _writers(self) -> tuple[MatrixTokenizer, MatrixTokenizer]:
        return cast(MatrixTokenizer, self.dataset.source), cast(MatrixTokenizer, self.dataset.target)

    @property
    def outcomes(self) -> tuple[str, ...]:
        return OUTCOMES

    @property
    def measures(self) -> tuple[str, ...]:
        return ()

    def max_length(self, n: int) -> int:
        largest = max(int(rows.solutions.sizes.max()) for rows in self.dataset.chunks(stop=n))  # type: ignore[union-attr]
        return self._writers[1].length(1, largest) + 1

    @contextmanager
    def ready(self) -> Iterator[None]:
        yield

    def grammar(self, rows: Any, max_length: int, device: torch.device | str) -> Grammar:
        shape = matrix_task(self.dataset.task).answer_shape(rows.solved)
        return MatrixGrammar(self._writers[1], *shape, task_ids=rows.problems.task_ids, device=device)

    def score(self, rows: Any, decoded: Decoded) -> Verdicts:
        return score(matrix_task(self.dataset.task), self._writers[1], rows, decoded, self.tolerance)

    def table(self, scored: Any, split: str) -> pa.Table:
        return predictions_table(scored, split, *self._writers, matrix_task(self.dataset.task))

    def yardsticks(self, n: int) -> Yardsticks:
        parts = [rows.solutions for rows in self.dataset.chunks(stop=min(n, _CONSTANT_ROWS))]
        constants = Constants.of(Matrices.concatenate(cast(list[Matrices], parts)))
        return Yardsticks(matrix_task(self.dataset.task), self._writers[1], constants)


@dataclass(frozen=True)
class SequenceKind:
    """Expressions or bits, judged by their task; a prediction may be ``_ROOM`` times as long as the longest stored solution."""

    dataset: Dataset
    judges: Judges

    @property
    def outcomes(self) -> tuple[str, ...]:
        return self.judges.task.outcomes

    @property
    def measures(self) -> tuple[str, ...]:
        return self.judges.task.measures if self.judges.task.kind == "bits" else ()

    def max_length(self, n: int) -> int:
        longest = max(int(rows.solutions.lengths.max()) for rows in self.dataset.chunks(stop=n))  # type: ignore[union-attr]
        if self.judges.task.kind == "bits":
            return longest + 1
        return max(_ROOM * longest, _AT_LEAST) + 1

    @contextmanager
    def ready(self) -> Iterator[None]:
        with self.judges():
            yield

    def grammar(self, rows: Any, max_length: int, device: torch.device | str) -> Grammar | None:
        if self.judges.task.kind != "expressions":
            return None
        tokenizer, symbols = cast(ExpressionTokenizer, self.dataset.target), self.judges.task.symbols
        leaves = None if symbols is None else (*CONSTANTS, "I", *symbols[1])
        return PrefixGrammar(tokenizer.format, len(rows), max_length, leaves, device)

    def score(self, rows: Any, decoded: Decoded) -> Verdicts:
        return score_sequences(self.judges, cast(ExpressionTokenizer, self.dataset.target), rows, decoded)

    def table(self, scored: Any, split: str) -> pa.Table:
        source, target = cast(ExpressionTokenizer, self.dataset.source), cast(ExpressionTokenizer, self.dataset.target)
        return sequence_table(scored, split, source, target)

    def yardsticks(self, n: int) -> ReferenceYardstick:
        return ReferenceYardstick()


def kind_of(dataset: Dataset, workers: int = 0, tolerance: float = TOLERANCE) -> Kind:
    """The object for this split. ``workers``: processes that judge expressions; 0 judges in this one."""
    if dataset.kind == "matrices":
        return MatrixKind(dataset, tolerance)
    return SequenceKind(dataset, Judges(sequence_task(dataset.task), workers))
