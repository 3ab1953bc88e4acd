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
    LAW_KEY,
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
GROUP_ROWS = 8_000  # of sequences: blocks are small, and row groups of fewer rows are slow to read


class RowFormat(Protocol):
    """``accepts(schema)``: whether a file's columns are those of such a shard; ``group_sizes(rows)``: of its row groups.

    ``write(file, parts, law_json, version)`` writes a shard and returns its rows; ``schema`` is None where only a file can tell.
    """

    @property
    def schema(self) -> pa.Schema | None: ...
    def accepts(self, schema: pa.Schema) -> bool: ...
    def to_arrow(self, rows: Any, schema: pa.Schema) -> pa.Table: ...
    def from_arrow(self, table: pa.Table) -> Any: ...
    def group_sizes(self, rows: int) -> list[int]: ...
    def write(self, file: HashingFile, parts: Iterable[Any], law_json: str, version: str) -> int: ...


@dataclass(frozen=True)
class MatrixFormat:
    """Matrices, one row group a block. ``exact_operands``: operands are read as the decimals they stand for."""

    block_rows: int
    exact_operands: bool = True
    noisy: bool = False
    lettered: bool = False
    mixed: bool = False

    @property
    def schema(self) -> pa.Schema:
        return shard_schema(noisy=self.noisy, lettered=self.lettered, mixed=self.mixed)

    def accepts(self, schema: pa.Schema) -> bool:
        """Shards of a mixture may lack ``spectrum``, which was not always written."""
        found, without = schema.remove_metadata(), shard_schema(noisy=self.noisy, lettered=self.lettered)
        return bool(found == self.schema or (self.mixed and found == without))

    def to_arrow(self, rows: Rows, schema: pa.Schema) -> pa.Table:
        return to_arrow(rows, schema)

    def from_arrow(self, table: pa.Table) -> Rows:
        return from_arrow(table, exact_operands=self.exact_operands)

    def group_sizes(self, rows: int) -> list[int]:
        return [min(self.block_rows, rows - first) for first in range(0, rows, self.block_rows)]

    def write(self, file: HashingFile, parts: Iterable[Rows], law_json: str, version: str) -> int:
        """Each part is a block and becomes a row group."""
        return write_shard(file, parts, law_json, version, self.schema)


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

    def write(self, file: HashingFile, parts: Iterable[SequenceRows], law_json: str, version: str) -> int:
        """Parts of any size, in order; memory holds two row groups."""
        with self.writer(file, law_json, version) as writer:
            for rows in parts:
                writer.add(rows)
        return writer.rows

    def writer(self, file: HashingFile, law_json: str, version: str) -> WordsFile:
        """A shard to which rows are added bit by bit, so that one pass may fill several."""
        if self.columns is None:
            raise ValueError("columns are unknown")
        metadata = {
            LAW_KEY: law_json.encode(),
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


def kind_of(law: dict[str, Any]) -> Kind:
    """What the rows of a law (as a manifest holds it) are made of."""
    kind = law["operands"].get("kind", "matrices")
    return "expressions" if kind == "imported" else kind  # only expressions are imported


def row_format(law: dict[str, Any]) -> MatrixFormat | WordsFormat:
    """How rows of this law (as a manifest holds it) lie in its shards."""
    operands = law["operands"]
    if kind_of(law) != "matrices":
        return WordsFormat(words=BIT_WORDS if kind_of(law) == "bits" else WORDS)
    noisy = float(operands.get("noise", 0)) > 0
    lettered = law["task"] == "cotraining"
    mixed = len(operands.get("spectrum", ())) > 1 and not lettered
    return MatrixFormat(int(law["block_rows"]), bool(operands["exact_operands"]), noisy, lettered, mixed)
