"""The base class of tasks whose problems and solutions are integers in tuples and lists, written as flat rows."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar, cast

import numpy as np

from mathpipe.datasets.containers.array_types import Floats
from mathpipe.datasets.containers.integer_layout import has_layout, scan_rows
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.datasets.format.example_formats import IntegerFormat
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.generate.chunks.pair_chunks import Columns, Generators, Pairs
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.outcomes import RowFault, Verification, exact_evidence, solution_fault
from mathpipe.generate.problem_specs.integer_spec import IntegerSpec
from mathpipe.generate.splits import in_split, sequence_hash
from mathpipe.generate.tasks.token_task import Mask, TokenTask, Wanted

IntegerSpecT = TypeVar("IntegerSpecT", bound=IntegerSpec)
INTEGER_OUTCOMES = ("exact", "equivalent", "wrong_value", "malformed", "unterminated")
EXACT, EQUIVALENT, WRONG_VALUE, MALFORMED, UNTERMINATED = range(len(INTEGER_OUTCOMES))
CLASS = "class"
"""The column by whose values accuracy is reported, such as the answer of gcd."""


class IntegerTask(TokenTask[IntegerSpecT]):
    """A family of problems on integers: a problem is sampled, then solved.

    ``problem_layout``, ``solution_layout``: of the flat rows, such as ``(int, int)`` or ``[int]``. ``batch_size``: problems sampled
    at a time; ``rejection``: why ``sample`` may return fewer. A prediction is right if it
    equals the reference; a task with several right answers overrides ``is_right``. A task may declare the column ``class``
    in ``columns`` and return it from ``classes``: accuracy is then reported by class.
    """

    problem_type = "integers"
    outcomes: ClassVar[tuple[str, ...]] = INTEGER_OUTCOMES
    correct_outcomes = frozenset({"exact", "equivalent"})
    stored_solutions = (
        "Solutions are computed from the problems by the algorithm of the task. `mathpipe verify` solves every "
        "problem again; a stored solution that differs must be right in another way."
    )
    measures = ("element_accuracy", "correct_elements")
    alphabet = ()
    may_repeat = True
    problem_layout: ClassVar[str]
    solution_layout: ClassVar[str]
    batch_size: ClassVar[int] = 12_288  # fills a chunk of 10,000 with its share of held-out examples
    rejection: ClassVar[str] = "rejected"

    # what a task defines

    @abstractmethod
    def sample(self, rng: np.random.Generator, n: int, spec: IntegerSpecT) -> IntegerSequences:
        """Flat rows of about n problems; fewer where some are rejected."""

    @abstractmethod
    def solve(self, problems: IntegerSequences, spec: IntegerSpecT) -> IntegerSequences:
        """Flat rows of the solutions (n,)."""

    def sample_solved(
        self, rng: np.random.Generator, n: int, spec: IntegerSpecT
    ) -> tuple[IntegerSequences, IntegerSequences]:
        """Problems and their solutions; overridden where sampling does part of the work of solving."""
        problems = self.sample(rng, n, spec)
        return problems, self.solve(problems, spec)

    def is_right(self, problems: IntegerSequences, references: IntegerSequences, predicted: IntegerSequences) -> Mask:
        """Which predictions, of the right layout, are right answers other than the reference, (n,)."""
        return np.zeros(len(problems), dtype=np.bool_)

    def is_problem(self, problems: IntegerSequences, spec: IntegerSpecT) -> Mask:
        """Which rows, of the right layout, are problems of this spec, (n,); by default: all integers are in the stated range."""
        if spec.problem_range is None:
            return np.ones(len(problems), dtype=np.bool_)
        low, high = spec.problem_range
        values = problems.values
        outside = ~scan_rows(spec.problem_layout, problems).is_length & ((values < low) | (values > high))
        row = np.repeat(np.arange(len(problems)), problems.lengths)
        return np.asarray(np.bincount(row[outside], minlength=len(problems)) == 0)

    def classes(self, problems: IntegerSequences, solutions: IntegerSequences) -> Columns:
        """The declared columns of each pair, (n,) each."""
        return {}

    def ranges(self, spec: IntegerSpecT) -> dict[str, tuple[int, int]]:
        """``problem_range`` and ``solution_range``, the (smallest, largest) integer, where they are bounded."""
        return {}

    # parameters

    def resolve(self, spec: IntegerSpecT) -> IntegerSpecT:
        layouts = {"problem_layout": self.layout_of_problems(spec), "solution_layout": self.solution_layout}
        return spec.model_copy(update={**layouts, **self.ranges(spec)})

    def layout_of_problems(self, spec: IntegerSpecT) -> str:
        """The layout of the problems of this spec; ``problem_layout``, unless a task overrides it."""
        return self.problem_layout

    def chunk_rows(self, spec: IntegerSpecT) -> int:
        return 10_000

    def held_out_rows(self, spec: IntegerSpecT, split: str, n: int, default: int) -> int:
        """At most what n training examples bring along, and all distinct problems of the split if there are fewer."""
        rows = super().held_out_rows(spec, split, n, default)
        return int(min(rows, self.distinct_of_split(spec, split)))

    # examples

    def pairs(self, spec: IntegerSpecT, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        """Of the first batch all problems are solved, since nearly all are used, of further ones those that are wanted."""
        n, solves_separately = self.batch_size, type(self).sample_solved is IntegerTask.sample_solved
        for batch in itertools.count():
            if batch and solves_separately:
                problems = self.sample(generator(batch), n, spec)
                rejected = n - len(problems)
                problems = problems.take(wanted(problems))
                solutions = self.solve(problems, spec)
            else:
                problems, solutions = self.sample_solved(generator(batch), n, spec)
                rejected = n - len(problems)
            reasons = +Counter({self.rejection: max(rejected, 0)})
            yield Pairs(problems, solutions, self.classes(problems, solutions), reasons)

    def example_format(self, spec: DatasetSpec) -> IntegerFormat:
        return IntegerFormat(self.columns)

    # verification

    def verify(self, problems: Any, references: Any, predicted: Any) -> Verification:
        """``exact`` if equal to the reference, ``equivalent`` if right in another way, ``malformed`` without the layout.

        ``element_accuracy``: the proportion of the reference's integers (lengths of lists aside, if the row is one list) that
        stand at the same position; ``correct_elements``: their number.
        """
        well_formed = has_layout(self.solution_layout, predicted)
        equal = well_formed & predicted.equals(references)
        outcome = np.where(well_formed, WRONG_VALUE, MALFORMED).astype(np.int8)
        outcome[equal] = EXACT
        index = np.flatnonzero(well_formed & ~equal)
        if len(index):
            right = self.is_right(*(rows.take(index) for rows in (problems, references, predicted)))
            outcome[index[right]] = EQUIVALENT
        correct, total = correct_elements(references, predicted, first=self.solution_layout.startswith("["))
        with np.errstate(invalid="ignore"):
            accuracy = np.where(total > 0, correct / np.maximum(total, 1), equal)
        measures = {"element_accuracy": accuracy, "correct_elements": correct}
        return Verification(outcome, measures, exact_evidence(well_formed))

    def find_faults(self, spec: DatasetSpec, split: str, examples: Any, first: int) -> dict[RowFault, Mask]:
        """Every problem is solved again; a solution that differs must be right in another way."""
        rows = cast(TokenExamples, examples)
        problems, solutions = cast(IntegerSequences, rows.problems), cast(IntegerSequences, rows.solutions)
        problem_spec = self.problems_of(spec)
        readable = has_layout(problem_spec.problem_layout, problems) & has_layout(self.solution_layout, solutions)
        wrong, foreign = np.zeros(len(rows), dtype=np.bool_), np.zeros(len(rows), dtype=np.bool_)
        foreign[readable] = ~self.is_problem(problems.take(readable), problem_spec)
        index = np.flatnonzero(readable & ~foreign)
        if len(index):
            selected = problems.take(index)
            recomputed = self.solve(selected, problem_spec)
            outcome = self.verify(selected, recomputed, solutions.take(index)).outcome
            wrong[index] = ~np.isin(outcome, (EXACT, EQUIVALENT))
        return {
            RowFault("is in the wrong position"): rows.row != np.arange(first, first + len(rows)),
            RowFault("does not have the layout of its task"): ~readable,
            RowFault("its problem is none of its task"): foreign,
            RowFault(f"its problem does not belong to {split}"): ~in_split(sequence_hash(problems), split),
            solution_fault("wrong_value"): wrong,
        }


def correct_elements(
    references: IntegerSequences, predicted: IntegerSequences, first: bool = False
) -> tuple[Floats, Floats]:
    """(integers of the prediction that equal the reference's at the same position, integers of the reference), (n,) each.

    ``first``: leave out the first integer of each row, the length of a list.
    """
    width = min(int(references.lengths.max(initial=0)), int(predicted.lengths.max(initial=0)))
    position = np.arange(width)
    common = position < np.minimum(references.lengths, predicted.lengths)[:, None]
    common &= position >= int(first)
    correct = np.zeros(common.shape, dtype=np.bool_)
    row, column = np.nonzero(common)
    left = references.values[references.offsets[:-1][row] + column]
    correct[row, column] = left == predicted.values[predicted.offsets[:-1][row] + column]
    total = np.maximum(references.lengths - int(first), 0)
    return correct.sum(axis=1).astype(np.float64), total.astype(np.float64)


__all__ = ["CLASS", "INTEGER_OUTCOMES", "Columns", "IntegerTask", "Pairs"]
