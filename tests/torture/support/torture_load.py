"""Large inputs of the load tests, made in seconds, and the programs whose memory is measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.generate.curate.dataset_import import RejectedLines, write_imported
from mathpipe.generate.curate.import_batches import ImportedBatch
from mathpipe.generate.curate.import_parts.import_registry import import_part
from mathpipe.generate.dataset_spec import DatasetSpec, ImportedSpec, SourceFile, SourceFormat
from mathpipe.generate.tasks.task_registry import load_task

_TEMPLATE = "add mul INT+ 0 0 0 x add mul INT+ 0 0 0 sin x mul INT+ 0 0 0 pow2 x"
_CHUNK = 10_000


def write_expressions(folder: str, rows: int) -> int:
    """A dataset of a x + b sin(x) + c x^2 with random coefficients 100..999; returns how many rows repeat an earlier one.

    It is written as an import writes its examples. Of 20 million about 280,000 repeat another.
    """
    task = load_task("unverified-expressions")
    part = import_part(task)
    template = np.array([IDS[token] for token in _TEMPLATE.split()], dtype=np.uint8)
    digits = np.flatnonzero(template == IDS["0"])
    coefficients = np.random.default_rng(0).integers(0, 900, (rows, 3), dtype=np.int32)

    def batches() -> Iterator[ImportedBatch]:
        for first in range(0, rows, _CHUNK):
            values = coefficients[first : first + _CHUNK] + 100
            tokens = np.tile(template, (len(values), 1))
            tokens[:, digits] += (
                np.stack([values // 100, values // 10 % 10, values % 10], axis=2).reshape(-1, 9).astype(np.uint8)
            )
            problems = Sequences(tokens.ravel(), np.full(len(values), len(template)))
            solutions = Sequences(np.full(len(values), IDS["x"], dtype=np.uint8), np.ones(len(values), dtype=np.int64))
            examples = TokenExamples(np.zeros(len(values), dtype=np.int64), problems, solutions, {})
            yield ImportedBatch(examples, part.problem_hash(examples), part.split_hash(examples), [], 0)

    spec = DatasetSpec(
        task=task.name,
        problems=ImportedSpec(
            problem_type="expressions",
            sources=(SourceFile(split="train", name="made.txt", sha256="0" * 64),),
            source=SourceFormat(),
            **part.stored_fields(task, SourceFormat(), None, lambda: iter(())),
        ),
    )
    write_imported(spec, folder, {"train": batches()}, RejectedLines(0, ""), lambda: UserError("empty"), 1_000_000)
    numbers = (coefficients[:, 0].astype(np.int64) * 900 + coefficients[:, 1]) * 900 + coefficients[:, 2]
    return rows - len(np.unique(numbers))


def write_answers(file: Path, rows: int) -> None:
    """Answers to problems of gcd as JSON lines, every third of them wrong."""
    a, b = np.random.default_rng(0).integers(1, 100_000, (2, rows))
    divisors = np.gcd(a, b)
    with file.open("w", encoding="utf-8") as lines:
        for k, (left, right, divisor) in enumerate(zip(a.tolist(), b.tolist(), divisors.tolist(), strict=True)):
            answer = divisor + (k % 3 == 0)
            lines.write(json.dumps({"problem": [left, right], "answer": answer}) + "\n")


def read_epoch(folder: str) -> None:
    """One epoch of batches of 256, as training reads them."""
    data = open_dataset(folder)
    with data.batches(256) as stream:
        rows = 0
        while rows < len(data):
            rows += len(next(stream).rows)


if __name__ == "__main__":
    read_epoch(sys.argv[1])
