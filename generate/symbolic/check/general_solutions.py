"""Numerical verification of predicted general solutions y(x, c1[, c2]), with as few points as decide.

A prediction is right if it holds at every point of at least one region of the constants (see ``ode_solutions``) where it and the
equation are finite. An equation or solution may be valid for a part of the constants only; which part is not asked of a
prediction, and the column of the reference is ignored. References of stored pairs are right by this rule, since generation
uses a stricter one that tolerates no failure.
``particular``: the prediction holds, but its constants have no effect or are equivalent.
``partial``: it holds only at some points of every region. ``undecided``: fewer than 8 points in 2 regions of x are finite.
Small residuals are rechecked with 40 digits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.vocabulary import COEFFICIENTS, IDS, UNKNOWNS
from mathpipe.generate.outcomes import SYMBOLIC_OUTCOMES, Verification
from mathpipe.generate.symbolic.check.ode_solutions import (
    TOLERANCE,
    Substitution,
    confirm_regions,
    has_enough_points,
    regions_solved,
    substitute,
)
from mathpipe.generate.symbolic.check.solution_points import OdeOrder, Points

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

RECHECK_BELOW = 1e-3  # a residual below this may be a rounding error and is rechecked
MAX_RECHECKS = 16  # points rechecked for one prediction
_NAMES = ("exact", "equivalent", "particular", "partial", "wrong_value", "malformed", "undecided")
EXACT, EQUIVALENT, PARTICULAR, PARTIAL, WRONG_VALUE, MALFORMED, UNDECIDED = map(SYMBOLIC_OUTCOMES.index, _NAMES)


def verify_general_solutions(
    order: OdeOrder, problems: Sequences, references: Sequences, predicted: Sequences
) -> Verification:
    """The outcome of each predicted solution, and the fraction of the evaluated points at which it holds.

    A prediction that holds at all coarse points is right, one that fails at all of them is wrong; only the others are evaluated
    at all points.
    """
    outcome = np.full(len(problems), UNDECIDED, dtype=np.int8)
    satisfied_fraction = np.zeros(len(problems))
    allowed = _tokens_allowed(order, predicted)
    outcome[~allowed] = MALFORMED
    open_rows = np.flatnonzero(allowed)
    first = substitute(order, order.coarse_points, problems.take(open_rows), predicted.take(open_rows))
    outcome[open_rows[~first.well_formed]] = MALFORMED
    right = first.well_formed & regions_solved(first)[:, 0]
    wrong = first.well_formed & _fails_everywhere(first) & has_enough_points(first.finite, first.points, 0)
    outcome[open_rows[right]], satisfied_fraction[open_rows[right]], outcome[open_rows[wrong]] = (
        EQUIVALENT,
        1.0,
        WRONG_VALUE,
    )
    open_rows = open_rows[first.well_formed & ~right & ~wrong]
    outcome[open_rows], satisfied_fraction[open_rows] = _at_all_points(
        order, problems.take(open_rows), predicted.take(open_rows)
    )
    outcome[references.equals(predicted) & (outcome == EQUIVALENT)] = EXACT
    return Verification(outcome, {"satisfied_fraction": np.where(outcome == MALFORMED, np.nan, satisfied_fraction)})


def _fails_everywhere(full: Substitution) -> Mask:
    with np.errstate(invalid="ignore"):
        return np.asarray(~(full.residual <= RECHECK_BELOW).any(axis=1))


def _at_all_points(order: OdeOrder, problems: Sequences, predicted: Sequences) -> tuple[NDArray[np.int8], Floats]:
    """(outcomes, satisfied fractions) of predictions that the coarse points leave undecided."""
    full = substitute(order, order.points, problems, predicted)
    for i in np.flatnonzero(~regions_solved(full).any(axis=1)).tolist():
        _recheck_in_high_precision(order, problems[i], predicted[i], full.points, full.residual[i], full.scale[i])
    full = full.select(np.ones(len(problems), dtype=bool))  # a copy: cached properties are recomputed
    regions = range(len(order.regions))
    enough_finite = np.any([has_enough_points(full.finite, full.points, r) for r in regions], axis=0)
    outcome = np.select(
        [
            confirm_regions(order, full, problems, predicted).any(axis=1),
            confirm_regions(order, full, problems, predicted, general=False).any(axis=1),
            ~full.value_finite.any(axis=1),
            ~enough_finite,
            (full.zero & full.informative).any(axis=1) & (full.finite & ~full.zero).any(axis=1),
            (full.finite & ~full.zero).any(axis=1),
        ],
        [EQUIVALENT, PARTICULAR, WRONG_VALUE, UNDECIDED, PARTIAL, WRONG_VALUE],
        default=UNDECIDED,
    ).astype(np.int8)
    return outcome, full.zero.sum(axis=1) / np.maximum(full.finite.sum(axis=1), 1)


def _recheck_in_high_precision(
    order: OdeOrder, equation: bytes, solution: bytes, points: Points, residuals: Floats, scale: Floats
) -> None:
    """Decide with 40 digits where 16 were not enough; updates ``residuals`` in place.

    Rechecks only regions where most residuals are small, the largest residual first: once it is confirmed, the region fails.
    """
    from mathpipe.generate.symbolic.check.high_precision_residual import residual  # imports mpmath; rarely needed

    rechecks_left = MAX_RECHECKS
    with np.errstate(invalid="ignore"):
        small, defined = residuals <= RECHECK_BELOW, ~np.isnan(residuals)
    for region in range(len(order.regions)):
        in_region = points.region == region
        doubtful = np.flatnonzero(in_region & defined & ~(residuals <= TOLERANCE))
        if 3 * int((small & in_region).sum()) < 2 * int((defined & in_region).sum()):
            continue
        for k in doubtful[np.argsort(-residuals[doubtful], kind="stable")].tolist():
            if not rechecks_left:
                return
            rechecks_left -= 1
            precise_residual = residual(
                order, equation, solution, complex(points.x[k]), points.constants[:, k].tolist()
            )
            residuals[k] = np.nan if precise_residual is None or not scale[k] > 0 else precise_residual / scale[k]
            if residuals[k] > TOLERANCE:
                break


def _tokens_allowed(order: OdeOrder, predicted: Sequences) -> Mask:
    """Which predictions use only x, the constants, numbers and functions."""
    foreign = {"y", "z", "t", *UNKNOWNS, *COEFFICIENTS} - set(order.constants)
    owner = np.repeat(np.arange(len(predicted)), predicted.lengths)
    is_foreign = np.isin(predicted.values, [IDS[name] for name in foreign])
    return np.asarray(np.bincount(owner[is_foreign], minlength=len(predicted)) == 0)
