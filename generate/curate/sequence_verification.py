"""Faults of a row of sequences: its position, its tokens, its split, its solution."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.datasets.format.sequence_columns import SequenceExamples
from mathpipe.datasets.tokenizers.bit_tokenizer import BIT_TOKENS
from mathpipe.generate.spec import DatasetSpec, ImportedSpec
from mathpipe.generate.splits import in_split, sequence_hash
from mathpipe.generate.tasks.base import Mask
from mathpipe.generate.tasks.registry import SequenceTask, sequence_task


def sequence_faults(spec: DatasetSpec, split: str, rows: SequenceExamples, first: int) -> dict[str, Mask]:
    """For each kind of fault, the mask of the rows that have it; the task verifies every pair again.

    Imported rows keep the splits of their files, so their hash is not checked.
    """
    task = sequence_task(spec.task)
    vocabulary_size = len(BIT_TOKENS) if task.kind == "bits" else len(TOKENS)
    unknown = _has_unknown_ids(rows.problems, vocabulary_size) | _has_unknown_ids(rows.solutions, vocabulary_size)
    outcome = np.array(task.outcomes)[_outcomes(task, rows, ~unknown)]
    faults = {
        "is in the wrong position": rows.row != np.arange(first, first + len(rows)),
        "holds an id outside the vocabulary": unknown,
    }
    if not isinstance(spec.problems, ImportedSpec):
        other_split = ~in_split(sequence_hash(rows.problems), split)
        faults[f"its problem does not belong to {split}"] = other_split
    for name in task.outcomes:
        if name not in task.correct_outcomes:
            faults[f"its solution is not correct ({name})"] = np.asarray((outcome == name) & ~unknown)
    return faults


def _outcomes(task: SequenceTask, rows: SequenceExamples, readable: Mask) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The index of each row's outcome in ``task.outcomes``; 0 if the row holds unknown ids."""
    outcomes = np.zeros(len(rows), dtype=np.int64)
    problems, solutions = rows.problems.take(readable), rows.solutions.take(readable)
    if len(problems):
        outcomes[readable] = task.verify(problems, solutions, solutions).outcome
    return outcomes


def _has_unknown_ids(sequences: Sequences, vocabulary_size: int) -> Mask:
    """Which sequences are empty or hold an id outside the vocabulary."""
    unknown = np.concatenate([[0], np.cumsum(sequences.values >= vocabulary_size)])
    counts = unknown[sequences.offsets[1:]] - unknown[sequences.offsets[:-1]]
    return np.asarray((counts > 0) | (sequences.lengths == 0))
