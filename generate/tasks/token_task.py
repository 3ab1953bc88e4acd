"""The base classes of tasks whose problems and solutions are sequences of tokens, and which yield pairs.

A matrix task samples a problem and solves it. Here a pair is often built from its solution, or looked up, or rejected, so a task
yields accepted pairs. Each goes to the split given by the hash of its problem.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.datasets.format.example_formats import TokenFormat
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.generate.chunks.chunk_examples import ChunkExamples
from mathpipe.generate.chunks.pair_chunks import Columns, Generators, PairChunks, Pairs, count_repeats
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.outcomes import EVIDENCE, PROVEN, SYMBOLIC_OUTCOMES, RowFault, Verification, solution_fault
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.problem_specs.sequence_spec import SequenceSpec
from mathpipe.generate.splits import TEST, TRAIN, VALID, in_split, sequence_hash
from mathpipe.generate.tasks.task import SpecT, Task

Mask = NDArray[np.bool_]
SequenceSpecT = TypeVar("SequenceSpecT", bound=SequenceSpec)
Wanted = Callable[[Sequences], Mask]
NOT_PROVEN = "not proven"  # a reason of rejection


class TokenTask(Task[SpecT]):
    """A family of problems written as tokens.

    ``columns``: names and NumPy types of the further columns of a pair. ``measures``: names of the further measures that
    ``verify`` returns. ``alphabet``: the tokens of the stored ids.
    """

    shares_stream = True
    columns: ClassVar[dict[str, str]] = {}
    measures: ClassVar[tuple[str, ...]] = ()
    alphabet: ClassVar[tuple[str, ...]]

    @abstractmethod
    def pairs(self, spec: SpecT, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        """An infinite sequence of batches of accepted pairs, a pure function of the spec and of ``generator(k)``.

        ``generator(k)`` is the random generator of batch k of this chunk, which shares no state with other chunks.
        ``wanted(problems)`` marks the problems that will be used, so that the task may skip work on others; it never
        changes which pairs are accepted.
        """

    def selected_pairs(self, spec: SpecT, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        """Those of ``pairs`` that the spec asks for."""
        return self.pairs(spec, generator, wanted)

    @abstractmethod
    def verify(self, problems: Sequences, references: Sequences, predicted: Sequences) -> Verification: ...

    def build_chunk(self, spec: DatasetSpec, chunk: int, splits: Sequence[str]) -> dict[str, ChunkExamples]:
        stream, problems = self.rng_stream(splits[0]), self.problems_of(spec)
        stream_splits = (TRAIN, VALID, TEST) if splits[0] in (TRAIN, VALID, TEST) else (stream,)
        sizes = {split: self.rows_per_chunk(spec, split) for split in stream_splits}

        def pairs(generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
            return self.selected_pairs(problems, generator, wanted)

        return PairChunks(spec, stream, pairs, self.columns, sizes).build(chunk, splits)

    def example_format(self, spec: DatasetSpec) -> TokenFormat:
        return TokenFormat(self.columns, self.alphabet)

    def count_repeats(self, examples: Any) -> int:
        return count_repeats(examples)

    def problem_hash(self, spec: DatasetSpec, examples: Any, keys_from: int = 0) -> NDArray[np.uint64]:
        return sequence_hash(cast(TokenExamples, examples).problems, keys_from=keys_from)

    def rechecked(self, problems: Sequences, solutions: Sequences) -> Mask:
        """Which stored pairs pass the check by which generation accepted them, (n,); ``verify`` decides on the others.

        That check suffices for pairs that are right by construction, not for predictions.
        """
        return np.zeros(len(problems), dtype=np.bool_)

    def find_faults(self, spec: DatasetSpec, split: str, examples: Any, first: int) -> dict[RowFault, Mask]:
        """Every pair is checked again."""
        rows = cast(TokenExamples, examples)
        unknown = has_unknown_ids(rows, len(self.alphabet))
        outcome = np.array(self.outcomes)[self._outcomes(rows, ~unknown)]
        faults = {
            RowFault("is in the wrong position"): rows.row != np.arange(first, first + len(rows)),
            RowFault("holds an id outside the vocabulary"): unknown,
            RowFault(f"its problem does not belong to {split}"): ~in_split(sequence_hash(rows.problems), split),
        }
        for name in self.outcomes:
            if name not in self.correct_outcomes:
                faults[solution_fault(name)] = np.asarray((outcome == name) & ~unknown)
        return faults

    def _outcomes(self, rows: TokenExamples, readable: Mask) -> NDArray[np.int64]:
        """The index of each example's outcome in ``outcomes``; 0 if it holds unknown ids."""
        outcomes, open_rows = np.zeros(len(rows), dtype=np.int64), readable.copy()
        open_rows[readable] = ~self.rechecked(rows.problems.take(readable), rows.solutions.take(readable))
        problems, solutions = rows.problems.take(open_rows), rows.solutions.take(open_rows)
        if len(problems):
            outcomes[open_rows] = self.verify(problems, solutions, solutions).outcome
        return outcomes


def has_unknown_ids(examples: TokenExamples, vocabulary_size: int) -> Mask:
    """Which examples have a problem or solution that is empty or holds an id outside the vocabulary, (n,)."""
    result = np.zeros(len(examples), dtype=np.bool_)
    for sequences in (examples.problems, examples.solutions):
        unknown = np.concatenate([[0], np.cumsum(sequences.values >= vocabulary_size)])
        result |= (unknown[sequences.offsets[1:]] > unknown[sequences.offsets[:-1]]) | (sequences.lengths == 0)
    return result


class ExpressionTask(TokenTask[ExpressionSpec]):
    """A task of expressions in prefix notation.

    ``symbols``: which of x, y, z, t, a0 to a9, Y, Y', Y'' occur in problems, and which in solutions; None: any.
    ``chunk_size``: training examples per chunk.
    """

    problem_type = "expressions"
    spec_model = ExpressionSpec
    default_spec = ExpressionSpec()
    outcomes: ClassVar[tuple[str, ...]] = SYMBOLIC_OUTCOMES
    correct_outcomes = frozenset({"exact", "equivalent", "real_domain"})
    alphabet = TOKENS
    symbols: ClassVar[tuple[tuple[str, ...], tuple[str, ...]] | None] = None
    chunk_size: ClassVar[int] = 1000

    def chunk_rows(self, spec: ExpressionSpec) -> int:
        return self.chunk_size

    def check(self, spec: ExpressionSpec) -> None:
        """UserError for ``evidence: proven`` if the task grades no evidence."""
        if spec.evidence == "proven" and not self.grades_evidence:
            raise UserError(
                f"{self.name} has no proofs", expected="evidence any", got="evidence proven", next_step="leave it out"
            )

    def proven(self, problems: Sequences, solutions: Sequences) -> Mask:
        """Which pairs (n,) are proven to be right. Nothing timed may decide."""
        verification = self.verify(problems, solutions, solutions)
        right = np.isin(np.array(self.outcomes)[verification.outcome], sorted(self.correct_outcomes))
        return np.asarray(right & (verification.evidence == PROVEN))

    def selected_pairs(self, spec: ExpressionSpec, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        """The accepted pairs, with ``evidence: proven`` only those that are proven; the others count as rejected."""
        for pairs in self.pairs(spec, generator, wanted):
            yield pairs if spec.evidence == "any" else self._proven_pairs(pairs, wanted)

    def _proven_pairs(self, pairs: Pairs, wanted: Wanted) -> Pairs:
        """The wanted pairs that are proven."""
        used = pairs.take(wanted(pairs.problems))
        proven = self.proven(used.problems, used.solutions)
        rejected = used.rejected + Counter({NOT_PROVEN: int((~proven).sum())})
        return replace(used.take(proven), rejected=rejected)

    def known_evidence(self, spec: DatasetSpec, rows: int) -> dict[str, int] | None:
        if spec.imported or not self.grades_evidence or self.problems_of(spec).evidence == "any":
            return None
        return {EVIDENCE[PROVEN]: rows}

    def find_faults(self, spec: DatasetSpec, split: str, examples: Any, first: int) -> dict[RowFault, Mask]:
        """Besides, pairs without a proof where the spec asks for proven ones; those with other faults are not proven again."""
        faults = super().find_faults(spec, split, examples, first)
        if self.known_evidence(spec, len(examples)) is not None:
            rows = cast(TokenExamples, examples)
            unproven = ~np.logical_or.reduce([mask for fault, mask in faults.items() if fault.kind != "unconfirmed"])
            unproven[unproven] = ~self.proven(rows.problems.take(unproven), rows.solutions.take(unproven))
            faults[RowFault("its solution is not proven", "solution")] = unproven
        return faults


class SequenceTask(TokenTask[SequenceSpecT]):
    """A task of short sequences over a small alphabet. ``spec_model`` and ``default_spec`` are the task's own."""

    problem_type = "sequences"
    outcomes: ClassVar[tuple[str, ...]] = ("exact", "wrong_value", "malformed", "unterminated")
    correct_outcomes = frozenset({"exact"})

    def held_out_rows(self, spec: SequenceSpecT, split: str, n: int, default: int) -> int:
        """All distinct problems of the split, if there are fewer than the default."""
        return int(min(default, self.distinct_of_split(spec, split)))


__all__ = ["Columns", "ExpressionTask", "Generators", "Pairs", "SequenceTask", "TokenTask", "Wanted", "has_unknown_ids"]
