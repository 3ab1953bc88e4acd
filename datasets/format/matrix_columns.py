"""Matrix shards: Parquet files of whole chunks, readable by any tool that reads Parquet.

Columns: ``row`` int64, ``problem`` list<float32>, ``problem_rows``, ``problem_cols`` int16, ``solution`` list<float32>,
``solution_rows``, ``solution_cols`` int16; with noise also ``clean_problem`` list<float32>, in co-training ``task`` (its token), in
a mixture of spectra ``spectrum`` (its name). One row group a chunk, zstd. Page checksums turn damage into errors instead of wrong
numbers. The footer holds the spec, so that a single shard is self-describing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mathpipe.datasets.containers.array_types import Floats, Ints
from mathpipe.datasets.containers.ragged_matrices import SPECTRA, Matrices
from mathpipe.datasets.format.arrow_arrays import from_numpy, strings, to_numpy
from mathpipe.datasets.format.shard_writer import ShardWriter
from mathpipe.datasets.io.storage import HashingFile
from mathpipe.datasets.tokenizers.decimal_grid import round_to_grid
from mathpipe.datasets.tokenizers.matrix_tokenizer import TASK_TOKENS

MATRIX_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        *(
            field
            for side in ("problem", "solution")
            for field in (
                pa.field(side, pa.list_(pa.field("element", pa.float32(), nullable=False)), nullable=False),
                pa.field(f"{side}_rows", pa.int16(), nullable=False),
                pa.field(f"{side}_cols", pa.int16(), nullable=False),
            )
        ),
    ]
)
_CLEAN = pa.field("clean_problem", pa.list_(pa.field("element", pa.float32(), nullable=False)), nullable=False)
_TASK_TOKENS = strings(list(TASK_TOKENS))
_TASK = pa.field("task", pa.string(), nullable=False)
_SPECTRUM = pa.field("spectrum", pa.string())
_SPECTRA = strings(list(SPECTRA))
_FLOATS = ["problem.list.element", "clean_problem.list.element", "solution.list.element"]
_SHAPES = ["task", "spectrum", "problem_rows", "problem_cols", "solution_rows", "solution_cols"]


@dataclass(frozen=True)
class MatrixExamples:
    """n examples: ``row`` (n,) int64 indices, problems on the decimal grid, solutions as stored (float32).

    ``clean``: the noise-free problems that the solutions belong to; None without noise.
    """

    row: Ints
    problems: Matrices
    solutions: Matrices
    clean: Matrices | None = None

    @property
    def solved(self) -> Matrices:
        """The problems that the solutions belong to: the noise-free ones if there is noise."""
        return self.problems if self.clean is None else self.clean

    def renumber(self, first: int) -> MatrixExamples:
        """The same examples with the indices first, first + 1, ..."""
        return MatrixExamples(np.arange(first, first + len(self)), self.problems, self.solutions, self.clean)

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: NDArray[Any]) -> MatrixExamples:
        """Select examples by positions (k,) or by a boolean mask (n,)."""
        clean = None if self.clean is None else self.clean.take(index)
        return MatrixExamples(self.row[index], self.problems.take(index), self.solutions.take(index), clean)

    def extra_columns(self, i: int) -> dict[str, Any]:
        """Nothing besides problem and solution."""
        return {}

    @classmethod
    def concatenate(cls, parts: Sequence[MatrixExamples]) -> MatrixExamples:
        """Concatenate batches, of which all have clean problems, or none."""
        clean = [part.clean for part in parts if part.clean is not None]
        return cls(
            np.concatenate([part.row for part in parts]),
            Matrices.concatenate([part.problems for part in parts]),
            Matrices.concatenate([part.solutions for part in parts]),
            Matrices.concatenate(clean) if clean else None,
        )


def shard_schema(*, noisy: bool, has_task_tokens: bool = False, mixed: bool = False) -> pa.Schema:
    """The Arrow schema of a shard, with the optional columns ``clean_problem`` (of the problem's shape), ``task``, ``spectrum``."""
    schema = MATRIX_SCHEMA.insert(4, _CLEAN) if noisy else MATRIX_SCHEMA
    schema = schema.insert(1, _SPECTRUM) if mixed else schema
    return schema.insert(1, _TASK) if has_task_tokens else schema


def matrix_writer(file: HashingFile, schema: pa.Schema) -> ShardWriter:
    """A writer of a matrix shard, in which each added chunk becomes a row group."""
    return ShardWriter(
        file,
        schema,
        to_arrow,
        compression_level=1,
        use_dictionary=[name for name in _SHAPES if name in schema.names],
        use_byte_stream_split=[name for name in _FLOATS if name.split(".")[0] in schema.names],
    )


def to_arrow(examples: MatrixExamples, schema: pa.Schema) -> pa.Table:
    """The examples as an Arrow table with a shard's schema."""
    columns = {"row": from_numpy(examples.row)}
    for matrices, name in ((examples.problems, "problem"), (examples.solutions, "solution")):
        columns[name] = _lists(matrices, schema.field(name).type)
        columns[f"{name}_rows"] = from_numpy(matrices.rows.astype(np.int16))
        columns[f"{name}_cols"] = from_numpy(matrices.cols.astype(np.int16))
    if examples.problems.task_ids is not None:
        columns["task"] = _TASK_TOKENS.take(from_numpy(examples.problems.task_ids))
    if "spectrum" in schema.names:
        spectra = examples.problems.spectra
        columns["spectrum"] = (
            pa.nulls(len(examples), pa.string()) if spectra is None else _SPECTRA.take(from_numpy(spectra))
        )
    if examples.clean is not None:
        columns["clean_problem"] = _lists(examples.clean, _CLEAN.type)
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _lists(matrices: Matrices, list_type: pa.DataType) -> pa.Array:
    offsets, values = matrices.offsets.astype(np.int32), matrices.values.astype(np.float32)
    return pa.ListArray.from_arrays(from_numpy(offsets), from_numpy(values), type=list_type)


def from_arrow(table: pa.Table, *, round_problems: bool, snap_problems: bool = False) -> MatrixExamples:
    """The examples of an Arrow table. ``round_problems``: problems are on the 3-digit grid, and float32 3.1400001 becomes 3.14.

    Noisy problems are always on the grid; clean ones only with ``round_problems``. ``snap_problems``: only values that are the
    float32 of a 3-digit decimal become that decimal.
    """
    noisy = "clean_problem" in table.schema.names
    problems, solutions = _matrices(table, "problem"), _matrices(table, "solution")
    clean = Matrices(_values(table, "clean_problem"), problems.rows, problems.cols) if noisy else None
    if snap_problems:
        problems, clean = snap_to_grid(problems), None if clean is None else snap_to_grid(clean)
    elif round_problems or noisy:
        problems = _round_values(problems)
    if round_problems and clean is not None:
        clean = _round_values(clean)
    if "task" in table.schema.names:
        task_ids = to_numpy(pc.index_in(table["task"], value_set=_TASK_TOKENS)).astype(np.uint8)
        problems, solutions = problems.with_task_ids(task_ids), solutions.with_task_ids(task_ids)
        clean = None if clean is None else clean.with_task_ids(task_ids)
    if "spectrum" in table.schema.names and not table["spectrum"].null_count:
        problems = problems.with_spectra(to_numpy(pc.index_in(table["spectrum"], value_set=_SPECTRA)).astype(np.uint8))
    return MatrixExamples(to_numpy(table["row"]).astype(np.int64), problems, solutions, clean)


def _round_values(matrices: Matrices) -> Matrices:
    return matrices.with_values(round_to_grid(matrices.values))


def snap_to_grid(matrices: Matrices) -> Matrices:
    """The same matrices, with each value that has the float32 of a 3-digit decimal replaced by the float64 of this decimal."""
    rounded = round_to_grid(matrices.values)
    on_grid = rounded.astype(np.float32) == matrices.values.astype(np.float32)
    return matrices.with_values(rounded if on_grid.all() else np.where(on_grid, rounded, matrices.values))


def _matrices(table: pa.Table, name: str) -> Matrices:
    rows, cols = (to_numpy(table[f"{name}_{side}"]).astype(np.int64) for side in ("rows", "cols"))
    return Matrices(_values(table, name), rows, cols)


def _values(table: pa.Table, name: str) -> Floats:
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # a table without rows has no chunks
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)
    return to_numpy(column.flatten()).astype(np.float64)
