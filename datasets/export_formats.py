"""Export datasets to other formats: the text format of the papers, and Arrow IPC.

Text: one example a line, ``problem<TAB>solution``, as tokens separated by spaces (the format of LAWT's exported data);
expressions as ``1|problem<TAB>solution`` in prefix notation (the format of the published files, whose lines start with a count).
Arrow: the columns of a shard, in an Arrow IPC file that can be memory-mapped.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import IO

import pyarrow as pa

from mathpipe.datasets.dataset import Dataset
from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.datasets.format.example_formats import Examples
from mathpipe.datasets.format.matrix_columns import SPEC_KEY
from mathpipe.datasets.format.sequence_columns import SequenceExamples
from mathpipe.datasets.shard_reader import ShardReader

Progress = Callable[[int], object]


def export_text(dataset: Dataset, file: IO[bytes], progress: Progress = lambda num_rows: None) -> int:
    """Write every example as ``problem<TAB>solution`` with the dataset's tokenizers; returns how many.

    Memory holds one row group.
    """
    return _for_each_row_group(dataset, lambda examples: file.write(_lines(dataset, examples).encode()), progress)


def _lines(dataset: Dataset, examples: Examples) -> str:
    if isinstance(examples, SequenceExamples):
        pairs = zip(examples.problems.to_list(), examples.solutions.to_list(), strict=True)
        return "".join(f"1|{' '.join([TOKENS[t] for t in p])}\t{' '.join([TOKENS[t] for t in s])}\n" for p, s in pairs)
    tokens = dataset.encode(examples)
    source, target = dataset.source.vocabulary, dataset.target.vocabulary
    problems = zip(tokens.source.tolist(), tokens.source_lengths.tolist(), strict=True)
    solutions = zip(tokens.target.tolist(), (tokens.target_lengths - 1).tolist(), strict=True)
    return "".join(
        f"{' '.join([source[t] for t in p[:n]])}\t{' '.join([target[t] for t in s[:m]])}\n"
        for (p, n), (s, m) in zip(problems, solutions, strict=True)
    )


def export_arrow(dataset: Dataset, file: IO[bytes], progress: Progress = lambda num_rows: None) -> int:
    """Write the split as one Arrow IPC file with the columns of a shard; returns the number of examples.

    Memory holds one row group.
    """
    with ShardReader(dataset) as reader:
        schema = reader.schema().with_metadata({SPEC_KEY: json.dumps(dataset.spec, sort_keys=True).encode()})
    with pa.ipc.new_file(pa.PythonFile(file, mode="w"), schema) as writer:
        return _for_each_row_group(
            dataset,
            lambda examples: writer.write_table(dataset.format.to_arrow(examples, schema)),  # type: ignore[arg-type]
            progress,
        )


def _for_each_row_group(dataset: Dataset, write: Callable[[Examples], object], progress: Progress) -> int:
    num_written = 0
    with ShardReader(dataset) as reader:
        for position in range(len(dataset.row_groups)):
            examples = reader.read(position)
            write(examples)
            num_written += len(examples)
            progress(len(examples))
    return num_written
