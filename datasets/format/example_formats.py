"""How examples of each problem type are stored in a shard, for writers, readers and verification alike."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.datasets.format.examples import Examples
from mathpipe.datasets.format.matrix_columns import MatrixExamples, from_arrow, matrix_writer, shard_schema, to_arrow
from mathpipe.datasets.format.sequence_columns import (
    INTEGERS,
    TokenExamples,
    is_sequence_schema,
    sequence_schema,
    sequence_writer,
    sequences_from_arrow,
    sequences_to_arrow,
)
from mathpipe.datasets.format.shard_writer import ROW_GROUP_SIZE, ShardWriter, footer
from mathpipe.datasets.io.storage import HashingFile

VOCABULARY_KEY = b"mathpipe.vocabulary"


class ExampleFormat(ABC):
    """Conversion of examples to Arrow and back, and the layout of a shard."""

    @property
    @abstractmethod
    def schema(self) -> pa.Schema | None:
        """The Arrow schema; None if only a file defines it."""

    @property
    @abstractmethod
    def common_schema(self) -> pa.Schema:
        """The Arrow schema without the columns that only a file defines."""

    @abstractmethod
    def accepts(self, schema: pa.Schema) -> bool:
        """Whether a file with this schema is such a shard."""

    @abstractmethod
    def to_arrow(self, examples: Any, schema: pa.Schema) -> pa.Table:
        """The examples as a table with this schema."""

    @abstractmethod
    def from_arrow(self, table: pa.Table) -> Any:
        """The examples of a table."""

    @abstractmethod
    def row_group_sizes(self, num_rows: int) -> list[int]:
        """Sizes of the row groups of a shard with this many rows."""

    @abstractmethod
    def writer(self, file: HashingFile, spec_json: str, version: str) -> ShardWriter:
        """An incremental writer: a context manager with ``add(examples)`` and ``rows``."""

    def write(self, file: HashingFile, parts: Iterable[Examples], spec_json: str, version: str) -> int:
        """Write a shard; returns its number of rows."""
        with self.writer(file, spec_json, version) as writer:
            for examples in parts:
                writer.add(examples)
        return writer.rows


@dataclass(frozen=True)
class MatrixFormat(ExampleFormat):
    """Matrices, one row group a chunk. ``round_problems``: round problems to the decimal grid when reading.

    ``snap_problems``: only the values that are the float32 of a 3-digit decimal become that decimal, for imported problems.
    """

    chunk_rows: int
    round_problems: bool = True
    noisy: bool = False
    has_task_tokens: bool = False
    mixed: bool = False
    snap_problems: bool = False

    @property
    def schema(self) -> pa.Schema:
        return shard_schema(noisy=self.noisy, has_task_tokens=self.has_task_tokens, mixed=self.mixed)

    @property
    def common_schema(self) -> pa.Schema:
        return self.schema

    def accepts(self, schema: pa.Schema) -> bool:
        """Whether the schema is that of such a shard; a mixture of spectra may lack the column ``spectrum``."""
        columns = schema.remove_metadata()
        without_spectrum = shard_schema(noisy=self.noisy, has_task_tokens=self.has_task_tokens)
        return bool(columns == self.schema or (self.mixed and columns == without_spectrum))

    def to_arrow(self, examples: MatrixExamples, schema: pa.Schema) -> pa.Table:
        return to_arrow(examples, schema)

    def from_arrow(self, table: pa.Table) -> MatrixExamples:
        return from_arrow(table, round_problems=self.round_problems, snap_problems=self.snap_problems)

    def row_group_sizes(self, num_rows: int) -> list[int]:
        return [min(self.chunk_rows, num_rows - first) for first in range(0, num_rows, self.chunk_rows)]

    def writer(self, file: HashingFile, spec_json: str, version: str) -> ShardWriter:
        """A writer in which each ``add`` of a chunk is one row group."""
        return matrix_writer(file, self.schema.with_metadata(footer(spec_json, version)))


@dataclass(frozen=True)
class TokenFormat(ExampleFormat):
    """Sequences of tokens, in row groups of at least 8,000 rows if the shard has as many.

    ``columns``: the extra columns that the task declares; None accepts any, for reading only.
    ``vocabulary``: the tokens of the stored ids.
    """

    columns: dict[str, str] | None = None
    vocabulary: tuple[str, ...] = TOKENS

    @property
    def schema(self) -> pa.Schema | None:
        return None if self.columns is None else sequence_schema(self.columns)

    @property
    def common_schema(self) -> pa.Schema:
        return sequence_schema(self.columns or {})

    def accepts(self, schema: pa.Schema) -> bool:
        if self.columns is None:
            return is_sequence_schema(schema)
        return bool(schema.remove_metadata() == self.schema)

    def to_arrow(self, examples: TokenExamples, schema: pa.Schema) -> pa.Table:
        return sequences_to_arrow(examples, schema)

    def from_arrow(self, table: pa.Table) -> TokenExamples:
        return sequences_from_arrow(table)

    def row_group_sizes(self, num_rows: int) -> list[int]:
        """8,000 each; the last group also holds the remainder, up to 15,999 in all."""
        num_groups = max(num_rows // ROW_GROUP_SIZE, 1)
        last = num_rows - ROW_GROUP_SIZE * (num_groups - 1)
        return [ROW_GROUP_SIZE] * (num_groups - 1) + [last] if num_rows else []

    def writer(self, file: HashingFile, spec_json: str, version: str) -> ShardWriter:
        """A writer to which parts of any size are added; memory holds two row groups."""
        if self.columns is None:
            raise ValueError("a format without columns can only read")
        vocabulary = {VOCABULARY_KEY: json.dumps(self.vocabulary).encode()}
        metadata = footer(spec_json, version) | vocabulary
        return sequence_writer(file, sequence_schema(self.columns).with_metadata(metadata))


@dataclass(frozen=True)
class IntegerFormat(TokenFormat):
    """Flat rows of integers; their layouts are in the spec, which the footer holds. ``columns``: as in ``TokenFormat``."""

    vocabulary: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema | None:
        return None if self.columns is None else sequence_schema(self.columns, INTEGERS)

    @property
    def common_schema(self) -> pa.Schema:
        return sequence_schema(self.columns or {}, INTEGERS)

    def accepts(self, schema: pa.Schema) -> bool:
        if self.columns is None:
            return is_sequence_schema(schema, INTEGERS)
        return bool(schema.remove_metadata() == self.schema)

    def writer(self, file: HashingFile, spec_json: str, version: str) -> ShardWriter:
        if self.columns is None:
            raise ValueError("a format without columns can only read")
        schema = sequence_schema(self.columns, INTEGERS)
        return sequence_writer(file, schema.with_metadata(footer(spec_json, version)))
