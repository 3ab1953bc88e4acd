"""Write shards incrementally: Parquet with zstd and page checksums, and a footer that holds the spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mathpipe.datasets.format.examples import Examples, concatenate
from mathpipe.datasets.io.storage import HashingFile

SPEC_KEY, VERSION_KEY = b"mathpipe.spec", b"mathpipe.version"
ROW_GROUP_SIZE = 8_000  # for sequences: chunks are small, and smaller row groups are slow to read


def footer(spec_json: str, version: str) -> dict[bytes, bytes]:
    """The metadata of every shard: the spec as JSON and the version of this package."""
    return {SPEC_KEY: spec_json.encode(), VERSION_KEY: version.encode()}


class ShardWriter:
    """Writes each added batch of examples as one row group; a context manager. ``rows``: number of examples added so far.

    ``to_arrow`` converts examples to a table of ``schema``; ``options`` are those of ``pyarrow.parquet.ParquetWriter``.
    """

    def __init__(
        self, file: HashingFile, schema: pa.Schema, to_arrow: Callable[[Any, pa.Schema], pa.Table], **options: Any
    ) -> None:
        self.rows = 0
        self._schema, self._to_arrow = schema, to_arrow
        self._writer = pq.ParquetWriter(
            pa.PythonFile(file, mode="w"),
            schema,
            compression="zstd",
            write_statistics=["row"],
            write_page_checksum=True,
            **options,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._writer.close()

    def add(self, examples: Examples) -> None:
        """Write the examples as one row group."""
        self.rows += len(examples)
        self._write_group(examples)

    def _write_group(self, examples: Examples) -> None:
        table = self._to_arrow(examples, self._schema)
        self._writer.write_table(table, row_group_size=max(len(examples), 1))


class BufferedShardWriter(ShardWriter):
    """Writes row groups of ``ROW_GROUP_SIZE`` examples, whatever the size of the added batches; memory holds two row groups.

    The last row group also holds the remainder.
    """

    def __init__(
        self, file: HashingFile, schema: pa.Schema, to_arrow: Callable[[Any, pa.Schema], pa.Table], **options: Any
    ) -> None:
        super().__init__(file, schema, to_arrow, **options)
        self._buffer, self._buffered = list[Examples](), 0

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None and self._buffered:
            self._write_group(concatenate(self._buffer))
        super().__exit__(error)

    def add(self, examples: Examples) -> None:
        """Buffer the examples; write a row group when another full one remains for the last group."""
        self.rows += len(examples)
        self._buffer.append(examples)
        self._buffered += len(examples)
        if self._buffered < 2 * ROW_GROUP_SIZE:
            return
        buffer, first = concatenate(self._buffer), 0
        while self._buffered - first >= 2 * ROW_GROUP_SIZE:
            self._write_group(buffer.take(np.arange(first, first + ROW_GROUP_SIZE)))
            first += ROW_GROUP_SIZE
        self._buffer = [buffer.take(np.arange(first, self._buffered))]
        self._buffered -= first
