"""Tasks of imported examples whose mathematics is unknown: an answer is right if it equals the stored one.

There is one for each problem type; nothing can be generated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences, Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import Malformed, parse
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.chunks.pair_chunks import Generators, Pairs
from mathpipe.generate.outcomes import Verification
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.problem_specs.sequence_spec import SequenceSpec
from mathpipe.generate.tasks.integer_task import IntegerTask, correct_elements
from mathpipe.generate.tasks.matrix_task import Ints, MatrixTask
from mathpipe.generate.tasks.token_task import ExpressionTask, SequenceTask, Wanted

EQUALITY_OUTCOMES = ("exact", "wrong_value", "malformed", "unterminated")
_EXACT, _WRONG_VALUE, _MALFORMED, _ = range(len(EQUALITY_OUTCOMES))


class UnverifiedMatrices(MatrixTask):
    """Matrices. The error measures compare an answer with the stored solution; only an equal one is right."""

    name = "unverified-matrices"
    problem = "a matrix of an imported dataset"
    solution = "the matrix stored with it"
    source = "the user"
    verifies = False
    needs_reference = True

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        _refuse(self.name)

    def solve(self, problems: Matrices) -> Solved:
        _refuse(self.name)

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        raise UserError(
            f"{self.name}: the shape of an answer does not follow from its problem",
            cause="the task of the imported examples is unknown",
            next_step="leave --constrained out, or import with --task NAME",
        )


class UnverifiedExpressions(ExpressionTask):
    """Expressions, which may hold every symbol of the vocabulary."""

    name = "unverified-expressions"
    problem = "an expression of an imported dataset"
    solution = "the expression stored with it"
    source = "the user"
    outcomes = EQUALITY_OUTCOMES
    correct_outcomes = frozenset({"exact"})
    verifies = False
    needs_reference = True

    def pairs(self, spec: object, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        _refuse(self.name)

    def verify(self, problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
        outcome = _compare(references, predicted).outcome
        for i in np.flatnonzero(outcome == _WRONG_VALUE).tolist():
            try:
                parse(predicted[i])
            except Malformed:
                outcome[i] = _MALFORMED
        return Verification(outcome)


class UnverifiedSequences(SequenceTask[SequenceSpec]):
    """Sequences over the alphabet that the dataset stores."""

    name = "unverified-sequences"
    problem = "a sequence of an imported dataset"
    solution = "the sequence stored with it"
    source = "the user"
    alphabet = ()
    spec_model = SequenceSpec
    default_spec = SequenceSpec(alphabet=())
    verifies = False
    needs_reference = True

    def chunk_rows(self, spec: SequenceSpec) -> int:
        _refuse(self.name)

    def pairs(self, spec: SequenceSpec, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        _refuse(self.name)

    def verify(self, problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
        return _compare(references, predicted)


class UnverifiedIntegers(IntegerTask[IntegerSpec]):
    """Integers in the layouts that the dataset stores."""

    name = "unverified-integers"
    problem = "integers of an imported dataset"
    solution = "the integers stored with them"
    source = "the user"
    outcomes = EQUALITY_OUTCOMES
    correct_outcomes = frozenset({"exact"})
    problem_layout = "[int]"
    solution_layout = "[int]"
    spec_model = IntegerSpec
    default_spec = IntegerSpec()
    verifies = False
    needs_reference = True

    def sample(self, rng: np.random.Generator, n: int, spec: IntegerSpec) -> IntegerSequences:
        _refuse(self.name)

    def solve(self, problems: IntegerSequences, spec: IntegerSpec) -> IntegerSequences:
        _refuse(self.name)

    def verify(self, problems: Any, references: Any, predicted: Any) -> Verification:
        """Whether an answer has the layout was decided when it was decoded."""
        correct, total = correct_elements(references, predicted)
        accuracy = np.where(total > 0, correct / np.maximum(total, 1), references.equals(predicted))
        measures = {"element_accuracy": accuracy, "correct_elements": correct}
        return Verification(_compare(references, predicted).outcome, measures)


def _compare(references: Sequences, predicted: Sequences) -> Verification:
    return Verification(np.where(references.equals(predicted), _EXACT, _WRONG_VALUE).astype(np.int8))


def _refuse(name: str) -> NoReturn:
    raise UserError(
        f"{name} cannot generate examples",
        expected="a task that samples problems",
        cause=f"{name} is the task of examples imported with --task none",
        next_step="`mathpipe tasks` lists the tasks",
    )
