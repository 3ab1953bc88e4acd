"""Recheck pairs at large arguments, where functions that agree near zero differ.

asin(cos x) has the derivative of -|x| until pi, and cosh(x + 5) is hard to distinguish from e^(x + 5) / 2 for positive x. A pair
fails if both sides have a value and differ by more than 1e-6, and 40 digits confirm it: large polynomials lose digits there.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.symbolic.check.antiderivatives import HUGE, TINY, TOLERANCE, Mask, integrands
from mathpipe.generate.symbolic.numeric.array_programs import compile_expressions
from mathpipe.generate.symbolic.numeric.taylor import FIRST_DERIVATIVES, VALUES, Complex, evaluate

POINTS = np.array(
    [
        *(3.3917, 4.9671, 7.7391, -3.6029, -5.4131, -8.2377),
        *(4.2113 + 0.7331j, 6.1127 - 1.2893j, -4.7713 - 0.6129j, -6.9377 + 1.4519j),
    ]
)
CLOSE = 1e-6


def check_large_arguments(problems: Sequences, solutions: Sequences, right: Mask, rejected: Counter[str]) -> Mask:
    """Which of the pairs that are ``right`` so far also hold at large arguments; the others are counted."""
    index = np.flatnonzero(right)
    agree = agree_at_large_arguments(integrands(problems.take(index)), solutions.take(index))
    if not agree.all():
        rejected["fails at large arguments"] += int((~agree).sum())
    confirmed = np.zeros(len(right), dtype=np.bool_)
    confirmed[index[agree]] = True
    return confirmed


def agree_at_large_arguments(f: Sequences, primitives: Sequences) -> Mask:
    """Which pairs (n,) hold at every large argument where both sides have a value."""
    x = np.stack([POINTS, np.ones(len(POINTS))])
    expected = evaluate(compile_expressions(f), VALUES, {"x": x[:1]}, len(POINTS))[0]
    derivative = evaluate(compile_expressions(primitives), FIRST_DERIVATIVES, {"x": x}, len(POINTS))[1]
    with np.errstate(all="ignore"):
        usable = _usable(expected) & _usable(derivative)
        differ = usable & ~(np.abs(derivative - expected) <= CLOSE * np.maximum(np.abs(derivative), np.abs(expected)))
    agree: Mask = np.asarray(~differ.any(axis=1))
    if not agree.all():
        from mathpipe.generate.symbolic.numeric.high_precision import derivative_error  # imports mpmath; rarely needed
    for i in np.flatnonzero(~agree).tolist():
        precise_errors = (derivative_error(f[i], primitives[i], complex(POINTS[k])) for k in np.flatnonzero(differ[i]))
        agree[i] = all(d is None or d <= TOLERANCE for d in precise_errors)
    return agree


def _usable(values: Complex) -> Mask:
    size = np.abs(values)
    return np.asarray(np.isfinite(values) & (size > TINY) & (size < HUGE))
