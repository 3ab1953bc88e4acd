"""The evidence for the solutions of a shard, row by row: a file beside the record of the shard.

Columns: ``row`` int64, ``outcome`` and ``evidence`` as dictionaries of names. It is a file of its own, so that a shard has the same
bytes whether its solutions have been proven or not. The metadata hold the checksum of the shard: of another shard the evidence
counts for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mathpipe.datasets.format.directory import evidence_file
from mathpipe.datasets.format.manifest import ShardRecord
from mathpipe.datasets.io.storage import Storage

_SHARD_KEY = b"mathpipe.shard"
_NAMES = pa.dictionary(pa.int8(), pa.string())
_SCHEMA = pa.schema(
    [
        pa.field(name, dtype, nullable=False)
        for name, dtype in (("row", pa.int64()), ("outcome", _NAMES), ("evidence", _NAMES))
    ]
)


@dataclass(frozen=True)
class ShardEvidence:
    """For each row of a shard, in order, the outcome of its solution and the evidence for it: indices (n,) int8 into names."""

    outcome: NDArray[np.int8]
    evidence: NDArray[np.int8]
    outcome_names: tuple[str, ...]
    evidence_names: tuple[str, ...]

    def outcome_counts(self) -> dict[str, int]:
        return _counts(self.outcome, self.outcome_names)

    def evidence_counts(self) -> dict[str, int]:
        return _counts(self.evidence, self.evidence_names)

    def joint_counts(self) -> Counter[tuple[str, str]]:
        """(outcome, evidence) -> rows."""
        pairs = Counter(zip(self.outcome.tolist(), self.evidence.tolist(), strict=True))
        return Counter({(self.outcome_names[o], self.evidence_names[e]): n for (o, e), n in pairs.items()})

    def write(self, storage: Storage, record: ShardRecord) -> None:
        """Write the evidence beside the record of its shard, atomically."""
        columns = [
            pa.array(np.arange(record.first_row, record.first_row + len(self.outcome))),
            pa.DictionaryArray.from_arrays(pa.array(self.outcome), list(self.outcome_names)),
            pa.DictionaryArray.from_arrays(pa.array(self.evidence), list(self.evidence_names)),
        ]
        schema = _SCHEMA.with_metadata({_SHARD_KEY: record.sha256})
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with (
            storage.write(evidence_file(record.split, record.shard)) as file,
            pa.ipc.new_file(pa.PythonFile(file, mode="w"), schema, options=options) as writer,
        ):
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def read_evidence(storage: Storage, record: ShardRecord) -> ShardEvidence | None:
    """The evidence for the rows of a shard; None if there is none, or none of this shard."""
    name = evidence_file(record.split, record.shard)
    if storage.size(name) is None:
        return None
    try:
        with storage.read(name) as file:
            table = pa.ipc.open_file(pa.py_buffer(file.read())).read_all()
    except pa.ArrowInvalid:
        return None
    if (table.schema.metadata or {}).get(_SHARD_KEY, b"").decode() != record.sha256 or len(table) != record.rows:
        return None
    (outcome, outcome_names), (evidence, evidence_names) = _column(table["outcome"]), _column(table["evidence"])
    return ShardEvidence(outcome, evidence, outcome_names, evidence_names)


def _column(column: pa.ChunkedArray) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """(indices, names)."""
    array = column.combine_chunks()
    return array.indices.to_numpy(), tuple(array.dictionary.to_pylist())


def _counts(values: NDArray[np.int8], names: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(values, minlength=len(names)).tolist()
    return {name: count for name, count in zip(names, counts, strict=True) if count}
