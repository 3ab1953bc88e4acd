"""Examples of sequence tasks, and the columns of their shards.

Columns: ``row`` int64, ``problem`` and ``solution`` list<uint8> of token ids or list<int64> of integers, then those that the task
declares, such as ``operators`` int16. The footer holds the vocabulary of token ids, or the layouts of integers (in the spec), so
that a single shard is self-describing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mathpipe.datasets.containers.array_types import Ints
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences, Sequences
from mathpipe.datasets.format.arrow_arrays import from_numpy, to_numpy
from mathpipe.datasets.format.shard_writer import BufferedShardWriter
from mathpipe.datasets.io.storage import HashingFile

TOKEN_IDS = pa.list_(pa.field("element", pa.uint8(), nullable=False))
INTEGERS = pa.list_(pa.field("element", pa.int64(), nullable=False))
_COMMON = ("row", "problem", "solution")
_TOKEN_PATHS = ("problem.list.element", "solution.list.element")


@dataclass(frozen=True)
class TokenExamples:
    """n examples: ``row`` (n,) int64 indices, ``problems`` and ``solutions`` as token ids, ``columns``: name -> (n,) numbers."""

    row: Ints
    problems: Sequences
    solutions: Sequences
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def solved(self) -> Sequences:
        """The problems that the solutions belong to: those stored."""
        return self.problems

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: NDArray[Any]) -> TokenExamples:
        """Select examples by positions (k,) or by a boolean mask (n,)."""
        columns = {name: values[index] for name, values in self.columns.items()}
        return TokenExamples(self.row[index], self.problems.take(index), self.solutions.take(index), columns)

    def renumber(self, first: int) -> TokenExamples:
        """The same examples with the indices first, first + 1, ..."""
        return TokenExamples(np.arange(first, first + len(self)), self.problems, self.solutions, self.columns)

    def extra_columns(self, i: int) -> dict[str, Any]:
        """The task's own columns of example i: name -> number."""
        return {name: values[i].item() for name, values in self.columns.items()}

    @classmethod
    def concatenate(cls, parts: Sequence[TokenExamples]) -> TokenExamples:
        """Concatenate batches with the same columns."""
        return cls(
            np.concatenate([p.row for p in parts]),
            Sequences.concatenate([p.problems for p in parts]),
            Sequences.concatenate([p.solutions for p in parts]),
            {name: np.concatenate([p.columns[name] for p in parts]) for name in parts[0].columns},
        )


def sequence_schema(columns: dict[str, str], element: pa.DataType = TOKEN_IDS) -> pa.Schema:
    """The Arrow schema of a shard of sequences; ``columns``: names and NumPy types of the task's columns.

    ``element``: the type of a problem or solution, ``TOKEN_IDS`` or ``INTEGERS``.
    """
    return pa.schema(
        [
            pa.field("row", pa.int64(), nullable=False),
            pa.field("problem", element, nullable=False),
            pa.field("solution", element, nullable=False),
            *(pa.field(name, pa.from_numpy_dtype(np.dtype(dtype)), nullable=False) for name, dtype in columns.items()),
        ]
    )


def sequence_writer(file: HashingFile, schema: pa.Schema) -> BufferedShardWriter:
    """A writer of a shard of sequences, to which batches of any size are added."""
    dictionary = [name for name in schema.names if name != "row"] + list(_TOKEN_PATHS)
    return BufferedShardWriter(file, schema, sequences_to_arrow, compression_level=3, use_dictionary=dictionary)


def is_sequence_schema(schema: pa.Schema, element: pa.DataType = TOKEN_IDS) -> bool:
    """Whether this is the schema of a shard of sequences, whatever the task's own columns."""
    fields = list(schema.remove_metadata())
    common, declared = pa.schema(fields[:3]), fields[3:]
    return bool(common == sequence_schema({}, element)) and all(_is_number(f.type) and not f.nullable for f in declared)


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype))


def sequences_to_arrow(examples: TokenExamples, schema: pa.Schema) -> pa.Table:
    """The examples as an Arrow table with this schema."""
    columns = {
        "row": from_numpy(examples.row),
        "problem": _lists(examples.problems, schema.field("problem").type),
        "solution": _lists(examples.solutions, schema.field("solution").type),
    }
    columns |= {name: from_numpy(values).cast(schema.field(name).type) for name, values in examples.columns.items()}
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def sequences_from_arrow(table: pa.Table) -> TokenExamples:
    """The examples of an Arrow table."""
    declared = [name for name in table.schema.names if name not in _COMMON]
    return TokenExamples(
        to_numpy(table["row"]).astype(np.int64),
        _sequences(table["problem"]),
        _sequences(table["solution"]),
        {name: to_numpy(table[name]) for name in declared},
    )


def _lists(sequences: Sequences, element: pa.DataType) -> pa.Array:
    offsets = from_numpy(sequences.offsets.astype(np.int32))
    return pa.ListArray.from_arrays(offsets, from_numpy(sequences.values), type=element)


def _sequences(column: pa.ChunkedArray) -> Sequences:
    kind: type[Sequences] = IntegerSequences if column.type == INTEGERS else Sequences
    parts = []
    for chunk in column.chunks:
        lengths = to_numpy(chunk.value_lengths()).astype(np.int64)
        parts.append(kind(to_numpy(chunk.flatten()), lengths))
    return kind.concatenate(parts)
