"""Shards: Parquet files of whole blocks, readable by any tool that reads Parquet.

Columns: ``row`` int64, ``operand`` list<float32>, ``operand_rows``, ``operand_cols`` int16, (``clean_operand`` list<float32> with
noise,) (in co-training ``task``, its letter,) (in a mixture of spectra ``spectrum``, its name,) ``solution`` list<float32>,
``solution_rows``, ``solution_cols`` int16. One row group a block, zstd. Each page has its checksum, so that a damaged one is met as
an error and never as numbers. The footer carries the law, so that a single shard found alone on a disk explains itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import SPECTRA, Matrices
from mathpipe.datasets.format.arrow_arrays import from_numpy, strings, to_numpy
from mathpipe.datasets.io.storage import HashingFile
from mathpipe.datasets.tokenizers.decimal_grid import round_to_grid
from mathpipe.datasets.tokenizers.matrix_tokenizer import LETTERS

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
_CLEAN = pa.field("clean_operand", pa.list_(pa.field("element", pa.float32(), nullable=False)), nullable=False)
_LETTERS = strings(list(LETTERS))
_TASK = pa.field("task", pa.string(), nullable=False)
_SPECTRUM = pa.field("spectrum", pa.string())
_SPECTRA = strings(list(SPECTRA))
_FLOATS = ["operand.list.element", "clean_operand.list.element", "solution.list.element"]
_SHAPES = ["task", "spectrum", "operand_rows", "operand_cols", "solution_rows", "solution_cols"]


@dataclass(frozen=True)
class Rows:
    """n rows as mathematics: ``row`` (n,) int64, operands as the decimals they stand for, solutions as stored (float32).

    ``clean``: with noise, the operands before it, whose answers the solutions are; else None.
    """

    row: NDArray[np.int64]
    operands: Matrices
    solutions: Matrices
    clean: Matrices | None = None

    @property
    def problems(self) -> Matrices:
        """The problems as written: the operands (with noise, the noisy ones)."""
        return self.operands

    @property
    def solved(self) -> Matrices:
        """The operands whose answers the solutions are: the clean ones where there is noise."""
        return self.operands if self.clean is None else self.clean

    def numbered(self, first: int) -> Rows:
        """The same rows, standing at ``first`` onwards."""
        return Rows(np.arange(first, first + len(self)), self.operands, self.solutions, self.clean)

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: NDArray[Any]) -> Rows:
        """The rows at these positions (or where a mask is true)."""
        clean = None if self.clean is None else self.clean.take(index)
        return Rows(self.row[index], self.operands.take(index), self.solutions.take(index), clean)


def concatenate_rows(parts: Sequence[Rows]) -> Rows:
    """One batch after another; all have clean operands, or none."""
    clean = [part.clean for part in parts if part.clean is not None]
    return Rows(
        np.concatenate([part.row for part in parts]),
        Matrices.concatenate([part.operands for part in parts]),
        Matrices.concatenate([part.solutions for part in parts]),
        Matrices.concatenate(clean) if clean else None,
    )


def shard_schema(*, noisy: bool, lettered: bool = False, mixed: bool = False) -> pa.Schema:
    """The columns of a shard: with noise ``clean_operand`` besides (it has the operand's dimensions), in co-training ``task``, in
    a mixture of spectra ``spectrum``."""
    schema = MATRIX_SCHEMA.insert(4, _CLEAN) if noisy else MATRIX_SCHEMA
    schema = schema.insert(1, _SPECTRUM) if mixed else schema
    return schema.insert(1, _TASK) if lettered else schema


def write_shard(
    file: HashingFile, blocks: Iterable[Rows], law_json: str, version: str, schema: pa.Schema = MATRIX_SCHEMA
) -> int:
    """Write blocks one after the other, each its own row group; returns the number of rows."""
    schema = schema.with_metadata({LAW_KEY: law_json.encode(), VERSION_KEY: version.encode()})
    written = 0
    with pq.ParquetWriter(
        pa.PythonFile(file, mode="w"),
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in _SHAPES if name in schema.names],
        use_byte_stream_split=[name for name in _FLOATS if name.split(".")[0] in schema.names],
        write_statistics=["row"],
        write_page_checksum=True,
    ) as writer:
        for rows in blocks:
            writer.write_table(to_arrow(rows, schema), row_group_size=max(len(rows), 1))
            written += len(rows)
    return written


def to_arrow(rows: Rows, schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table of a shard's schema."""
    columns = {"row": from_numpy(rows.row)}
    for matrices, name in ((rows.operands, "operand"), (rows.solutions, "solution")):
        columns[name] = _lists(matrices, schema.field(name).type)
        columns[f"{name}_rows"] = from_numpy(matrices.rows.astype(np.int16))
        columns[f"{name}_cols"] = from_numpy(matrices.cols.astype(np.int16))
    if rows.operands.labels is not None:
        columns["task"] = _LETTERS.take(from_numpy(rows.operands.labels))
    if "spectrum" in schema.names:
        spectra = rows.operands.spectra  # shards that were written before this column was know of none
        columns["spectrum"] = (
            pa.nulls(len(rows), pa.string()) if spectra is None else _SPECTRA.take(from_numpy(spectra))
        )
    if rows.clean is not None:
        columns["clean_operand"] = _lists(rows.clean, _CLEAN.type)
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _lists(matrices: Matrices, kind: pa.DataType) -> pa.Array:
    offsets, values = matrices.offsets.astype(np.int32), matrices.values.astype(np.float32)
    return pa.ListArray.from_arrays(from_numpy(offsets), from_numpy(values), type=kind)


def from_arrow(table: pa.Table, *, exact_operands: bool) -> Rows:
    """Rows of an Arrow table. ``exact_operands``: operands lie on the 3-digit grid, and float32 3.1400001 is read as 3.14.

    Noisy operands are always on the grid; the clean ones only with ``exact_operands``.
    """
    noisy = "clean_operand" in table.schema.names
    operands, solutions = _matrices(table, "operand"), _matrices(table, "solution")
    clean = Matrices(_values(table, "clean_operand"), operands.rows, operands.cols) if noisy else None
    if exact_operands or noisy:
        operands = _on_grid(operands)
    if exact_operands and clean is not None:
        clean = _on_grid(clean)
    if "task" in table.schema.names:
        labels = to_numpy(pc.index_in(table["task"], value_set=_LETTERS)).astype(np.uint8)
        operands, solutions = operands.labelled(labels), solutions.labelled(labels)
        clean = None if clean is None else clean.labelled(labels)
    if "spectrum" in table.schema.names and not table["spectrum"].null_count:
        operands = operands.drawn_by(to_numpy(pc.index_in(table["spectrum"], value_set=_SPECTRA)).astype(np.uint8))
    return Rows(to_numpy(table["row"]).astype(np.int64), operands, solutions, clean)


def _on_grid(matrices: Matrices) -> Matrices:
    return matrices.with_values(round_to_grid(matrices.values))


def _matrices(table: pa.Table, name: str) -> Matrices:
    rows, cols = (to_numpy(table[f"{name}_{side}"]).astype(np.int64) for side in ("rows", "cols"))
    return Matrices(_values(table, name), rows, cols)


def _values(table: pa.Table, name: str) -> NDArray[np.float64]:
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # a table without rows has no chunk to combine
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)
    return to_numpy(column.flatten()).astype(np.float64)
