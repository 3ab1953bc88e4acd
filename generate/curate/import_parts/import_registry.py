"""The parts by problem type, and the rows of imported datasets. A new problem type is one module and one row here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.format.example_formats import ExampleFormat
from mathpipe.datasets.format.examples import Examples
from mathpipe.datasets.problem_types.type_registry import problem_type_of
from mathpipe.generate.curate.import_parts.expression_part import ExpressionPart
from mathpipe.generate.curate.import_parts.import_part import ImportPart, Mask
from mathpipe.generate.curate.import_parts.integer_part import IntegerPart
from mathpipe.generate.curate.import_parts.matrix_part import MatrixPart
from mathpipe.generate.curate.import_parts.sequence_part import SequencePart
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.outcomes import RowFault, solution_fault
from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.task_registry import task_of

_PARTS: tuple[ImportPart, ...] = (MatrixPart(), ExpressionPart(), SequencePart(), IntegerPart())
IMPORT_PARTS: dict[str, ImportPart] = {part.problem_type: part for part in _PARTS}


def import_part(task: Task[Any]) -> ImportPart:
    """The part of a task's problem type."""
    return IMPORT_PARTS[task.problem_type]


class StoredRows(Protocol):
    """The rows of a dataset: how they are stored, their hashes, and what may be wrong with them."""

    def example_format(self, spec: DatasetSpec) -> ExampleFormat: ...
    def problem_hash(self, spec: DatasetSpec, examples: Any, keys_from: int = 0) -> NDArray[np.uint64]: ...
    def find_faults(self, spec: DatasetSpec, split: str, examples: Any, first: int) -> dict[RowFault, Mask]: ...


def stored_rows(spec: DatasetSpec) -> StoredRows:
    """The rows of a dataset of this spec: those of its task, or imported ones."""
    task = task_of(spec)
    return ImportedRows(import_part(task), task) if spec.imported else task


@dataclass(frozen=True)
class ImportedRows:
    """Rows that keep the order and the splits of their files; answers are verified as predictions are."""

    part: ImportPart
    task: Any

    def example_format(self, spec: DatasetSpec) -> ExampleFormat:
        values = spec.model_dump(mode="json")
        return problem_type_of(values).example_format(values)

    def problem_hash(self, spec: DatasetSpec, examples: Examples, keys_from: int = 0) -> NDArray[np.uint64]:
        return self.part.problem_hash(examples, keys_from)

    def find_faults(self, spec: DatasetSpec, split: str, examples: Any, first: int) -> dict[RowFault, Mask]:
        n = len(examples)
        faults = {RowFault("is in the wrong position"): np.asarray(examples.row != np.arange(first, first + n))}
        readable = np.ones(n, dtype=np.bool_)
        for mask, fault in self.part.stored_faults(self.task, spec.problems, examples):
            faults[RowFault(fault.reason)], readable = mask, readable & ~mask
        if self.task.verifies and readable.any():
            index = np.flatnonzero(readable)
            checked = self.part.check(self.task, examples.take(index))
            for name in sorted(set(checked.why[~checked.correct])):
                wrong = np.zeros(n, dtype=np.bool_)
                wrong[index] = (checked.why == name) & ~checked.correct
                faults[solution_fault(name)] = wrong
        return faults
