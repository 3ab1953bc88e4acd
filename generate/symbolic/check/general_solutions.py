"""Is y(x, c1[, c2]) the general solution of F(x, y, y'[, y'']) = 0?

Double precision at 16 points may reject: where it sees a failure everywhere, a ball of F that excludes 0 proves it. A prediction
is right if F = 0 is an exact identity in x and the constants, or if balls enclose 0 at points on every interval between critical
points, for constants of every sign. It must hold for all constants for which the reference holds; without a reference, for all.

``real_domain``: it holds wherever x, y and its derivatives are real. ``particular``: it holds, but its constants have no effect or
are equivalent. ``partial``: it holds in part. ``undecided``: too few points have a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Malformed, Tree, parse
from mathpipe.datasets.expressions.vocabulary import COEFFICIENTS, IDS, UNKNOWNS
from mathpipe.generate.outcomes import (
    ENCLOSED,
    EVIDENCE_COUNTS,
    NONE,
    PROVEN,
    SAMPLED,
    SYMBOLIC_OUTCOMES,
    Verification,
)
from mathpipe.generate.symbolic.check.exact.exact_identity import prove_solution
from mathpipe.generate.symbolic.check.exact.reciprocals import Condition
from mathpipe.generate.symbolic.check.ode_solutions import Substitution, has_enough_points, substitute
from mathpipe.generate.symbolic.check.point_checks import UNKNOWN_STATES, State
from mathpipe.generate.symbolic.check.real_evaluation import (
    depend_on_constants,
    equations_have_values,
    solution_fails,
)
from mathpipe.generate.symbolic.check.solution_checks import (
    Place,
    PlaceResult,
    RegionResult,
    SolutionCheck,
    SolutionPoints,
    by_region,
    uses,
)
from mathpipe.generate.symbolic.check.solution_points import OdeOrder
from mathpipe.generate.symbolic.numeric.array_programs import Program, compile_expressions
from mathpipe.generate.symbolic.numeric.common_subexpressions import eliminate_common_subexpressions

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

RECHECK_BELOW = 1e-3  # a residual below this may be a rounding error
MIN_ZEROS = 5
NEAR = 40.0  # further out e^-x beside x counts as zero, so such a zero does not make a wrong solution right in part
_CHUNK = 256  # rows evaluated together
ENOUGH = 8  # two for each region of the constants
_NAMES = ("exact", "equivalent", "particular", "partial", "wrong_value", "malformed", "undecided", "real_domain")
EXACT, EQUIVALENT, PARTICULAR, PARTIAL, WRONG_VALUE, MALFORMED, UNDECIDED, REAL_DOMAIN = map(
    SYMBOLIC_OUTCOMES.index, _NAMES
)


def verify_general_solutions(
    order: OdeOrder, problems: Sequences, references: Sequences, predicted: Sequences
) -> Verification:
    """The outcome of each predicted solution, its evidence, and the fraction of the evaluated points at which it holds."""
    n = len(problems)
    outcome = np.full(n, MALFORMED, dtype=np.int8)
    evidence = np.full(n, NONE, dtype=np.int8)
    satisfied_fraction = np.full(n, np.nan)
    counts = {name: np.full(n, np.nan) for name in EVIDENCE_COUNTS}
    rows = np.flatnonzero(_tokens_allowed(order, predicted))
    first = substitute(order, order.coarse_points, problems.take(rows), predicted.take(rows))
    fails_everywhere, witness = _witness_of_failure(first)
    proofs = _proofs(order, problems.take(rows), predicted.take(rows), first.well_formed, fails_everywhere)
    for k in np.flatnonzero(first.well_formed).tolist():
        i = int(rows[k])
        if proofs.fails[k]:
            outcome[i], evidence[i], satisfied_fraction[i] = WRONG_VALUE, PROVEN, 0.0
            continue
        pair = _Pair(order, problems[i], predicted[i], references[i], **proofs.of(k))
        if (witness[k] >= 0 and pair.fails_at(_place(first, int(witness[k])))) or (
            proofs.differs_everywhere[k] and pair.differs_at(_place(first, int(first.finite[k].argmax())))
        ):
            outcome[i], evidence[i], satisfied_fraction[i] = WRONG_VALUE, PROVEN, 0.0
            continue
        result = pair.result(disagrees=bool(fails_everywhere[k]))
        outcome[i], evidence[i], satisfied_fraction[i] = result.outcome, result.evidence, result.satisfied_fraction
        counts["points"][i] = result.points
    outcome[references.equals(predicted) & (outcome == EQUIVALENT)] = EXACT
    return Verification(outcome, {"satisfied_fraction": satisfied_fraction}, evidence, counts)


def is_proven(order: OdeOrder, equation: bytes, solution: bytes) -> bool:
    """Whether F = 0 is an exact identity for a solution whose values depend on its constants, as double precision has seen."""
    return _Pair(order, equation, solution, has_value=True).is_proven()


def holds_at_points(order: OdeOrder, equation: bytes, solution: bytes) -> bool:
    """Whether such a solution, without a proof, holds at the verifier's points for all real constants, off the axis too."""
    return _Pair(order, equation, solution, depends=True).result_at_points(disagrees=False).outcome == EQUIVALENT


def prove_general_solutions(order: OdeOrder, equations: Sequences, solutions: Sequences) -> Mask:
    """Which pairs (n,) are proven to be right, the solution depending on its constants; never a malformed one."""
    proven = _tokens_allowed(order, solutions)
    proven &= compile_expressions(equations).well_formed & compile_expressions(solutions).well_formed
    rows = np.flatnonzero(proven)
    well_formed, fails_everywhere = np.ones(len(rows), dtype=np.bool_), np.zeros(len(rows), dtype=np.bool_)
    proofs = _proofs(order, equations.take(rows), solutions.take(rows), well_formed, fails_everywhere)
    for k, i in enumerate(rows.tolist()):
        pair = _Pair(order, equations[i], solutions[i], solutions[i], **proofs.of(k))
        proven[i] = pair.is_proven_general()
    return proven


@dataclass(frozen=True)
class _Proofs:
    """What many pairs at once are known to do, (n,) each; False: not known.

    ``fails``: F is not zero at a point where all is real. ``has_value``: F has a value for constants of each region.
    ``depends``: y depends on its constants. ``differs_everywhere``: so says double precision at every dense point.
    """

    fails: Mask
    has_value: Mask
    depends: Mask
    differs_everywhere: Mask

    def of(self, k: int) -> dict[str, bool]:
        """What is known of a right pair."""
        return {"has_value": bool(self.has_value[k]), "depends": bool(self.depends[k])}


def _proofs(
    order: OdeOrder, problems: Sequences, predicted: Sequences, well_formed: Mask, fails_everywhere: Mask
) -> _Proofs:
    fails, has_value, depends, differs_everywhere = (np.zeros(len(problems), dtype=np.bool_) for _ in range(4))
    for r in _pieces(np.flatnonzero(well_formed & fails_everywhere)):
        fails[r] = solution_fails(order, order.coarse_points, *_compile(problems.take(r), predicted.take(r)))
    for r in _pieces(np.flatnonzero(well_formed & fails_everywhere & ~fails)):
        dense = substitute(order, order.dense_points, problems.take(r), predicted.take(r))
        with np.errstate(invalid="ignore"):
            differs_everywhere[r] = ~(dense.residual <= RECHECK_BELOW).any(axis=1)
    for r in _pieces(np.flatnonzero(well_formed & ~fails_everywhere)):
        equations, solutions = _compile(problems.take(r), predicted.take(r))
        has_value[r] = equations_have_values(order, equations, solutions)
        depends[r] = depend_on_constants(order, solutions)
    return _Proofs(fails, has_value, depends, differs_everywhere)


def _pieces(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[a : a + _CHUNK] for a in range(0, len(rows), _CHUNK)]


def _compile(problems: Sequences, predicted: Sequences) -> tuple[Program, Program]:
    return eliminate_common_subexpressions(compile_expressions(problems)), compile_expressions(predicted)


def _witness_of_failure(first: Substitution) -> tuple[Mask, NDArray[np.int64]]:
    """(rows that fail at every point, a point with real x of those; -1 for the others)."""
    with np.errstate(invalid="ignore"):
        fails = first.finite & (first.residual > RECHECK_BELOW) & (first.points.x.imag == 0)
        fails_everywhere = ~(first.residual <= RECHECK_BELOW).any(axis=1)
    fails_everywhere &= has_enough_points(first.finite, first.points, 0)
    return fails_everywhere, np.where(fails_everywhere & fails.any(axis=1), fails.argmax(axis=1), -1)


def _place(first: Substitution, k: int) -> Place:
    return Place(complex(first.points.x[k]), tuple(first.points.constants[:, k].real.tolist()), 0)


@dataclass(frozen=True)
class _Result:
    outcome: int
    evidence: int
    satisfied_fraction: float = field(default=0.0)
    points: float = field(default=np.nan)


class _Pair:
    """One equation and one predicted solution.

    ``has_value``: F has a value for constants of each region; ``depends``: y depends on its constants. False: not known.
    """

    def __init__(
        self,
        order: OdeOrder,
        equation: bytes,
        solution: bytes,
        reference: bytes = b"",
        *,
        has_value: bool = False,
        depends: bool = False,
    ) -> None:
        self._has_value, self._depends = has_value, depends
        self._order, self._ids, self._reference = order, (equation, solution), reference
        self._equation, self._solution = parse(equation), parse(solution)

    @cached_property
    def _check(self) -> SolutionCheck:
        return SolutionCheck(self._order, self._equation, self._solution)

    def fails_at(self, place: Place) -> bool:
        """Whether it is proven that F is not zero at a point where x, y and its derivatives are real."""
        point_result = self._check.at(place)
        return point_result.state is State.NONZERO and point_result.real

    def differs_at(self, place: Place) -> bool:
        """Whether it is proven that F is not zero at a point."""
        return self._check.at(place).state is State.NONZERO

    def result(self, *, disagrees: bool) -> _Result:
        """``disagrees``: double precision sees failures only, so that no proof is tried before points are."""
        if not disagrees and self.is_proven():
            return self._if_general(_Result(EQUIVALENT, PROVEN, 1.0))
        return self.result_at_points(disagrees=disagrees)

    def result_at_points(self, *, disagrees: bool) -> _Result:
        """The result without a proof; if double precision ``disagrees`` but no point does, one is tried."""
        point_results = self._point_results(until_failure=disagrees)
        zeros = sum(v.state is State.ZERO for v in point_results)
        failures = sum(v.state is State.NONZERO for v in point_results)
        fraction = zeros / max(zeros + failures, 1)
        outcome = self._outcome(point_results)
        if outcome in (PARTIAL, WRONG_VALUE):
            return _Result(outcome, PROVEN if failures else SAMPLED, fraction, float(zeros))
        if outcome == UNDECIDED:
            return _Result(outcome, NONE, fraction, float(zeros))
        if disagrees and self.is_proven():  # rounding errors
            return self._if_general(_Result(EQUIVALENT, PROVEN, 1.0))
        enclosed = not any(v.state in UNKNOWN_STATES for v in point_results)
        return self._if_general(_Result(outcome, ENCLOSED if enclosed else SAMPLED, fraction, float(zeros)))

    def is_proven_general(self) -> bool:
        """Whether F = 0 is an exact identity, and y depends on its constants."""
        return self.is_proven() and self._if_general(_Result(EQUIVALENT, PROVEN)).outcome == EQUIVALENT

    def is_proven(self) -> bool:
        """Whether F = 0 is an exact identity."""
        condition = prove_solution(self._equation, self._solution, self._order.unknowns, self._order.constants)
        return condition is not None and self._condition_holds(condition)

    def _point_results(self, *, until_failure: bool) -> list[PlaceResult]:
        """At every point; or at ``ENOUGH`` points if all fail, one of them where everything is real, and ``until_failure``."""
        point_results: list[PlaceResult] = []
        for place in self._points.all():
            point_results.append(self._check.at(place, expect_zero=not until_failure))
            if until_failure and len(point_results) >= ENOUGH:
                states = {v.state for v in point_results}
                if State.ZERO not in states and any(v.state is State.NONZERO and v.real for v in point_results):
                    break
        return point_results

    def _outcome(self, point_results: list[PlaceResult]) -> int:
        if all(v.state is State.ANSWER_UNDEFINED for v in point_results):
            return WRONG_VALUE
        zeros = sum(v.state is State.ZERO for v in point_results)
        regions = by_region(point_results, len(self._order.regions))
        if not any(region.failures for region in regions):
            return EQUIVALENT if zeros >= MIN_ZEROS else UNDECIDED
        if not any(v.state is State.ZERO and abs(v.place.x) <= NEAR for v in point_results):
            return WRONG_VALUE
        return self._outcome_in_part(regions)

    def _outcome_in_part(self, regions: list[RegionResult]) -> int:
        """Right if it holds, at least where all is real, in every region in which the reference holds."""
        required = self._regions_of_reference(regions)
        tried = [region for k, region in enumerate(regions) if k in required and region.zeros + region.failures]
        if tried and all(region.holds for region in tried):
            return EQUIVALENT
        real = [region for region in tried if region.real_zeros + region.real_failures]
        return REAL_DOMAIN if real and all(region.holds_where_real for region in real) else PARTIAL

    def _regions_of_reference(self, regions: list[RegionResult]) -> set[int]:
        """The regions of the constants in which the reference holds; all of them without a reference.

        ``regions``: the outcomes of the prediction, which may be the reference.
        """
        every = set(range(len(self._order.regions)))
        if not self._reference:
            return every
        if self._reference == self._ids[1]:
            return {k for k, region in enumerate(regions) if not region.real_failures} or every
        try:
            reference = parse(self._reference)
        except Malformed:
            return every
        check = SolutionCheck(self._order, self._equation, reference)
        points = SolutionPoints(
            self._order,
            reference,
            self._reference,
            real_only=self._real_only or _not_analytic(reference),
        )
        regions = by_region([check.at(place) for place in points.all()], len(every))
        return {k for k, region in enumerate(regions) if not region.real_failures}

    @cached_property
    def _real_only(self) -> bool:
        return _not_analytic(self._equation) or _not_analytic(self._solution)

    @cached_property
    def _points(self) -> SolutionPoints:
        seed = b"|".join(self._ids)
        return SolutionPoints(self._order, self._solution, seed, real_only=self._real_only)

    def _condition_holds(self, condition: Condition) -> bool:
        """Whether F has a value where the proof of F = 0 needs it."""
        if condition is Condition.NONE:
            return True
        if condition is Condition.ONE_POINT:
            return self._has_value or any(self._check.defined_at(place) for place in self._points.few)
        return all(self._check.defined_at(place) for place in self._points.few)

    def _if_general(self, result: _Result) -> _Result:
        """The result, unless the constants have no effect."""
        if self._depends:
            return result
        depends = {self._check.depends_on_constants(place) for place in self._points.few}
        if True in depends:
            return result
        if False in depends:
            return _Result(PARTICULAR, result.evidence, result.satisfied_fraction, result.points)
        return _Result(UNDECIDED, NONE, result.satisfied_fraction, result.points)


def _not_analytic(tree: Tree) -> bool:
    return uses(tree, ("abs", "sign"))


def _tokens_allowed(order: OdeOrder, predicted: Sequences) -> Mask:
    """Which predictions use only x, the constants, numbers and functions."""
    foreign = {"y", "z", "t", *UNKNOWNS, *COEFFICIENTS} - set(order.constants)
    owner = np.repeat(np.arange(len(predicted)), predicted.lengths)
    is_foreign = np.isin(predicted.values, [IDS[name] for name in foreign])
    return np.asarray(np.bincount(owner[is_foreign], minlength=len(predicted)) == 0)
