"""A task: a family of problems with solutions. One class in one file; its base class is that of its problem type."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic.fields import FieldInfo

from mathpipe.datasets.format.example_formats import ExampleFormat
from mathpipe.datasets.format.examples import Examples
from mathpipe.generate.chunks.acceptance import Acceptance
from mathpipe.generate.chunks.chunk_examples import ChunkExamples
from mathpipe.generate.dataset_spec import DatasetSpec, ProblemSpec
from mathpipe.generate.outcomes import RowFault, Verification
from mathpipe.generate.splits import TEST, TRAIN, VALID, share
from mathpipe.generate.tasks.external.task_source import TaskSource

Mask = NDArray[np.bool_]
SpecT = TypeVar("SpecT", bound=ProblemSpec)
SHARED_STREAM = "stream"


class Task(ABC, Generic[SpecT]):
    """A family of problems: problem -> solution.

    ``problem_type``: a name of ``mathpipe.datasets.problem_types``. ``problem``, ``solution``: what they are, for
    ``mathpipe tasks``. ``default_spec``: the published problem parameters, the default of every option. ``outcomes``: what
    ``verify`` may find; ``correct_outcomes``: those that count as correct. ``task_token``: the published token, if there is one.
    ``grades_evidence``: whether ``verify`` grades the evidence for its outcomes (``Verification.evidence``).
    ``shares_stream``: train, valid and test take their examples from one RNG stream, each the ones whose hash names it; else
    every split has a stream of its own. ``may_repeat``: the training split may have more examples than there are distinct
    problems. ``chosen_options``: see ``with_options``.
    ``origin``: where the code of a task outside the package comes from, set when it is loaded. ``verifies``: ``verify``
    knows which answers are right; else an answer is right if it equals the stored one.
    ``has_task_tokens``: each problem starts with the token of its task (co-training).
    ``stored_solutions``: how stored solutions come about and are verified, in words for the dataset card.
    ``needs_reference``: ``verify`` compares with the stored solution, which does not follow from the problem alone.
    """

    name: ClassVar[str]
    problem_type: ClassVar[str]
    problem: ClassVar[str]
    solution: ClassVar[str]
    source: ClassVar[str]
    spec_model: ClassVar[type[ProblemSpec]]
    outcomes: ClassVar[tuple[str, ...]]
    correct_outcomes: ClassVar[frozenset[str]]
    task_token: ClassVar[str | None] = None
    has_task_tokens: ClassVar[bool] = False
    grades_evidence: ClassVar[bool] = False
    shares_stream: ClassVar[bool] = False
    may_repeat: ClassVar[bool] = False
    verifies: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = False
    stored_solutions: ClassVar[str] = (
        "Solutions are computed by the code of the task. `mathpipe verify` passes each one to the verifier of the "
        "task, like an answer of a model."
    )
    default_spec: SpecT
    chosen_options: Mapping[str, Any] = MappingProxyType({})
    origin: TaskSource | None = None

    @property
    def reference(self) -> str:
        """How a user names the task: ``inverse``, or ``./gcd.py`` outside the package."""
        return self.name if self.origin is None else str(self.origin.reference)

    @property
    def question(self) -> str:
        """What the problems ask for. Models may be evaluated on problems of another task that asks the same, in the same form."""
        return self.reference

    # parameters

    def options(self) -> dict[str, FieldInfo]:
        """The parameters of this task that a user may set, by name."""
        return self.spec_model.options()

    def make_spec(self, options: dict[str, Any], seed: int = 0) -> DatasetSpec:
        """The dataset spec with these options, all others at their defaults.

        pydantic's ValidationError for values out of bounds; UserError for a spec that the task does not support.
        """
        problems = self.default_spec.replace_options(options)
        self.check(problems)
        problems = self.resolve(problems)
        return DatasetSpec(
            task=self.name,
            problems=problems,
            seed=seed,
            chunk_rows=self.chunk_rows(problems),
            source_digest=None if self.origin is None else self.origin.digest,
        )

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """This task with other defaults, for problems that are imported or scored, which have no spec of their own.

        ``chosen_options`` are then these. Errors as ``make_spec`` raises them.
        """
        if not options:
            return self
        task = object.__new__(type(self))
        vars(task).update(vars(self))
        task.default_spec = self.problems_of(self.make_spec(dict(options)))
        task.chosen_options = dict(options)
        return task

    def check(self, spec: SpecT) -> None:
        """UserError if this task does not support the spec."""

    def resolve(self, spec: SpecT) -> SpecT:
        """The spec with its derived fields set."""
        return spec

    @abstractmethod
    def chunk_rows(self, spec: SpecT) -> int:
        """Training examples per chunk."""

    def problems_of(self, spec: DatasetSpec) -> SpecT:
        """The problem parameters of a dataset spec of this task; TypeError for any other."""
        if not isinstance(spec.problems, self.spec_model):
            raise TypeError(f"{self.name} needs a {self.spec_model.__name__}, not a {type(spec.problems).__name__}")
        return spec.problems  # type: ignore[return-value]  # spec_model is SpecT

    # examples

    def rng_stream(self, split: str) -> str:
        """The name of the RNG stream of a split."""
        return SHARED_STREAM if self.shares_stream and split in (TRAIN, VALID, TEST) else split

    def rows_per_chunk(self, spec: DatasetSpec, split: str) -> int:
        """How many examples of a split one chunk gives."""
        if not self.shares_stream:
            return spec.chunk_rows
        return math.ceil(spec.chunk_rows * share(split) / share(TRAIN))

    @abstractmethod
    def build_chunk(self, spec: DatasetSpec, chunk: int, splits: Sequence[str]) -> dict[str, ChunkExamples]:
        """Chunk ``chunk`` of these splits, which share one RNG stream: a pure function of its arguments."""

    def acceptance(self, spec: DatasetSpec) -> Acceptance | None:
        """The acceptance rate of a small sample of this spec; None where a sample is too expensive."""
        return None

    @abstractmethod
    def example_format(self, spec: DatasetSpec) -> ExampleFormat:
        """How shards store the examples of this spec."""

    def count_repeats(self, examples: Examples) -> int | None:
        """The number of examples of a chunk whose problem occurs earlier in it; None where this is not counted."""
        return None

    @abstractmethod
    def problem_hash(self, spec: DatasetSpec, examples: Examples, keys_from: int = 0) -> NDArray[np.uint64]:
        """A 64-bit hash of each stored problem, (n,); ``keys_from``: other keys give another hash."""

    # verification

    @abstractmethod
    def verify(self, problems: Any, references: Any, predicted: Any) -> Verification:
        """The outcome of each prediction, by mathematics and in bounded time.

        Malformed predictions get an outcome, never an exception.
        """

    def known_evidence(self, spec: DatasetSpec, rows: int) -> dict[str, int] | None:
        """The number of rows by evidence, where the spec determines it; else None."""
        return None

    def accepts_stored(self, examples: Examples) -> Mask | None:
        """Which answers of imported examples are right, (n,), for a task that solves no given problem; None: ``verify`` decides."""
        return None

    @abstractmethod
    def find_faults(self, spec: DatasetSpec, split: str, examples: Examples, first: int) -> dict[RowFault, Mask]:
        """For each fault, which stored examples have it, (n,); the first should have the index ``first``."""

    # sizes

    def distinct_problems(self, spec: SpecT) -> float:
        """An upper bound on the number of distinct problems of the spec; infinity if it is astronomically large."""
        return math.inf

    def distinct_of_split(self, spec: SpecT, split: str) -> float:
        """The number of distinct problems of a split: the split's share of the bound, unless the task counts them."""
        return share(split) * self.distinct_problems(spec)

    def held_out_rows(self, spec: SpecT, split: str, n: int, default: int) -> int:
        """The default size of a held-out split beside n training examples.

        With a shared stream it is at most what n training examples bring along.
        """
        return min(default, math.ceil(n * share(split) / share(TRAIN))) if self.shares_stream else default
