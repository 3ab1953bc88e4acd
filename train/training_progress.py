"""The progress interface of training. By default nothing is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class TrainingProgress(Protocol):
    """Called on rank zero only: ``start`` once, ``step`` after each step, ``close`` once, also after errors."""

    def start(self, step: int, steps: int, batch: int) -> None:
        """Earlier sessions took ``step`` of ``steps`` steps of ``batch`` examples each."""

    def step(self, metrics: Mapping[str, float]) -> None:
        """After each step. ``metrics``: the logged values of this step (``train_loss``, ``lr``, ``seconds``, ...), or empty."""

    def close(self) -> None: ...


class NoProgress:
    """Shows nothing."""

    def start(self, step: int, steps: int, batch: int) -> None:
        pass

    def step(self, metrics: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        pass
