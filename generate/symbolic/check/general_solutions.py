"""Is a predicted y(x, c1[, c2]) a general solution? By numbers at the points of the generator, as few as decide.

A prediction is right when it holds at every point of one region of the constants at least (see ``equations``) where it and
the equation are finite: an equation or a solution that is true on part of the domain is so for part of the constants, and
which part is not asked of a prediction, nor is the column of the reference looked at. References of written pairs are right
by this rule: they were chosen by a stricter one, which lets nothing fail anywhere.
``particular``: it holds, but its constants do not matter or are one.
``partial``: it holds at some points of every region only. ``undecided``: fewer than 8 points in 2 regions of x where all is
finite. Differences too small to be a mistake are looked at again with 40 digits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import COEFFICIENTS, IDS, UNKNOWNS
from mathpipe.generate.outcomes import SYMBOLIC_OUTCOMES, Judged
from mathpipe.generate.symbolic.check.ode_solutions import (
    TOLERANCE,
    Substitution,
    enough,
    holding,
    holding_regions,
    substitute,
)
from mathpipe.generate.symbolic.check.solution_points import Order, Points

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

DOUBTFUL = 1e-3  # a residual below this may be rounding: looked at again
MOST_LOOKED_AT = 16  # points of one prediction that are looked at again
_NAMES = ("exact", "equivalent", "particular", "partial", "wrong_value", "malformed", "undecided")
EXACT, EQUIVALENT, PARTICULAR, PARTIAL, WRONG_VALUE, MALFORMED, UNDECIDED = map(SYMBOLIC_OUTCOMES.index, _NAMES)


def judge_order(order: Order, problems: Sequences, references: Sequences, predicted: Sequences) -> Judged:
    """Outcome of each predicted solution, and the share of the points looked at where it holds.

    What holds at all of a few points from every region of the constants is right, what fails at all of them is wrong; only the rest
    is put in at all points.
    """
    outcome = np.full(len(problems), UNDECIDED, dtype=np.int8)
    share = np.zeros(len(problems))
    readable = _words_fit(order, predicted)
    outcome[~readable] = MALFORMED
    left = np.flatnonzero(readable)
    first = substitute(order, order.first_points, problems.take(left), predicted.take(left))
    outcome[left[~first.well_formed]] = MALFORMED
    good = first.well_formed & holding(first)[:, 0]
    wrong = first.well_formed & _fails_throughout(first) & enough(first.finite, first.points, 0)
    outcome[left[good]], share[left[good]], outcome[left[wrong]] = EQUIVALENT, 1.0, WRONG_VALUE
    left = left[first.well_formed & ~good & ~wrong]
    outcome[left], share[left] = _at_all_points(order, problems.take(left), predicted.take(left))
    outcome[references.same(predicted) & (outcome == EQUIVALENT)] = EXACT
    return Judged(outcome, {"share": np.where(outcome == MALFORMED, np.nan, share)})


def _fails_throughout(found: Substitution) -> Mask:
    with np.errstate(invalid="ignore"):
        return np.asarray(~(found.residual <= DOUBTFUL).any(axis=1))


def _at_all_points(order: Order, problems: Sequences, predicted: Sequences) -> tuple[NDArray[np.int8], Floats]:
    """(outcomes, shares) of what the first look left open."""
    found = substitute(order, order.points, problems, predicted)
    for i in np.flatnonzero(~holding(found).any(axis=1)).tolist():
        _look_again(order, problems[i], predicted[i], found.points, found.residual[i], found.scale[i])
    found = found.at(np.ones(len(problems), dtype=bool))  # what was derived from the residuals is derived again
    regions = range(len(order.regions))
    enough_finite = np.any([enough(found.finite, found.points, r) for r in regions], axis=0)
    outcome = np.select(
        [
            holding_regions(order, found, problems, predicted).any(axis=1),
            holding_regions(order, found, problems, predicted, general=False).any(axis=1),
            ~found.value_finite.any(axis=1),
            ~enough_finite,
            (found.zero & found.informative).any(axis=1) & (found.finite & ~found.zero).any(axis=1),
            (found.finite & ~found.zero).any(axis=1),
        ],
        [EQUIVALENT, PARTICULAR, WRONG_VALUE, UNDECIDED, PARTIAL, WRONG_VALUE],
        default=UNDECIDED,
    ).astype(np.int8)
    return outcome, found.zero.sum(axis=1) / np.maximum(found.finite.sum(axis=1), 1)


def _look_again(
    order: Order, equation: bytes, solution: bytes, points: Points, residuals: Floats, scale: Floats
) -> None:
    """Decide with 40 digits where 16 were not enough; the residuals are changed in place.

    Only regions in which most points are zero or doubtful, and in each the largest residual: where
    that is confirmed, the region fails.
    """
    from mathpipe.generate.symbolic.check.high_precision_residual import residual  # mpmath, which few predictions need

    left = MOST_LOOKED_AT
    with np.errstate(invalid="ignore"):
        near, defined = residuals <= DOUBTFUL, ~np.isnan(residuals)
    for region in range(len(order.regions)):
        mine = points.region == region
        doubts = np.flatnonzero(mine & defined & ~(residuals <= TOLERANCE))
        if 3 * int((near & mine).sum()) < 2 * int((defined & mine).sum()):
            continue
        for k in doubts[np.argsort(-residuals[doubts], kind="stable")].tolist():
            if not left:
                return
            left -= 1
            again = residual(order, equation, solution, complex(points.x[k]), points.constants[:, k].tolist())
            residuals[k] = np.nan if again is None or not scale[k] > 0 else again / scale[k]
            if residuals[k] > TOLERANCE:
                break


def _words_fit(order: Order, predicted: Sequences) -> Mask:
    """Which predictions use x, the constants, numbers and functions only."""
    foreign = {"y", "z", "t", *UNKNOWNS, *COEFFICIENTS} - set(order.constants)
    owner = np.repeat(np.arange(len(predicted)), predicted.lengths)
    bad = np.isin(predicted.values, [IDS[name] for name in foreign])
    return np.asarray(np.bincount(owner[bad], minlength=len(predicted)) == 0)
