"""One integrand and one predicted primitive: exact proofs, and balls between all critical points."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial

from mathpipe.datasets.expressions.prefix import Tree, parse
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.outcomes import ENCLOSED, NONE, PROVEN, SAMPLED, SYMBOLIC_OUTCOMES
from mathpipe.generate.symbolic.check.exact.exact_identity import prove_antiderivative
from mathpipe.generate.symbolic.check.exact.expanded_identity import expand_identity
from mathpipe.generate.symbolic.check.exact.reciprocals import Condition
from mathpipe.generate.symbolic.check.point_checks import AntiderivativeCheck, PairPoints, State, check_points
from mathpipe.generate.symbolic.check.singular_points import CriticalPoints
from mathpipe.generate.symbolic.check.sympy_fallback import shared_sympy_process

_NOT_ANALYTIC = (IDS["abs"], IDS["sign"])
(EXACT, EQUIVALENT, PARTIAL, WRONG_VALUE, MALFORMED, UNDECIDED, REAL_DOMAIN) = (
    SYMBOLIC_OUTCOMES.index(name)
    for name in ("exact", "equivalent", "partial", "wrong_value", "malformed", "undecided", "real_domain")
)


@dataclass(frozen=True)
class PairVerification:
    """The outcome of one prediction, its evidence, and the fraction of points at which it holds."""

    outcome: int
    evidence: int
    satisfied_fraction: float
    counts: dict[str, float] = field(default_factory=dict)


class IntegralPair:
    """One integrand and one predicted primitive, well-formed prefix sequences."""

    def __init__(self, f: bytes, primitive: bytes) -> None:
        self._ids = f, primitive
        self._real_only = any(token in f or token in primitive for token in _NOT_ANALYTIC)

    @cached_property
    def _f(self) -> Tree:
        return parse(self._ids[0])

    @cached_property
    def _primitive(self) -> Tree:
        return parse(self._ids[1])

    def fails_at(self, x: complex) -> bool:
        """Whether it is proven that F' and f differ at x, where both f and F are real."""
        point_result = self._check.at(x)
        return point_result.state is State.NONZERO and point_result.problem_is_real and point_result.answer_is_real

    def differs_at(self, x: complex) -> bool:
        """Whether it is proven that F' and f differ at x."""
        return self._check.at(x).state is State.NONZERO

    def has_value(self) -> bool:
        """Whether f, F and F' certainly have a value at one of a few points."""
        return any(self._check.has_values_at(x) for x in _GENERIC_POINTS)

    def verify(self, *, disagrees: bool, ask_sympy: bool = True) -> PairVerification:
        """For pairs that are not proven, or on which proofs were not tried because double precision ``disagrees``."""
        point_result = check_points(partial(self._check.at, expect_zero=not disagrees), self._points)
        counts = {
            "points": float(point_result.points),
            "intervals": float(point_result.intervals),
            "untried_intervals": float(point_result.untried_intervals),
        }
        if point_result.conclusion == "unknown" and ask_sympy:
            answer = SYMBOLIC_OUTCOMES.index(shared_sympy_process().is_antiderivative(*self._ids))
            evidence = SAMPLED if answer in (EQUIVALENT, WRONG_VALUE) else NONE
            return PairVerification(answer, evidence, point_result.satisfied_fraction, counts)
        outcome = _OUTCOME_OF[point_result.conclusion]
        if outcome == UNDECIDED:
            return PairVerification(outcome, NONE, point_result.satisfied_fraction, counts)
        if outcome in (PARTIAL, WRONG_VALUE):
            return PairVerification(outcome, PROVEN, point_result.satisfied_fraction, counts)
        if disagrees and outcome == EQUIVALENT and (self._expands() or self.is_proven_by_kernels()):  # rounding errors
            return PairVerification(EQUIVALENT, PROVEN, 1.0, counts)
        evidence = ENCLOSED if point_result.enclosed else SAMPLED
        return PairVerification(outcome, evidence, point_result.satisfied_fraction, counts)

    def holds(self) -> bool:
        """Whether the pair would be right as a prediction, without SymPy."""
        return self.is_proven_by_kernels() or self.verify(disagrees=False, ask_sympy=False).outcome in (
            EQUIVALENT,
            REAL_DOMAIN,
        )

    def _expands(self) -> bool:
        condition = expand_identity(*self._ids)
        return condition is not None and self._condition_holds(condition)

    def is_proven_by_kernels(self) -> bool:
        """Whether F' = f is proven by polynomials over kernels, for pairs that expansion does not prove."""
        condition = prove_antiderivative(self._f, self._primitive)
        return condition is not None and self._condition_holds(condition)

    @cached_property
    def _check(self) -> AntiderivativeCheck:
        return AntiderivativeCheck(self._f, self._primitive)

    @property
    def trees(self) -> list[Tree]:
        """[f, F]."""
        return [self._f, self._primitive]

    def set_critical_points(self, critical: CriticalPoints) -> None:
        """Use these critical points of f and F, which are otherwise computed when they are needed."""
        self._points.critical = critical

    @cached_property
    def _points(self) -> PairPoints:
        return PairPoints(self._f, self._primitive, b"|".join(self._ids), real_only=self._real_only)

    def _condition_holds(self, condition: Condition) -> bool:
        """Whether F' is defined where the proof of F' = f needs it: at one point, or on every interval between critical points."""
        if condition is Condition.NONE:
            return True
        if condition is Condition.ONE_POINT:
            return any(self._check.defined_at(x) for x in _GENERIC_POINTS)
        points = [*self._points.one_each, *self._points.complex]
        return all(self._check.defined_at(complex(x)) for x in points)


_OUTCOME_OF = {
    "holds": EQUIVALENT,
    "holds where real": REAL_DOMAIN,
    "holds in part": PARTIAL,
    "wrong": WRONG_VALUE,
    "perhaps undefined": UNDECIDED,
    "real in part, perhaps": UNDECIDED,
    "unknown": UNDECIDED,
}
_GENERIC_POINTS = (0.7391 + 0j, 2.3417 + 0j, -0.6173 + 0j, -3.1729 + 0j)
