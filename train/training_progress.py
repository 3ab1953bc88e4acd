"""What training tells whoever shows its progress. Nothing is shown by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class TrainingProgress(Protocol):
    """Called on rank zero alone: ``start`` once, ``step`` after each step, ``close`` once, however training ends."""

    def start(self, step: int, steps: int, batch: int) -> None:
        """``step`` of ``steps`` were taken in earlier sessions; a step has ``batch`` examples."""

    def step(self, measured: Mapping[str, float]) -> None:
        """One more step. ``measured``: its point on the curves (``train_loss``, ``lr``, ``seconds``, metrics), or empty."""

    def close(self) -> None: ...


class NoProgress:
    """Shows nothing."""

    def start(self, step: int, steps: int, batch: int) -> None:
        pass

    def step(self, measured: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        pass
