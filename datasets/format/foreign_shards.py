"""Files in the directories of splits that no writer of mathpipe made: a new dataset must not replace or delete them."""

from __future__ import annotations

from collections.abc import Container, Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from mathpipe.datasets.format.directory import EVIDENCE_NAME, RECORD_NAME, SHARD_NAME
from mathpipe.datasets.format.shard_writer import SPEC_KEY
from mathpipe.datasets.io.foreign_files import is_foreign
from mathpipe.datasets.io.storage import Storage, is_temporary


def foreign_shards(storage: Storage, files: Iterable[str], recorded: Container[str]) -> list[str]:
    """Those of ``files``, such as ``train/00000.parquet``, that are named like a shard and are none of mathpipe's.

    ``recorded``: shards that a record names, which are not opened. A shard without one is known by the spec in its footer.
    """
    named_alike = (file for file in files if SHARD_NAME.fullmatch(_name(file)) and file not in recorded)
    return [file for file in named_alike if not _has_spec(storage, file)]


def other_files(files: Iterable[str]) -> list[str]:
    """Those of ``files`` that are named neither like files of a split nor like those of file managers and their kind."""
    return [file for file in files if not _belongs_to_a_split(name := _name(file)) and not is_foreign(name)]


def _belongs_to_a_split(name: str) -> bool:
    return is_temporary(name) or any(pattern.fullmatch(name) for pattern in (SHARD_NAME, RECORD_NAME, EVIDENCE_NAME))


def _name(file: str) -> str:
    return file.rsplit("/", 1)[-1]


def _has_spec(storage: Storage, file: str) -> bool:
    try:
        with storage.read(file) as opened, pq.ParquetFile(opened) as shard:
            return SPEC_KEY in (shard.schema_arrow.metadata or {})
    except (OSError, pa.ArrowException):
        return False
