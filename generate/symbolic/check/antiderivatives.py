"""Is F a primitive of f? By numbers: F' from Taylor rules against f, at points of several regions, real and complex.

Two numbers agree when they differ by at most 1e-9 of the larger. At generation a pair is kept only if both sides are finite
at 8 points or more, agree wherever f has a value, and F is no constant. A prediction is compared wherever f is defined; where it is
undefined itself it is wrong there. Differences too small to be a mistake are looked at again with 40 digits; where f has too
few values, SymPy is asked in bounded time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.outcomes import SYMBOLIC_OUTCOMES, Judged
from mathpipe.generate.symbolic.check.sympy_fallback import shared_cas
from mathpipe.generate.symbolic.numeric.array_programs import compile_expressions
from mathpipe.generate.symbolic.numeric.points import IS_REAL, POINTS, enough
from mathpipe.generate.symbolic.numeric.taylor import SLOPES, VALUES, Complex, evaluate

Mask = NDArray[np.bool_]

TOLERANCE = 1e-9
DOUBTFUL = 1e-3  # a difference below this may be rounding: looked at again
TINY, HUGE = 1e-200, 1e200
PREFIX = bytes([IDS["sub"], IDS["Y'"]])
"""A written problem is ``sub Y' f``."""
_CHUNK = 256
_ALLOWED = np.zeros(256, dtype=bool)  # words a prediction may use: x is the only variable
_ALLOWED[
    [k for name, k in IDS.items() if name not in {"y", "z", "t", "Y", "Y'", "Y''", *(f"a{k}" for k in range(10))}]
] = True
_NOT_ANALYTIC = (IDS["abs"], IDS["sign"])
(EXACT, EQUIVALENT, PARTIAL, WRONG_VALUE, MALFORMED, UNDECIDED) = (
    SYMBOLIC_OUTCOMES.index(name)
    for name in ("exact", "equivalent", "partial", "wrong_value", "malformed", "undecided")
)


def integrands(problems: Sequences) -> Sequences:
    """f of each ``sub Y' f``; empty, which is malformed, where a problem is written otherwise."""
    starts = problems.offsets[:-1]
    long = problems.lengths > len(PREFIX)
    at = np.minimum(starts, max(len(problems.values) - 2, 0))
    written = (
        long & (problems.values[at] == PREFIX[0]) & (problems.values[at + 1] == PREFIX[1]) if len(problems) else long
    )
    lengths = np.where(written, problems.lengths - len(PREFIX), 0)
    within = np.arange(len(problems.values)) - np.repeat(starts, problems.lengths)
    kept = np.repeat(written, problems.lengths) & (within >= len(PREFIX))
    return Sequences(problems.values[kept], lengths)


@dataclass(frozen=True)
class Comparison:
    """f (n, K), F' (n, K) and F (n, K) at the fixed points, NaN where malformed."""

    wanted: Complex
    slope: Complex
    value: Complex
    well_formed: Mask

    def both_finite(self) -> Mask:
        return _usable(self.wanted) & _usable(self.slope)

    def difference(self) -> NDArray[np.float64]:
        """|F' - f| relative to the larger; infinite where F' is undefined and f is not."""
        with np.errstate(all="ignore"):
            apart = np.abs(self.slope - self.wanted)
            found = np.where(apart == 0, 0.0, apart / np.maximum(np.abs(self.wanted), np.abs(self.slope)))
        return np.where(np.isfinite(found), found, np.inf)


def compare(f: Sequences, primitives: Sequences) -> Comparison:
    """Both sides at every point, a few hundred rows at a time."""
    parts = [
        _compare(f.take(np.arange(a, min(a + _CHUNK, len(f)))), primitives.take(np.arange(a, min(a + _CHUNK, len(f)))))
        for a in range(0, len(f), _CHUNK)
    ]
    if not parts:
        empty = np.empty((0, len(POINTS)), dtype=np.complex128)
        return Comparison(empty, empty, empty, np.empty(0, dtype=bool))
    return Comparison(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("wanted", "slope", "value", "well_formed")
        )
    )


def _compare(f: Sequences, primitives: Sequences) -> Comparison:
    x = np.stack([POINTS, np.ones(len(POINTS))])
    left, right = compile_expressions(f), compile_expressions(primitives)
    wanted = evaluate(left, VALUES, {"x": x[:1]}, len(POINTS))[0]
    value, slope = evaluate(right, SLOPES, {"x": x}, len(POINTS))
    return Comparison(wanted, slope, value, right.well_formed & left.well_formed)


def holds(f: Sequences, primitives: Sequences) -> tuple[Mask, dict[str, Mask]]:
    """(pairs that are right beyond doubt (n,), why the others are not kept)."""
    found = compare(f, primitives)
    usable = found.both_finite()
    decided = enough(usable)
    same = ((found.difference() <= TOLERANCE) | ~_usable(found.wanted)).all(axis=1)
    constant = ~_varies(found.value, usable)
    right = decided & same & ~constant
    return right, {
        "undecided by numbers": ~decided,
        "does not hold everywhere": decided & ~same,
        "constant": decided & same & constant,
    }


def _varies(value: Complex, usable: Mask) -> Mask:
    """Which rows take different values at their usable points, beyond rounding."""
    first = np.take_along_axis(value, usable.argmax(axis=1)[:, None], axis=1)
    with np.errstate(all="ignore"):
        spread = np.where(usable, np.abs(value - first), 0.0).max(axis=1, initial=0.0)
        size = np.where(usable, np.abs(value), 0.0).max(axis=1, initial=0.0)
    return np.asarray(spread > 1e-9 * size)


def judge(problems: Sequences, references: Sequences, predicted: Sequences) -> Judged:
    """Outcome of each predicted primitive, and the share of points at which it holds."""
    f = integrands(problems)
    found = compare(f, predicted)
    n = len(f)
    words_fit = np.bincount(np.repeat(np.arange(n), predicted.lengths)[~_ALLOWED[predicted.values]], minlength=n) == 0
    special = np.isin(predicted.values, _NOT_ANALYTIC) if len(predicted.values) else np.zeros(0, dtype=bool)
    has_abs = np.bincount(np.repeat(np.arange(n), predicted.lengths)[special], minlength=n) > 0
    defined = _usable(found.wanted) & (IS_REAL | ~has_abs[:, None])
    difference = np.where(defined, found.difference(), 0.0)
    agree = defined & (difference <= TOLERANCE)
    doubtful = found.well_formed & words_fit & (defined & ~agree).any(axis=1)
    doubtful &= (defined & ~agree & (difference < DOUBTFUL)).any(axis=1) | agree.any(axis=1)
    for i in np.flatnonzero(doubtful).tolist():
        _look_again(f[i], predicted[i], defined[i], agree[i], difference[i])
    share = agree.sum(axis=1) / np.maximum(defined.sum(axis=1), 1)
    same_words = references.same(predicted)
    outcome = np.select(
        [
            ~(found.well_formed & words_fit),
            ~enough(defined),
            (agree | ~defined).all(axis=1) & same_words,
            (agree | ~defined).all(axis=1),
            agree.any(axis=1),
        ],
        [MALFORMED, UNDECIDED, EXACT, EQUIVALENT, PARTIAL],
        default=WRONG_VALUE,
    ).astype(np.int8)
    for i in np.flatnonzero(outcome == UNDECIDED).tolist():
        outcome[i] = _by_cas(f[i], predicted[i], exact=bool(same_words[i]))
    return Judged(outcome, {"share": np.where(outcome == MALFORMED, np.nan, share)})


def _by_cas(f: bytes, predicted: bytes, *, exact: bool) -> int:
    answer = shared_cas().is_primitive(f, predicted)
    return EXACT if exact and answer == "equivalent" else SYMBOLIC_OUTCOMES.index(answer)


def _look_again(f: bytes, predicted: bytes, defined: Mask, agree: Mask, difference: NDArray[np.float64]) -> None:
    """Decide with 40 digits where 16 were not enough; the points are changed in place.

    The largest difference first: where that is confirmed, other large ones are believed, and only small ones looked at.
    """
    from mathpipe.generate.symbolic.numeric.high_precision import slope_difference  # mpmath, which few predictions need

    believed = False
    open_points = np.flatnonzero(defined & ~agree)
    for k in open_points[np.argsort(-difference[open_points], kind="stable")]:
        if believed and difference[k] >= DOUBTFUL:
            continue
        again = slope_difference(f, predicted, complex(POINTS[k]))
        if again is None:
            defined[k] = False
        elif again <= TOLERANCE:
            agree[k] = True
        else:
            believed = True


def _usable(values: Complex) -> Mask:
    with np.errstate(all="ignore"):
        size = np.abs(values)
        return np.asarray(np.isfinite(values) & (size > TINY) & (size < HUGE))
