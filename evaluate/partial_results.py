"""An evaluation under way: predictions a part at a time, so that one that was killed goes on where it stopped.

Parts lie in ``.partial/<identity>/00000.parquet``, each written under another name first; the identity is of everything that
decides what is predicted (weights, data, settings), so that parts of another evaluation are never taken for this one's. When all
parts are there they become ``predictions.parquet``, row group by row group, and are removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from mathpipe.datasets.io.storage import Storage
from mathpipe.evaluate.analyze.baselines import Tally
from mathpipe.evaluate.predictions import PredictionsWriter, footer

PARTIAL = ".partial"
_TALLY = "tally"


def identity(model: nn.Module, settings: Mapping[str, Any]) -> str:
    """A digest of the weights and of the settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class Parts:
    """The parts of one evaluation in its directory."""

    def __init__(self, storage: Storage, identity: str) -> None:
        self._storage, self._folder = storage, f"{PARTIAL}/{identity[:16]}"
        self._remove_others()

    def find(self, k: int) -> Tally | None:
        """What the yardsticks scored on part k, if it is there and whole."""
        if self._storage.size(self._name(k)) is None:
            return None
        try:
            found = footer(self._storage.path(self._name(k)), self._storage.fs)
            return Tally(**found[_TALLY])
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
            return None

    def write(self, k: int, table: pa.Table, tally: Tally) -> None:
        with self._storage.write(self._name(k)) as file:
            writer = PredictionsWriter(file, {_TALLY: tally.to_json()})
            writer.append(table)
            writer.close()

    def join(self, count: int, target: str, metadata: Mapping[str, Any]) -> None:
        """All parts, one after the other, as the file ``target``; one row group is in memory at a time."""
        with self._storage.write(target) as file:
            writer = PredictionsWriter(file, metadata)
            for k in range(count):
                with pq.ParquetFile(self._storage.path(self._name(k)), filesystem=self._storage.fs) as part:
                    for group in range(part.num_row_groups):
                        writer.append(part.read_row_group(group, use_threads=False))
            writer.close()

    def remove(self) -> None:
        """Once everything else is written."""
        self._clear(PARTIAL)

    def _name(self, k: int) -> str:
        return f"{self._folder}/{k:05d}.parquet"

    def _remove_others(self) -> None:
        """What another evaluation, or a killed writer, left in this directory."""
        if self._storage.local_path is None:
            return
        folder = self._storage.local_path / PARTIAL
        mine = self._folder.rsplit("/", 1)[-1]
        for other in folder.iterdir() if folder.is_dir() else ():
            if other.name != mine:
                shutil.rmtree(other, ignore_errors=True)
        self._storage.remove_unfinished(self._folder)

    def _clear(self, folder: str) -> None:
        local = self._storage.local_path
        if local is not None:
            shutil.rmtree(local / folder, ignore_errors=True)
            return
        with contextlib.suppress(FileNotFoundError):
            self._storage.fs.rm(self._storage.path(folder), recursive=True)
