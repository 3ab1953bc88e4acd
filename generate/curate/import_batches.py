"""Which records of imported files become examples: they are read and verified in batches that do not depend on one another.

``import_parts`` has the criteria of each problem type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mathpipe.datasets.io.import_records import Fault, Fields, Record, RejectedLine, read_fields
from mathpipe.generate.curate.import_parts.import_part import Hashes, ImportPart
from mathpipe.generate.curate.import_parts.import_registry import import_part
from mathpipe.generate.dataset_spec import DatasetSpec, ImportedSpec, imported_spec
from mathpipe.generate.tasks.task_registry import task_of


@dataclass(frozen=True)
class ImportedBatch:
    """The examples of a batch of records with their hashes, (n,) each; ``rejected``: the other records in order.

    ``num_verified``: verified answers.
    """

    examples: Any
    problem_hashes: Hashes
    split_hashes: Hashes
    rejected: list[RejectedLine]
    num_verified: int


def import_batch(dataset_spec: DatasetSpec, records: Sequence[Record]) -> ImportedBatch:
    """The examples of a batch of records that belong to the task and, if the spec says so, are right."""
    task, spec = task_of(dataset_spec), imported_spec(dataset_spec)
    part = import_part(task)
    faults: dict[int, Fault] = {}
    fields = _fields(part, spec, records, faults)
    values = dict(zip(fields, part.read(task, spec, list(fields.values())), strict=True))
    faults |= {i: value for i, value in values.items() if isinstance(value, Fault)}
    index = np.array([i for i in values if i not in faults], dtype=np.int64)
    examples = part.examples(task, spec, [values[i] for i in index.tolist()])
    fits = np.ones(len(index), dtype=np.bool_)
    for mask, fault in part.misfits(task, examples) if len(index) else []:
        faults |= dict.fromkeys(index[mask & fits].tolist(), fault)
        fits &= ~mask
    examples, index = examples.take(fits), index[fits]
    num_verified = len(index) if spec.checked else 0
    if num_verified:
        checked = part.check(task, examples)
        for i, why in zip(index[~checked.correct].tolist(), checked.why[~checked.correct], strict=True):
            faults[i] = Fault(f"solution not correct ({why})", f"its solution is not correct ({why})")
        examples = examples.take(np.flatnonzero(checked.correct))
    rejected = [records[i].reject(faults[i]) for i in sorted(faults)]
    return ImportedBatch(examples, part.problem_hash(examples), part.split_hash(examples), rejected, num_verified)


def _fields(
    part: ImportPart, spec: ImportedSpec, records: Sequence[Record], faults: dict[int, Fault]
) -> dict[int, Fields]:
    """The values of each record, by its position; those without are faults, or empty lines."""
    fields: dict[int, Fields] = {}
    for i, record in enumerate(records):
        each = read_fields(record, spec.source.format, spec.source.columns, part.max_line_bytes, counted=part.counted)
        if isinstance(each, Fault):
            faults[i] = each
        elif each is not None:
            fields[i] = each
    return fields
