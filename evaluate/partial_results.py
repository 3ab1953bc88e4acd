"""Partial results of a running evaluation: predictions are stored in parts, so that an interrupted evaluation resumes.

Parts are stored in ``.partial/<fingerprint>/00000.parquet`` and written atomically. The fingerprint covers weights, data and
settings, so that an evaluation never reuses parts of another one. Complete parts are joined into ``predictions.parquet``, one
row group at a time, and deleted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from mathpipe.datasets.io.storage import Storage
from mathpipe.evaluate.analyze.baselines import BaselineCounts
from mathpipe.evaluate.evaluation_directory import PARTIAL, remove_results
from mathpipe.evaluate.predictions import PredictionsWriter, read_footer

_COUNTS = "baseline_counts"
_PARTS = re.compile(r"[0-9a-f]{16}")


def evaluation_fingerprint(model: nn.Module, settings: Mapping[str, Any]) -> str:
    """SHA-256 of weights and settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class PartialResults:
    """The parts of one evaluation, in its directory."""

    def __init__(self, storage: Storage, evaluation_fingerprint: str) -> None:
        self._storage, self._folder = storage, f"{PARTIAL}/{evaluation_fingerprint[:16]}"
        self._remove_others()

    def find(self, k: int) -> BaselineCounts | None:
        """The baseline counts of part k, or None if it is missing or damaged."""
        if self._storage.size(self._name(k)) is None:
            return None
        try:
            metadata = read_footer(self._storage.path(self._name(k)), self._storage.fs)
            return BaselineCounts(**metadata[_COUNTS])
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
            return None

    def write(self, k: int, table: pa.Table, counts: BaselineCounts) -> None:
        with self._storage.write(self._name(k)) as file:
            writer = PredictionsWriter(file, {_COUNTS: counts.to_json()})
            writer.append(table)
            writer.close()

    def join(self, count: int, target: Storage, name: str, metadata: Mapping[str, Any]) -> None:
        """Concatenate all parts into the file ``name`` of ``target``, one row group in memory at a time."""
        with target.write(name) as file:
            writer = PredictionsWriter(file, metadata)
            for k in range(count):
                with pq.ParquetFile(self._storage.path(self._name(k)), filesystem=self._storage.fs) as part:
                    for group in range(part.num_row_groups):
                        writer.append(part.read_row_group(group, use_threads=False))
            writer.close()

    def remove(self) -> None:
        """Delete all parts, once the final results are written."""
        remove_results(self._storage, self._folder)

    def _name(self, k: int) -> str:
        return f"{self._folder}/{k:05d}.parquet"

    def _remove_others(self) -> None:
        """Delete what another evaluation or a killed writer left in this directory, which the caller has locked."""
        if self._storage.local_path is None:
            return
        current = self._folder.rsplit("/", 1)[-1]
        for name in self._storage.list(PARTIAL):
            if _PARTS.fullmatch(name) and name != current:
                remove_results(self._storage, f"{PARTIAL}/{name}")
        self._storage.remove_unfinished(self._folder)
