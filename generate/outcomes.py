"""What may become of a prediction that is written as words, named once for generation, verification and evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Of predictions for symbolic problems; the first two are right.
SYMBOLIC_OUTCOMES = (
    *("exact", "equivalent", "particular", "partial", "wrong_value"),
    *("malformed", "unterminated", "undecided", "timeout"),
)


@dataclass(frozen=True)
class Judged:
    """n predictions judged: ``outcome`` (n,) int8, places in the task's ``outcomes``; ``measures``: more columns, NaN unknown."""

    outcome: NDArray[np.int8]
    measures: dict[str, NDArray[np.float64]] = field(default_factory=dict)
