"""How rows of each kind lie in a shard: one small object a kind, which writers, readers and checkers share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mathpipe.datasets.expressions.vocabulary import WORDS
from mathpipe.datasets.format.matrix_columns import (
    SPEC_KEY,
    VERSION_KEY,
    Rows,
    from_arrow,
    shard_schema,
    to_arrow,
    write_shard,
)
from mathpipe.datasets.format.sequence_columns import (
    SequenceRows,
    is_sequence_schema,
    sequence_schema,
    sequences_from_arrow,
    sequences_to_arrow,
)
from mathpipe.datasets.io.storage import HashingFile
from mathpipe.datasets.tokenizers.bit_tokenizer import BIT_WORDS

Kind = Literal["matrices", "expressions", "bits"]
AnyRows = Rows | SequenceRows
WORDS_KEY = b"mathpipe.words"
_WORD_PATHS = ("problem.list.element", "solution.list.element")
GROUP_ROWS = 8_000  # of sequences: chunks are small, and row groups of fewer rows are slow to read


class RowFormat(Protocol):
    """``accepts(schema)``: whether a file's columns are those of such a shard; ``group_sizes(rows)``: of its row groups.

    ``write(file, parts, spec_json, version)`` writes a shard and returns its rows; ``schema`` is None where only a file can tell.
    """

    @property
    def schema(self) -> pa.Schema | None: ...
    def accepts(self, schema: pa.Schema) -> bool: ...
    def to_arrow(self, rows: Any, schema: pa.Schema) -> pa.Table: ...
    def from_arrow(self, table: pa.Table) -> Any: ...
    def group_sizes(self, rows: int) -> list[int]: ...
    def write(self, file: HashingFile, parts: Iterable[Any], spec_json: str, version: str) -> int: ...


@dataclass(frozen=True)
class MatrixFormat:
    """Matrices, one row group a chunk. ``round_problems``: problems are read as the decimals they stand for."""

    chunk_rows: int
    round_problems: bool = True
    noisy: bool = False
    has_task_tokens: bool = False
    mixed: bool = False

    @property
    def schema(self) -> pa.Schema:
        return shard_schema(noisy=self.noisy, has_task_tokens=self.has_task_tokens, mixed=self.mixed)

    def accepts(self, schema: pa.Schema) -> bool:
        """Shards of a mixture may lack ``spectrum``, which was not always written."""
        found, without = schema.remove_metadata(), shard_schema(noisy=self.noisy, has_task_tokens=self.has_task_tokens)
        return bool(found == self.schema or (self.mixed and found == without))

    def to_arrow(self, rows: Rows, schema: pa.Schema) -> pa.Table:
        return to_arrow(rows, schema)

    def from_arrow(self, table: pa.Table) -> Rows:
        return from_arrow(table, round_problems=self.round_problems)

    def group_sizes(self, rows: int) -> list[int]:
        return [min(self.chunk_rows, rows - first) for first in range(0, rows, self.chunk_rows)]

    def write(self, file: HashingFile, parts: Iterable[Rows], spec_json: str, version: str) -> int:
        """Each part is a chunk and becomes a row group."""
        return write_shard(file, parts, spec_json, version, self.schema)


@dataclass(frozen=True)
class WordsFormat:
    """Sequences of words, in row groups of 8,000 rows or more where there are so many.

    ``columns``: those the task declares; None where a file is only read, and may hold any.
    """

    columns: dict[str, str] | None = None
    words: tuple[str, ...] = WORDS
    """What the stored ids stand for."""

    @property
    def schema(self) -> pa.Schema | None:
        return None if self.columns is None else sequence_schema(self.columns)

    def accepts(self, schema: pa.Schema) -> bool:
        if self.columns is None:
            return is_sequence_schema(schema)
        return bool(schema.remove_metadata() == self.schema)

    def to_arrow(self, rows: SequenceRows, schema: pa.Schema) -> pa.Table:
        return sequences_to_arrow(rows, schema)

    def from_arrow(self, table: pa.Table) -> SequenceRows:
        return sequences_from_arrow(table)

    def group_sizes(self, rows: int) -> list[int]:
        """8,000 each; the last takes what is left over, up to 15,999."""
        groups = max(rows // GROUP_ROWS, 1)
        return [GROUP_ROWS] * (groups - 1) + [rows - GROUP_ROWS * (groups - 1)] if rows else []

    def write(self, file: HashingFile, parts: Iterable[SequenceRows], spec_json: str, version: str) -> int:
        """Parts of any size, in order; memory holds two row groups."""
        with self.writer(file, spec_json, version) as writer:
            for rows in parts:
                writer.add(rows)
        return writer.rows

    def writer(self, file: HashingFile, spec_json: str, version: str) -> WordsFile:
        """A shard to which rows are added bit by bit, so that one pass may fill several."""
        if self.columns is None:
            raise ValueError("columns are unknown")
        metadata = {
            SPEC_KEY: spec_json.encode(),
            VERSION_KEY: version.encode(),
            WORDS_KEY: json.dumps(self.words).encode(),
        }
        return WordsFile(file, sequence_schema(self.columns).with_metadata(metadata))


class WordsFile:
    """A shard of sequences that is being written; a context manager. ``rows``: how many have been added."""

    def __init__(self, file: HashingFile, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema, self._held, self._count = schema, list[SequenceRows](), 0
        self._writer = pq.ParquetWriter(
            pa.PythonFile(file, mode="w"),
            schema,
            compression="zstd",
            compression_level=3,
            use_dictionary=[name for name in schema.names if name != "row"] + list(_WORD_PATHS),
            write_statistics=["row"],
            write_page_checksum=True,
        )

    def __enter__(self) -> WordsFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._count:
            self._write(SequenceRows.concatenate(self._held))
        self._writer.close()

    def add(self, rows: SequenceRows) -> None:
        """Hold the rows until there are enough for a row group, and as many again for the last one."""
        self.rows += len(rows)
        self._held.append(rows)
        self._count += len(rows)
        if self._count < 2 * GROUP_ROWS:
            return
        held, first = SequenceRows.concatenate(self._held), 0
        while self._count - first >= 2 * GROUP_ROWS:
            self._write(held.take(np.arange(first, first + GROUP_ROWS)))
            first += GROUP_ROWS
        self._held = [held.take(np.arange(first, self._count))]
        self._count -= first

    def _write(self, rows: SequenceRows) -> None:
        self._writer.write_table(sequences_to_arrow(rows, self._schema), row_group_size=len(rows))


def kind_of(spec: dict[str, Any]) -> Kind:
    """What the rows of a spec (as a manifest holds it) are made of."""
    kind = spec["problems"].get("kind", "matrices")
    return "expressions" if kind == "imported" else kind  # only expressions are imported


def row_format(spec: dict[str, Any]) -> MatrixFormat | WordsFormat:
    """How rows of this spec (as a manifest holds it) lie in its shards."""
    problems = spec["problems"]
    if kind_of(spec) != "matrices":
        return WordsFormat(words=BIT_WORDS if kind_of(spec) == "bits" else WORDS)
    noisy = float(problems.get("noise", 0)) > 0
    has_task_tokens = spec["task"] == "cotraining"
    mixed = len(problems.get("spectrum", ())) > 1 and not has_task_tokens
    return MatrixFormat(int(spec["chunk_rows"]), bool(problems["round_problems"]), noisy, has_task_tokens, mixed)
