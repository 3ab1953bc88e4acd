"""Datasets in other people's formats: the papers' text lines, and Arrow IPC.

Text: one problem a line, ``problem<TAB>solution``, in the words of an encoding (the format of LAWT's exported data);
expressions as ``1|problem<TAB>solution`` in prefix (that of the published files, which begin with a count).
Arrow: the columns of a shard, in an Arrow IPC file that memory-maps.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import IO

import pyarrow as pa

from mathpipe.datasets.dataset import Dataset
from mathpipe.datasets.expressions.vocabulary import WORDS
from mathpipe.datasets.format.example_formats import AnyRows
from mathpipe.datasets.format.matrix_columns import SPEC_KEY
from mathpipe.datasets.format.sequence_columns import SequenceRows
from mathpipe.datasets.shard_reader import ShardReader

Progress = Callable[[int], object]


def export_text(dataset: Dataset, file: IO[bytes], progress: Progress = lambda rows: None) -> int:
    """Write every row as ``problem<TAB>solution`` in the dataset's two encodings; returns how many. One row group in memory."""
    return _each_group(dataset, lambda rows: file.write(_lines(dataset, rows).encode()), progress)


def _lines(dataset: Dataset, rows: AnyRows) -> str:
    if isinstance(rows, SequenceRows):
        pairs = zip(rows.problems.to_list(), rows.solutions.to_list(), strict=True)
        return "".join(f"1|{' '.join([WORDS[t] for t in p])}\t{' '.join([WORDS[t] for t in s])}\n" for p, s in pairs)
    tokens = dataset.encode(rows)
    source, target = dataset.source.vocabulary, dataset.target.vocabulary
    problems = zip(tokens.source.tolist(), tokens.source_lengths.tolist(), strict=True)
    solutions = zip(tokens.target.tolist(), (tokens.target_lengths - 1).tolist(), strict=True)
    return "".join(
        f"{' '.join([source[t] for t in p[:n]])}\t{' '.join([target[t] for t in s[:m]])}\n"
        for (p, n), (s, m) in zip(problems, solutions, strict=True)
    )


def export_arrow(dataset: Dataset, file: IO[bytes], progress: Progress = lambda rows: None) -> int:
    """Write the split as one Arrow IPC file with the columns of a shard; returns how many rows. One row group in memory."""
    with ShardReader(dataset) as reader:
        schema = reader.schema().with_metadata({SPEC_KEY: json.dumps(dataset.spec, sort_keys=True).encode()})
    with pa.ipc.new_file(pa.PythonFile(file, mode="w"), schema) as writer:
        return _each_group(
            dataset,
            lambda rows: writer.write_table(dataset.format.to_arrow(rows, schema)),  # type: ignore[arg-type]
            progress,
        )


def _each_group(dataset: Dataset, write: Callable[[AnyRows], object], progress: Progress) -> int:
    done = 0
    with ShardReader(dataset) as reader:
        for position in range(len(dataset.groups)):
            rows = reader.read(position)
            write(rows)
            done += len(rows)
            progress(len(rows))
    return done
