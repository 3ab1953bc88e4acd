"""What can be wrong with a row of sequences: its place, its words, its split, its answer."""

from __future__ import annotations

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import WORDS
from mathpipe.datasets.format.sequence_columns import SequenceRows
from mathpipe.datasets.tokenizers.bit_tokenizer import BIT_WORDS
from mathpipe.generate.spec import DatasetSpec, ImportedSpec
from mathpipe.generate.splits import in_split, sequence_hash
from mathpipe.generate.tasks.base import Mask
from mathpipe.generate.tasks.registry import SequenceTask, sequence_task


def wrong_sequences(spec: DatasetSpec, split: str, rows: SequenceRows, first: int) -> dict[str, Mask]:
    """For each kind of fault the rows that have it; every pair is judged again by the task's own judge.

    Imported rows stand in the splits of their files, so that their hash tells nothing.
    """
    task = sequence_task(spec.task)
    known = len(BIT_WORDS) if task.kind == "bits" else len(WORDS)
    foreign = _has_foreign(rows.problems, known) | _has_foreign(rows.solutions, known)
    outcome = np.array(task.outcomes)[_judged(task, rows, ~foreign)]
    wrong = {
        "stands in the wrong place": rows.row != np.arange(first, first + len(rows)),
        "holds an id that is no word": foreign,
    }
    if not isinstance(spec.problems, ImportedSpec):
        elsewhere = ~in_split(sequence_hash(rows.problems), split)
        wrong[f"its problem does not belong to {split}"] = elsewhere
    for name in task.outcomes:
        if name not in task.right:
            wrong[f"its answer is not right ({name})"] = np.asarray((outcome == name) & ~foreign)
    return wrong


def _judged(task: SequenceTask, rows: SequenceRows, readable: Mask) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The place of each row's outcome in the task's outcomes; 0 where its words are not even words."""
    found = np.zeros(len(rows), dtype=np.int64)
    problems, solutions = rows.problems.take(readable), rows.solutions.take(readable)
    if len(problems):
        found[readable] = task.judge(problems, solutions, solutions).outcome
    return found


def _has_foreign(sequences: Sequences, known: int) -> Mask:
    """Which sequences hold an id beyond the vocabulary, or nothing at all."""
    foreign = np.concatenate([[0], np.cumsum(sequences.values >= known)])
    counted = foreign[sequences.offsets[1:]] - foreign[sequences.offsets[:-1]]
    return np.asarray((counted > 0) | (sequences.lengths == 0))
