"""Which generated pairs of differential equations are kept, and for which constants they hold.

Double precision at fixed points only rejects, and says in which regions of the constants there are enough values, and whether they
depend on the constants. A pair that fails nowhere is kept if the equation with its solution expands to 0 (``expanded_solution``),
or if its solution would be equivalent as a prediction: by a proof, or by balls at the verifier's points, where no denser point off
the real axis refutes it. So no stored solution is right on the reals alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.symbolic.check.exact.expanded_solution import solution_expands
from mathpipe.generate.symbolic.check.general_solutions import holds_at_points, is_proven
from mathpipe.generate.symbolic.check.ode_solutions import Mask, Substitution, regions_solved, substitute
from mathpipe.generate.symbolic.check.solution_points import OdeOrder


def is_solution(
    order: OdeOrder, equations: Sequences, solutions: Sequences
) -> tuple[NDArray[np.uint8], dict[str, Mask]]:
    """(bit mask of the regions of the constants in which each pair is right, 0 for none; for each reason the pairs it rejects)."""
    substitution = substitute(order, order.points, equations, solutions)
    regions = regions_solved(substitution)
    fails = _fails(substitution)
    candidates = regions.any(axis=1) & ~fails
    right = np.array(
        [k and _expands(order, equations[i], solutions[i]) for i, k in enumerate(candidates)], dtype=np.bool_
    )
    rest = np.flatnonzero(candidates & ~right)
    right[rest] = [is_proven(order, equations[i], solutions[i]) for i in rest.tolist()]
    rest = rest[~right[rest]]
    if len(rest):
        rest = rest[~_fails(substitute(order, order.dense_points, equations.take(rest), solutions.take(rest)))]
        right[rest] = [holds_at_points(order, equations[i], solutions[i]) for i in rest.tolist()]
    regions[~right] = False
    mask = (regions * (1 << np.arange(regions.shape[1]))).sum(axis=1).astype(np.uint8)
    holds_somewhere = (substitution.zero & substitution.informative).any(axis=1)
    return mask, {
        "holds on part of the domain": fails & holds_somewhere,
        "does not hold": fails & ~holds_somewhere,
        "too few test points": ~fails & ~candidates,
        "not confirmed": candidates & ~right,
    }


def is_quickly_confirmed(order: OdeOrder, equations: Sequences, solutions: Sequences) -> Mask:
    """Which stored pairs (n,) are kept without the verifier of predictions."""
    substitution = substitute(order, order.points, equations, solutions)
    confirmed = regions_solved(substitution).any(axis=1) & ~_fails(substitution)
    for i in np.flatnonzero(confirmed).tolist():
        confirmed[i] = _expands(order, equations[i], solutions[i])
    return confirmed


def _fails(substitution: Substitution) -> Mask:
    return np.asarray((substitution.finite & ~substitution.zero).any(axis=1))


def _expands(order: OdeOrder, equation: bytes, solution: bytes) -> bool:
    return solution_expands(equation, solution, order.unknowns, order.constants)
