"""What an evaluation tells whoever shows its progress. Nothing is shown by default."""

from __future__ import annotations

from typing import Protocol


class EvaluationProgress(Protocol):
    """``start`` once, ``advance`` after each batch of problems, ``close`` once, however decoding ends."""

    def start(self, total: int) -> None:
        """``total``: problems to decode, those of an earlier session included."""

    def advance(self, count: int, *, fresh: bool = True) -> object:
        """``count`` more problems; not ``fresh``: an earlier session decoded them."""

    def close(self) -> None: ...


class NoProgress:
    """Shows nothing."""

    def start(self, total: int) -> None:
        pass

    def advance(self, count: int, *, fresh: bool = True) -> None:
        pass

    def close(self) -> None:
        pass
