"""A second look at pairs that were found by numbers: at points far out, where functions that agree near zero part.

asin(cos x) has the derivative of -|x| until pi, and cosh(x + 5) is hard to tell from e^(x + 5) / 2 on the right. A pair fails where
both sides have a value and differ by more than 1e-6, and 40 digits confirm it: large polynomials cancel out there.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.symbolic.check.antiderivatives import HUGE, TINY, TOLERANCE, Mask, integrands
from mathpipe.generate.symbolic.numeric.array_programs import compile_expressions
from mathpipe.generate.symbolic.numeric.taylor import SLOPES, VALUES, Complex, evaluate

POINTS = np.array(
    [
        *(3.3917, 4.9671, 7.7391, -3.6029, -5.4131, -8.2377),
        *(4.2113 + 0.7331j, 6.1127 - 1.2893j, -4.7713 - 0.6129j, -6.9377 + 1.4519j),
    ]
)
CLOSE = 1e-6


def confirmed(problems: Sequences, solutions: Sequences, right: Mask, rejected: Counter[str]) -> Mask:
    """Which of the pairs that are ``right`` so far hold far out too; the others are counted."""
    index = np.flatnonzero(right)
    holding = holds_far(integrands(problems.take(index)), solutions.take(index))
    if not holding.all():
        rejected["does not hold far out"] += int((~holding).sum())
    kept = np.zeros(len(right), dtype=np.bool_)
    kept[index[holding]] = True
    return kept


def holds_far(f: Sequences, primitives: Sequences) -> Mask:
    """Which pairs hold at every far point where both sides have a value (n,)."""
    x = np.stack([POINTS, np.ones(len(POINTS))])
    wanted = evaluate(compile_expressions(f), VALUES, {"x": x[:1]}, len(POINTS))[0]
    found = evaluate(compile_expressions(primitives), SLOPES, {"x": x}, len(POINTS))[1]
    with np.errstate(all="ignore"):
        usable = _usable(wanted) & _usable(found)
        differ = usable & ~(np.abs(found - wanted) <= CLOSE * np.maximum(np.abs(found), np.abs(wanted)))
    holding: Mask = np.asarray(~differ.any(axis=1))
    if not holding.all():
        from mathpipe.generate.symbolic.numeric.high_precision import slope_difference  # mpmath, which few batches need
    for i in np.flatnonzero(~holding).tolist():
        again = (slope_difference(f[i], primitives[i], complex(POINTS[k])) for k in np.flatnonzero(differ[i]))
        holding[i] = all(d is None or d <= TOLERANCE for d in again)
    return holding


def _usable(values: Complex) -> Mask:
    size = np.abs(values)
    return np.asarray(np.isfinite(values) & (size > TINY) & (size < HUGE))
