"""Outcomes of predicted token sequences, shared by generation, verification and evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Outcomes of predictions for symbolic problems; the first two are correct.
SYMBOLIC_OUTCOMES = (
    *("exact", "equivalent", "particular", "partial", "wrong_value"),
    *("malformed", "unterminated", "undecided", "timeout"),
)


@dataclass(frozen=True)
class Verification:
    """n verified predictions: ``outcome`` (n,) int8, indices into ``task.outcomes``; ``measures``: more columns, NaN if unknown."""

    outcome: NDArray[np.int8]
    measures: dict[str, NDArray[np.float64]] = field(default_factory=dict)
