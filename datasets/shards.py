"""Shards: Parquet files of whole blocks, readable by any tool that reads Parquet.

Columns: ``row`` int64, ``operand`` list<float32>, ``operand_rows``, ``operand_cols`` int16, ``solution`` list<float32>,
``solution_rows``, ``solution_cols`` int16. One row group a block, zstd. The footer carries the law, so that a single shard
found alone on a disk explains itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mathpipe.datasets.grid import round_to_grid
from mathpipe.datasets.matrices import Matrices
from mathpipe.datasets.storage import HashingFile

LAW_KEY, VERSION_KEY = b"mathpipe.law", b"mathpipe.version"
MATRIX_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        *(
            field
            for side in ("operand", "solution")
            for field in (
                pa.field(side, pa.list_(pa.field("element", pa.float32(), nullable=False)), nullable=False),
                pa.field(f"{side}_rows", pa.int16(), nullable=False),
                pa.field(f"{side}_cols", pa.int16(), nullable=False),
            )
        ),
    ]
)
_FLOATS = ["operand.list.element", "solution.list.element"]
_SHAPES = ["operand_rows", "operand_cols", "solution_rows", "solution_cols"]


@dataclass(frozen=True)
class Rows:
    """n rows as mathematics: ``row`` (n,) int64, operands as the decimals they stand for, solutions as stored (float32)."""

    row: NDArray[np.int64]
    operands: Matrices
    solutions: Matrices

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: NDArray[Any]) -> Rows:
        """The rows at these positions (or where a mask is true)."""
        return Rows(self.row[index], self.operands.take(index), self.solutions.take(index))


def write_shard(file: HashingFile, blocks: Iterable[Rows], law_json: str, version: str) -> int:
    """Write blocks one after the other, each its own row group; returns the number of rows."""
    schema = MATRIX_SCHEMA.with_metadata({LAW_KEY: law_json.encode(), VERSION_KEY: version.encode()})
    written = 0
    with pq.ParquetWriter(
        pa.PythonFile(file, mode="w"),
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=_SHAPES,
        use_byte_stream_split=_FLOATS,
        write_statistics=["row"],
    ) as writer:
        for rows in blocks:
            writer.write_table(to_arrow(rows, schema), row_group_size=max(len(rows), 1))
            written += len(rows)
    return written


def to_arrow(rows: Rows, schema: pa.Schema = MATRIX_SCHEMA) -> pa.Table:
    """Rows as an Arrow table of the shard's schema."""
    columns = [pa.array(rows.row)]
    for matrices, name in ((rows.operands, "operand"), (rows.solutions, "solution")):
        columns += [
            pa.ListArray.from_arrays(
                pa.array(matrices.offsets.astype(np.int32)),
                pa.array(matrices.values.astype(np.float32)),
                type=schema.field(name).type,
            ),
            pa.array(matrices.rows.astype(np.int16)),
            pa.array(matrices.cols.astype(np.int16)),
        ]
    return pa.Table.from_arrays(columns, schema=schema)


def from_arrow(table: pa.Table, *, exact_operands: bool) -> Rows:
    """Rows of an Arrow table. ``exact_operands``: operands lie on the 3-digit grid, and float32 3.1400001 is read as 3.14."""
    operands, solutions = _matrices(table, "operand"), _matrices(table, "solution")
    if exact_operands:
        operands = Matrices(round_to_grid(operands.values), operands.rows, operands.cols)
    return Rows(_numpy(table["row"]).astype(np.int64), operands, solutions)


def _matrices(table: pa.Table, name: str) -> Matrices:
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # a table without rows has no chunk to combine
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    rows, cols = (_numpy(table[f"{name}_{side}"]).astype(np.int64) for side in ("rows", "cols"))
    return Matrices(values, rows, cols)


def _numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    return np.asarray(column.to_numpy())
