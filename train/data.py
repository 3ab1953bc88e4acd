"""The data interface of training: a split of problems and an endless stream of its batches.

``mathpipe.datasets.dataset.Dataset`` implements it; tests use a smaller implementation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch

from mathpipe.datasets.containers.token_batches import Batch
from mathpipe.datasets.format.examples import Examples
from mathpipe.datasets.tokenizers.tokenizer import Tokenizer


class Batches(Protocol):
    """An endless, resumable stream of batches (``mathpipe.datasets.loader.BatchStream``)."""

    def __next__(self) -> Batch: ...
    def state_dict(self) -> dict[str, int | str]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


class TrainingData(Protocol):
    """One split of a dataset (``mathpipe.datasets.dataset.Dataset``)."""

    @property
    def directory(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def spec(self) -> dict[str, Any]: ...
    @property
    def digest(self) -> str: ...
    @property
    def source(self) -> Tokenizer: ...
    @property
    def target(self) -> Tokenizer: ...
    def batches(
        self, size: int, seed: int = 0, device: str | torch.device = "cpu", rank: int = 0, world_size: int = 1
    ) -> Batches: ...
    def chunks(self, size: int = 10_000, start: int = 0, stop: int | None = None) -> Iterator[Examples]: ...
    def batch(self, rows: Examples, device: str | torch.device = "cpu") -> Batch: ...
