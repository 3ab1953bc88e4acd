"""How examples of each problem type are stored in a shard, for writers, readers and verification alike."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.datasets.format.matrix_columns import (
    SPEC_KEY,
    VERSION_KEY,
    MatrixExamples,
    from_arrow,
    shard_schema,
    to_arrow,
    write_shard,
)
from mathpipe.datasets.format.sequence_columns import (
    SequenceExamples,
    is_sequence_schema,
    sequence_schema,
    sequences_from_arrow,
    sequences_to_arrow,
)
from mathpipe.datasets.io.storage import HashingFile
from mathpipe.datasets.tokenizers.bit_tokenizer import BIT_TOKENS

ProblemType = Literal["matrices", "expressions", "bits"]
Examples = MatrixExamples | SequenceExamples
VOCABULARY_KEY = b"mathpipe.vocabulary"
_TOKEN_PATHS = ("problem.list.element", "solution.list.element")
ROW_GROUP_SIZE = 8_000  # for sequences: chunks are small, and smaller row groups are slow to read


class ExampleFormat(Protocol):
    """Conversion of examples to Arrow and back, and the layout of a shard.

    ``schema``: the Arrow schema, None if only a file defines it. ``accepts(schema)``: whether a file with this
    schema is such a shard. ``row_group_sizes(num_rows)``: sizes of the row groups.
    ``write(file, parts, spec_json, version)`` writes a shard and returns its number of rows.
    """

    @property
    def schema(self) -> pa.Schema | None: ...
    def accepts(self, schema: pa.Schema) -> bool: ...
    def to_arrow(self, examples: Any, schema: pa.Schema) -> pa.Table: ...
    def from_arrow(self, table: pa.Table) -> Any: ...
    def row_group_sizes(self, num_rows: int) -> list[int]: ...
    def write(self, file: HashingFile, parts: Iterable[Any], spec_json: str, version: str) -> int: ...


@dataclass(frozen=True)
class MatrixFormat:
    """Matrices, one row group a chunk. ``round_problems``: round problems to the decimal grid when reading."""

    chunk_rows: int
    round_problems: bool = True
    noisy: bool = False
    has_task_tokens: bool = False
    mixed: bool = False

    @property
    def schema(self) -> pa.Schema:
        return shard_schema(noisy=self.noisy, has_task_tokens=self.has_task_tokens, mixed=self.mixed)

    def accepts(self, schema: pa.Schema) -> bool:
        """Whether the schema is that of such a shard; a mixture of spectra may lack the column ``spectrum``."""
        columns = schema.remove_metadata()
        without_spectrum = shard_schema(noisy=self.noisy, has_task_tokens=self.has_task_tokens)
        return bool(columns == self.schema or (self.mixed and columns == without_spectrum))

    def to_arrow(self, examples: MatrixExamples, schema: pa.Schema) -> pa.Table:
        return to_arrow(examples, schema)

    def from_arrow(self, table: pa.Table) -> MatrixExamples:
        return from_arrow(table, round_problems=self.round_problems)

    def row_group_sizes(self, num_rows: int) -> list[int]:
        return [min(self.chunk_rows, num_rows - first) for first in range(0, num_rows, self.chunk_rows)]

    def write(self, file: HashingFile, parts: Iterable[MatrixExamples], spec_json: str, version: str) -> int:
        """Write a shard; each part is a chunk and becomes a row group. Returns the number of rows."""
        return write_shard(file, parts, spec_json, version, self.schema)


@dataclass(frozen=True)
class TokenFormat:
    """Sequences of tokens, in row groups of at least 8,000 rows if the shard has as many.

    ``columns``: the extra columns that the task declares; None accepts any, for reading only.
    ``vocabulary``: the tokens of the stored ids.
    """

    columns: dict[str, str] | None = None
    vocabulary: tuple[str, ...] = TOKENS

    @property
    def schema(self) -> pa.Schema | None:
        return None if self.columns is None else sequence_schema(self.columns)

    def accepts(self, schema: pa.Schema) -> bool:
        if self.columns is None:
            return is_sequence_schema(schema)
        return bool(schema.remove_metadata() == self.schema)

    def to_arrow(self, examples: SequenceExamples, schema: pa.Schema) -> pa.Table:
        return sequences_to_arrow(examples, schema)

    def from_arrow(self, table: pa.Table) -> SequenceExamples:
        return sequences_from_arrow(table)

    def row_group_sizes(self, num_rows: int) -> list[int]:
        """8,000 each; the last group also holds the remainder, up to 15,999 in all."""
        num_groups = max(num_rows // ROW_GROUP_SIZE, 1)
        last = num_rows - ROW_GROUP_SIZE * (num_groups - 1)
        return [ROW_GROUP_SIZE] * (num_groups - 1) + [last] if num_rows else []

    def write(self, file: HashingFile, parts: Iterable[SequenceExamples], spec_json: str, version: str) -> int:
        """Write a shard from parts of any size; memory holds two row groups. Returns the number of rows."""
        with self.writer(file, spec_json, version) as writer:
            for examples in parts:
                writer.add(examples)
        return writer.rows

    def writer(self, file: HashingFile, spec_json: str, version: str) -> TokenShardWriter:
        """An incremental writer, so that one pass can fill several shards."""
        if self.columns is None:
            raise ValueError("a format without columns can only read")
        metadata = {
            SPEC_KEY: spec_json.encode(),
            VERSION_KEY: version.encode(),
            VOCABULARY_KEY: json.dumps(self.vocabulary).encode(),
        }
        return TokenShardWriter(file, sequence_schema(self.columns).with_metadata(metadata))


class TokenShardWriter:
    """Writes a shard of sequences incrementally; a context manager. ``rows``: number of examples added so far."""

    def __init__(self, file: HashingFile, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema, self._buffer, self._buffered = schema, list[SequenceExamples](), 0
        self._writer = pq.ParquetWriter(
            pa.PythonFile(file, mode="w"),
            schema,
            compression="zstd",
            compression_level=3,
            use_dictionary=[name for name in schema.names if name != "row"] + list(_TOKEN_PATHS),
            write_statistics=["row"],
            write_page_checksum=True,
        )

    def __enter__(self) -> TokenShardWriter:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None and self._buffered:
            self._write(SequenceExamples.concatenate(self._buffer))
        self._writer.close()

    def add(self, examples: SequenceExamples) -> None:
        """Buffer the examples; write a row group when another full one remains for the last group."""
        self.rows += len(examples)
        self._buffer.append(examples)
        self._buffered += len(examples)
        if self._buffered < 2 * ROW_GROUP_SIZE:
            return
        buffer, first = SequenceExamples.concatenate(self._buffer), 0
        while self._buffered - first >= 2 * ROW_GROUP_SIZE:
            self._write(buffer.take(np.arange(first, first + ROW_GROUP_SIZE)))
            first += ROW_GROUP_SIZE
        self._buffer = [buffer.take(np.arange(first, self._buffered))]
        self._buffered -= first

    def _write(self, examples: SequenceExamples) -> None:
        self._writer.write_table(sequences_to_arrow(examples, self._schema), row_group_size=len(examples))


def get_problem_type(spec: dict[str, Any]) -> ProblemType:
    """The problem type of a spec (as stored in a manifest)."""
    kind = spec["problems"].get("kind", "matrices")
    return "expressions" if kind == "imported" else kind  # only expressions are imported


def format_for_spec(spec: dict[str, Any]) -> MatrixFormat | TokenFormat:
    """How shards store the examples of this spec (as stored in a manifest)."""
    problems = spec["problems"]
    problem_type = get_problem_type(spec)
    if problem_type != "matrices":
        return TokenFormat(vocabulary=BIT_TOKENS if problem_type == "bits" else TOKENS)
    noisy = float(problems.get("noise", 0)) > 0
    has_task_tokens = spec["task"] == "cotraining"
    mixed = len(problems.get("spectrum", ())) > 1 and not has_task_tokens
    return MatrixFormat(int(spec["chunk_rows"]), bool(problems["round_problems"]), noisy, has_task_tokens, mixed)
