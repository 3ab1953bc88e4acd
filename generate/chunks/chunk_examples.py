"""The examples that one chunk gives to a split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mathpipe.datasets.format.examples import Examples


@dataclass(frozen=True)
class ChunkExamples:
    """A chunk's examples of one split, and how many problems were rejected, by reason, until the chunk was full."""

    examples: Examples
    rejected: dict[str, int]

    def head(self, count: int) -> ChunkExamples:
        """The first ``count`` examples."""
        if count == len(self.examples):
            return self
        return ChunkExamples(self.examples.take(np.arange(count)), self.rejected)
