"""How to decode, and what was decoded: plain values and arrays, so that reading predictions does without torch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
BEAM = 10  # hypotheses of `mathpipe solve`, whose help does without torch


@dataclass(frozen=True)
class Decoding:
    """How to decode. ``temperature`` 0: no sampling; else ``samples`` sequences per problem, by ``seed``.

    The samples of a row depend on the seed and the row's number, not on its batch.
    """

    beam: int = 1
    length_penalty: float = 1.0
    early_stopping: bool = True
    temperature: float = 0.0
    samples: int = 1
    seed: int = 0
    constrained: bool = False

    @property
    def hypotheses(self) -> int:
        """Maximum number of hypotheses per problem."""
        return self.samples if self.temperature else self.beam

    def __str__(self) -> str:
        if self.temperature:
            decoding = f"sampling, temperature {self.temperature:g}, {self.samples} per problem, seed {self.seed}"
        elif self.beam > 1:
            stop = "" if self.early_stopping else ", no early stopping"
            decoding = f"beam {self.beam}, length penalty {self.length_penalty:g}{stop}"
        else:
            decoding = "greedy"
        return decoding + (", constrained by the grammar" if self.constrained else "")


GREEDY = Decoding()


@dataclass(frozen=True)
class Hypotheses:
    """m hypotheses; those of one problem are contiguous, the best first.

    ``tokens`` (m, L) int64: everything generated, END included, then PAD; ``log_probability`` (m,) float64; ``problem`` (m,):
    row of its source; ``rank`` (m,): 0 for the best of its problem. By default one hypothesis per row, in order.
    """

    tokens: Ints
    log_probability: NDArray[np.float64]
    problem: Ints = field(default=None)  # type: ignore[arg-type]
    rank: Ints = field(default=None)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        if self.problem is None:
            object.__setattr__(self, "problem", np.arange(len(self.tokens)))
        if self.rank is None:
            object.__setattr__(self, "rank", np.zeros(len(self.tokens), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.tokens)
