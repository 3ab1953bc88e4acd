"""Keep the pairs that hold beyond the points of double precision, and on every interval between critical points.

asin(cos x) has the derivative of -|x| until pi, and cosh(x + 5) is hard to distinguish from e^(x + 5) / 2 for positive x. A pair
that was found by its values is kept if its outcome as a prediction is right; nothing timed decides.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.symbolic.check.antiderivatives import holds, integrands
from mathpipe.generate.symbolic.check.pair_values import Mask


def check_large_arguments(problems: Sequences, solutions: Sequences, right: Mask, rejected: Counter[str]) -> Mask:
    """Which of the pairs that are ``right`` so far hold everywhere; the others are counted."""
    index = np.flatnonzero(right)
    agree = holds(integrands(problems.take(index)), solutions.take(index))
    if not agree.all():
        rejected["fails at large arguments"] += int((~agree).sum())
    confirmed = np.zeros(len(right), dtype=np.bool_)
    confirmed[index[agree]] = True
    return confirmed
