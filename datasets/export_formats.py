"""Export datasets to other formats: the text format of the papers, and Arrow IPC.

Text: one example a line, ``problem<TAB>solution``, as tokens separated by spaces (the format of LAWT's exported data);
expressions as ``1|problem<TAB>solution`` in prefix notation (the format of the published files, whose lines start with a count).
Arrow: the columns of a shard, in an Arrow IPC file that can be memory-mapped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mathpipe.datasets.containers.array_types import Ints
from mathpipe.datasets.dataset import Dataset
from mathpipe.datasets.format.examples import Examples
from mathpipe.datasets.format.shard_writer import SPEC_KEY
from mathpipe.datasets.shard_reader import ShardReader
from mathpipe.datasets.tokenizers.tokenizer import Tokenizer

Progress = Callable[[int], object]


def export_text(dataset: Dataset, file: IO[bytes], progress: Progress = lambda num_rows: None) -> int:
    """Write every example as ``problem<TAB>solution`` with the dataset's tokenizers; returns how many.

    Memory holds one row group.
    """
    return _for_each_row_group(dataset, lambda examples: file.write(_lines(dataset, examples).encode()), progress)


def _lines(dataset: Dataset, examples: Examples) -> str:
    start = dataset.problem_type.line_start
    tokens = dataset.encode(examples)
    problems = _texts(dataset.source, tokens.source, tokens.source_lengths)
    solutions = _texts(dataset.target, tokens.target, tokens.target_lengths - 1)
    return "".join(f"{start}{p}\t{s}\n" for p, s in zip(problems, solutions, strict=True))


def _texts(tokenizer: Tokenizer, ids: NDArray[np.integer[Any]], lengths: Ints) -> Iterator[str]:
    """The tokens of each row of ``ids`` (n, L), separated by spaces, without padding."""
    vocabulary = tokenizer.vocabulary
    for row, length in zip(ids, lengths.tolist(), strict=True):
        yield " ".join([vocabulary[t] for t in row[:length].tolist()])


def export_arrow(dataset: Dataset, file: IO[bytes], progress: Progress = lambda num_rows: None) -> int:
    """Write the split as one Arrow IPC file with the columns of a shard; returns the number of examples.

    Memory holds one row group.
    """
    with ShardReader(dataset) as reader:
        schema = reader.schema().with_metadata({SPEC_KEY: json.dumps(dataset.spec, sort_keys=True).encode()})
    with pa.ipc.new_file(pa.PythonFile(file, mode="w"), schema) as writer:
        return _for_each_row_group(
            dataset,
            lambda examples: writer.write_table(dataset.format.to_arrow(examples, schema)),
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
