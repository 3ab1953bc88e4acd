"""Shards written incrementally: row groups, footer, and examples that read back the same."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.format.example_formats import MatrixFormat, TokenFormat
from mathpipe.datasets.format.examples import concatenate
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.format.shard_writer import SPEC_KEY, VERSION_KEY
from mathpipe.datasets.io.storage import HashingFile


def matrices(count: int) -> MatrixExamples:
    problems = Matrices.from_dense(np.arange(4.0 * count).reshape(count, 2, 2))
    return MatrixExamples(np.arange(count), problems, problems)


def sequences(first: int, count: int) -> TokenExamples:
    problems = Sequences.from_list([[k % 3] * (k % 4) for k in range(first, first + count)])
    return TokenExamples(np.arange(first, first + count), problems, problems, {"size": problems.lengths})


def test_each_added_batch_of_matrices_is_a_row_group() -> None:
    raw, rows = io.BytesIO(), matrices(5)
    form = MatrixFormat(3)
    with form.writer(HashingFile(raw), "{}", "1.0") as writer:
        writer.add(rows.take(np.arange(3)))
        writer.add(rows.take(np.arange(3, 5)))
        assert writer.rows == 5
    file = pq.ParquetFile(io.BytesIO(raw.getvalue()))
    sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    assert sizes == [3, 2] == form.row_group_sizes(5)
    assert (file.metadata.metadata[SPEC_KEY], file.metadata.metadata[VERSION_KEY]) == (b"{}", b"1.0")
    again = form.from_arrow(file.read())
    assert np.array_equal(again.problems.values, rows.problems.values) and again.solved is again.problems


@pytest.mark.parametrize("sizes", [(1, 7_999), (24_000,), (500,) * 41, (15_999, 1, 17_000)])
def test_row_groups_of_sequences_do_not_depend_on_the_batches(sizes: tuple[int, ...]) -> None:
    raw, form, first = io.BytesIO(), TokenFormat({"size": "int16"}), 0
    parts = []
    for size in sizes:
        parts.append(sequences(first, size))
        first += size
    assert form.write(HashingFile(raw), parts, "{}", "1.0") == first
    file = pq.ParquetFile(io.BytesIO(raw.getvalue()))
    groups = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    assert groups == form.row_group_sizes(first)
    again, rows = form.from_arrow(file.read()), concatenate(parts)
    assert again.problems.to_list() == rows.problems.to_list() and again.row.tolist() == list(range(first))
    assert again.extra_columns(3) == {"size": 3} and np.array_equal(again.columns["size"], rows.columns["size"])


def test_a_failed_write_adds_no_row_group() -> None:
    raw = io.BytesIO()
    with pytest.raises(RuntimeError), TokenFormat({"size": "int16"}).writer(HashingFile(raw), "{}", "1") as writer:
        writer.add(sequences(0, 10))
        raise RuntimeError
    assert pq.ParquetFile(io.BytesIO(raw.getvalue())).metadata.num_rows == 0


def test_format_without_columns_cannot_write() -> None:
    with pytest.raises(ValueError, match="can only read"):
        TokenFormat().writer(HashingFile(io.BytesIO()), "{}", "1")
