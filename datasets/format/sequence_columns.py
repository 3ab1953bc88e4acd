"""Rows of sequences: problems and solutions as words, and how they lie in a shard.

Columns: ``row`` int64, ``problem`` and ``solution`` list<uint8> of word ids, then what the task declares of each pair, such as
``operators`` int16. The words themselves are in the footer, so that a single shard found alone on a disk explains itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.format.arrow_arrays import from_numpy, to_numpy

_WORDS = pa.list_(pa.field("element", pa.uint8(), nullable=False))
_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("problem", _WORDS, nullable=False),
        pa.field("solution", _WORDS, nullable=False),
    ]
)


@dataclass(frozen=True)
class SequenceRows:
    """n rows: ``row`` (n,) int64, ``problems`` and ``solutions`` as words, ``columns``: name -> (n,) numbers."""

    row: NDArray[np.int64]
    problems: Sequences
    solutions: Sequences
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: NDArray[Any]) -> SequenceRows:
        """The rows at these positions (or where a mask is true)."""
        columns = {name: values[index] for name, values in self.columns.items()}
        return SequenceRows(self.row[index], self.problems.take(index), self.solutions.take(index), columns)

    def numbered(self, first: int) -> SequenceRows:
        """The same rows, standing at ``first`` onwards."""
        return SequenceRows(np.arange(first, first + len(self)), self.problems, self.solutions, self.columns)

    @classmethod
    def concatenate(cls, parts: list[SequenceRows]) -> SequenceRows:
        """One batch after another; all have the same columns."""
        return cls(
            np.concatenate([p.row for p in parts]),
            Sequences.concatenate([p.problems for p in parts]),
            Sequences.concatenate([p.solutions for p in parts]),
            {name: np.concatenate([p.columns[name] for p in parts]) for name in parts[0].columns},
        )


def sequence_schema(columns: dict[str, str]) -> pa.Schema:
    """The columns of a shard of sequences; ``columns``: names and NumPy types of those the task declares."""
    declared = [pa.field(name, pa.from_numpy_dtype(np.dtype(kind)), nullable=False) for name, kind in columns.items()]
    return pa.schema([*_SCHEMA, *declared])


def is_sequence_schema(schema: pa.Schema) -> bool:
    """Whether these are columns of a shard of sequences, whatever task declared the others."""
    bare = schema.remove_metadata()
    first, rest = pa.schema(list(bare)[:3]), list(bare)[3:]
    return bool(first == _SCHEMA) and all(_is_number(f.type) and not f.nullable for f in rest)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def sequences_to_arrow(rows: SequenceRows, schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table of this schema."""
    columns = {"row": from_numpy(rows.row), "problem": _lists(rows.problems), "solution": _lists(rows.solutions)}
    columns |= {name: from_numpy(values).cast(schema.field(name).type) for name, values in rows.columns.items()}
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def sequences_from_arrow(table: pa.Table) -> SequenceRows:
    """Rows of an Arrow table."""
    declared = [name for name in table.schema.names if name not in _SCHEMA.names]
    return SequenceRows(
        to_numpy(table["row"]).astype(np.int64),
        _sequences(table["problem"]),
        _sequences(table["solution"]),
        {name: to_numpy(table[name]) for name in declared},
    )


def _lists(sequences: Sequences) -> pa.Array:
    offsets = from_numpy(sequences.offsets.astype(np.int32))
    return pa.ListArray.from_arrays(offsets, from_numpy(sequences.values), type=_WORDS)


def _sequences(column: pa.ChunkedArray) -> Sequences:
    parts = []
    for chunk in column.chunks:
        lengths = to_numpy(chunk.value_lengths()).astype(np.int64)
        parts.append(Sequences(to_numpy(chunk.flatten()), lengths))
    return Sequences.concatenate(parts)
