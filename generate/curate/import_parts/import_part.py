"""The interface of a part: values of imported files -> examples, their hashes, and which answers are right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.import_records import MAX_LINE_BYTES, Fault, Fields
from mathpipe.generate.dataset_spec import ImportedSpec, SourceFormat
from mathpipe.generate.outcomes import Verification
from mathpipe.generate.tasks.task import Task

Mask = NDArray[np.bool_]
Hashes = NDArray[np.uint64]
OUT_OF_RANGE, WRONG_SHAPE, FOREIGN = "out of range", "wrong shape", "symbols of another task"
SIDES = ("problem", "solution")


def refuse_alphabet(problem_type: str, alphabet: tuple[str, ...] | None) -> None:
    """UserError if an alphabet is given for a type whose tokens are fixed."""
    if alphabet is not None:
        raise UserError(
            f"{problem_type} have no alphabet of the user's",
            expected="--alphabet for sequences only",
            next_step="leave it out",
        )


@dataclass(frozen=True)
class Checked:
    """n answers after their check. ``correct`` (n,); ``why`` (n,): the outcome, or why the problem has no trusted solution."""

    correct: Mask
    why: NDArray[np.object_]

    @classmethod
    def by_task(cls, accepted: Mask) -> Checked:
        """The check of a task that accepts or rejects answers without an outcome."""
        return cls(accepted, np.full(len(accepted), "verify of the task rejects it", dtype=object))


@dataclass(frozen=True)
class GradedAnswers:
    """n verified answers. ``problem_faults``: which problems (n,) the task cannot pose, and why; their outcomes mean nothing."""

    verification: Verification
    problem_faults: list[tuple[Mask, Fault]]


class ImportPart(ABC):
    """Import of one problem type. Methods take the task of the examples, and treat records independently of one another.

    ``notations``: how values may be written, the default first. ``counted``: lines of text may begin with ``count|``.
    ``default_encoding``: the number encoding of tokens, if they have one. ``token_encodings``: pairs of number encodings that
    are tried to suggest one. ``takes_layouts``: values without a task may have layouts that the user names.
    ``max_line_bytes``: longer lines are rejected.
    ``chunk_rows``: examples in a row group at most.
    """

    problem_type: ClassVar[str]
    notations: ClassVar[tuple[str, ...]]
    counted: ClassVar[bool] = False
    default_encoding: ClassVar[str | None] = None
    token_encodings: ClassVar[tuple[tuple[str, str] | None, ...]] = (None,)
    takes_layouts: ClassVar[bool] = False
    max_line_bytes: ClassVar[int] = MAX_LINE_BYTES
    chunk_rows: ClassVar[int] = 10_000

    def required_roles(self, task: Any, notation: str) -> tuple[str, ...]:
        """The values that every record has."""
        return SIDES

    @abstractmethod
    def optional_roles(self, task: Any) -> tuple[str, ...]:
        """Further values that are imported if a table or a CSV file has a column of this name, or ``--columns`` names one."""

    @abstractmethod
    def stored_fields(
        self,
        task: Any,
        source: SourceFormat,
        alphabet: tuple[str, ...] | None,
        read_all: Callable[[], Iterator[Fields]],
    ) -> dict[str, Any]:
        """What the spec holds about the stored examples. ``read_all`` reads all values of all files once."""

    @abstractmethod
    def read(self, task: Any, spec: ImportedSpec, fields: Sequence[Fields]) -> list[Any]:
        """The example that each record writes, or a ``Fault``."""

    @abstractmethod
    def parse(self, task: Any, spec: ImportedSpec, side: str, value: object) -> Any:
        """The problem or the solution (``side``) that one value writes, as containers hold it, or a ``Fault``."""

    @abstractmethod
    def batch(self, values: Sequence[Any]) -> Any:
        """The container of parsed problems, or of parsed solutions."""

    def problem_batch(self, values: Sequence[Any]) -> Any:
        """The container of parsed problems, with the values that a dataset stores."""
        return self.batch(values)

    @abstractmethod
    def grade(self, task: Any, problems: Any, answers: Any, references: Any | None) -> GradedAnswers:
        """Verify one answer per stored problem by the task's mathematics. ``references``: the stored solutions, if any."""

    @abstractmethod
    def examples(self, task: Any, spec: ImportedSpec, values: Sequence[Any]) -> Any:
        """The examples of such values, all with row 0."""

    def misfits(self, task: Any, examples: Any) -> list[tuple[Mask, Fault]]:
        """Which examples have no problem of the task, (n,), and why."""
        return []

    def stored_faults(self, task: Any, spec: Any, examples: Any) -> list[tuple[Mask, Fault]]:
        """Which stored examples cannot be verified, (n,), and why."""
        return self.misfits(task, examples)

    @abstractmethod
    def check(self, task: Any, examples: Any) -> Checked:
        """Which answers are right by the task's mathematics."""

    @abstractmethod
    def problem_hash(self, examples: Any, keys_from: int = 0) -> Hashes:
        """A 64-bit hash of each stored problem, (n,), the same as for generated examples."""

    def split_hash(self, examples: Any) -> Hashes:
        """The hash by which generation assigns problems to splits, (n,)."""
        return self.problem_hash(examples)


def outcome_names(task: Task[Any], outcome: NDArray[np.int8]) -> NDArray[np.object_]:
    """The name of each outcome, (n,)."""
    return np.asarray(np.array(task.outcomes, dtype=object)[outcome])
