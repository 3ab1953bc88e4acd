"""Interface for progress display. Nothing is displayed by default."""

from __future__ import annotations

from typing import Protocol


class EvaluationProgress(Protocol):
    """``start`` is called once, ``advance`` after each batch, ``close`` once, also after an error."""

    def start(self, total: int) -> None:
        """``total``: number of problems, including those an interrupted evaluation already decoded."""

    def advance(self, count: int, *, fresh: bool = True) -> object:
        """``count`` more problems; not ``fresh``: an interrupted evaluation decoded them."""

    def close(self) -> None: ...


class NoProgress:
    """Displays nothing."""

    def start(self, total: int) -> None:
        pass

    def advance(self, count: int, *, fresh: bool = True) -> None:
        pass

    def close(self) -> None:
        pass
