"""Is F an antiderivative of f? Quick looks that may reject, exact identities, and balls between all critical points.

Generation asks ``is_antiderivative``: double precision at 16 points, with pairs that are right by construction.
A prediction is wrong if a ball of F' - f excludes 0. It is right if F' - f = 0 is proven (``exact_identity``), or if it is enclosed
at points on every interval between critical points and at points that the texts of the pair choose (``point_checks``). Double
precision only sorts out predictions to reject. Where f has too few values, SymPy decides, in bounded time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Tree, parse
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.generate.outcomes import (
    ENCLOSED,
    EVIDENCE_COUNTS,
    NONE,
    PROVEN,
    SAMPLED,
    SYMBOLIC_OUTCOMES,
    Verification,
)
from mathpipe.generate.symbolic.check.exact.exact_identity import prove_antiderivative
from mathpipe.generate.symbolic.check.exact.expanded_identity import expand_identity
from mathpipe.generate.symbolic.check.exact.reciprocals import Condition
from mathpipe.generate.symbolic.check.jumps import count_jumps
from mathpipe.generate.symbolic.check.point_checks import AntiderivativeCheck, PairPoints, State, check_points
from mathpipe.generate.symbolic.check.real_evaluation import have_values, primitive_fails
from mathpipe.generate.symbolic.check.sympy_fallback import shared_sympy_process
from mathpipe.generate.symbolic.numeric.array_programs import Program, compile_expressions
from mathpipe.generate.symbolic.numeric.points import IS_REAL, POINTS, WIDE, has_enough_points
from mathpipe.generate.symbolic.numeric.taylor import FIRST_DERIVATIVES, VALUES, Complex, evaluate

Mask = NDArray[np.bool_]

TOLERANCE = 1e-9
RECHECK_BELOW = 1e-3  # a difference below this may be a rounding error
TINY, HUGE = 1e-200, 1e200
PREFIX = bytes([IDS["sub"], IDS["Y'"]])
"""Problems have the form ``sub Y' f``."""
_CHUNK = 512  # rows evaluated together
_ALLOWED = np.zeros(256, dtype=bool)  # tokens a prediction may use: x is the only variable
_ALLOWED[
    [k for name, k in IDS.items() if name not in {"y", "z", "t", "Y", "Y'", "Y''", *(f"a{k}" for k in range(10))}]
] = True
_DISGUISE = bytes([IDS["exp"], IDS["ln"]])  # e^(ln x) - x is a zero that rounding errors hide
_NOT_ANALYTIC = (IDS["abs"], IDS["sign"])
(EXACT, EQUIVALENT, PARTIAL, WRONG_VALUE, MALFORMED, UNDECIDED, REAL_DOMAIN) = (
    SYMBOLIC_OUTCOMES.index(name)
    for name in ("exact", "equivalent", "partial", "wrong_value", "malformed", "undecided", "real_domain")
)


def integrands(problems: Sequences) -> Sequences:
    """f of each ``sub Y' f``; empty, hence malformed, if a problem has another form."""
    starts = problems.offsets[:-1]
    long = problems.lengths > len(PREFIX)
    first = np.minimum(starts, max(len(problems.values) - 2, 0))
    has_prefix = (
        long & (problems.values[first] == PREFIX[0]) & (problems.values[first + 1] == PREFIX[1])
        if len(problems)
        else long
    )
    lengths = np.where(has_prefix, problems.lengths - len(PREFIX), 0)
    within = np.arange(len(problems.values)) - np.repeat(starts, problems.lengths)
    in_integrand = np.repeat(has_prefix, problems.lengths) & (within >= len(PREFIX))
    return Sequences(problems.values[in_integrand], lengths)


@dataclass(frozen=True)
class Comparison:
    """f (n, K), F' (n, K) and F (n, K) at the fixed points, NaN where malformed."""

    integrand: Complex
    derivative: Complex
    primitive: Complex
    well_formed: Mask

    def both_finite(self) -> Mask:
        return _usable(self.integrand) & _usable(self.derivative)

    def relative_error(self) -> NDArray[np.float64]:
        """|F' - f| relative to the larger; infinite where only F' is undefined."""
        with np.errstate(all="ignore"):
            absolute = np.abs(self.derivative - self.integrand)
            size = np.maximum(np.abs(self.integrand), np.abs(self.derivative))
            relative = np.where(absolute == 0, 0.0, absolute / size)
        return np.where(np.isfinite(relative), relative, np.inf)


def compare(f: Sequences, primitives: Sequences) -> Comparison:
    """Evaluate both sides at every point, a few hundred rows at a time."""
    parts = [_compare(*programs) for programs in _programs(f, primitives)]
    if not parts:
        empty = np.empty((0, len(POINTS)), dtype=np.complex128)
        return Comparison(empty, empty, empty, np.empty(0, dtype=bool))
    return Comparison(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("integrand", "derivative", "primitive", "well_formed")
        )
    )


def _programs(f: Sequences, primitives: Sequences) -> Iterator[tuple[Program, Program]]:
    for first in range(0, len(f), _CHUNK):
        rows = np.arange(first, min(first + _CHUNK, len(f)))
        yield compile_expressions(f.take(rows)), compile_expressions(primitives.take(rows))


def _compare(left: Program, right: Program, points: Complex = POINTS) -> Comparison:
    x = np.stack([points, np.ones(len(points))])
    integrand = evaluate(left, VALUES, {"x": x[:1]}, len(points))[0]
    primitive, derivative = evaluate(right, FIRST_DERIVATIVES, {"x": x}, len(points))
    return Comparison(integrand, derivative, primitive, right.well_formed & left.well_formed)


def is_antiderivative(f: Sequences, primitives: Sequences) -> tuple[Mask, dict[str, Mask]]:
    """(which pairs are certainly right (n,), for each reason which pairs it rejects)."""
    comparison = compare(f, primitives)
    usable = comparison.both_finite()
    decided = has_enough_points(usable)
    agree = ((comparison.relative_error() <= TOLERANCE) | ~_usable(comparison.integrand)).all(axis=1)
    constant = ~_varies(comparison.primitive, usable)
    right = decided & agree & ~constant
    in_disguise = np.array([_DISGUISE in primitives[i] for i in range(len(primitives))], dtype=np.bool_)
    disguised = np.flatnonzero(right & in_disguise)
    agree &= ~_at(disguised[~holds(f.take(disguised), primitives.take(disguised))], len(f))
    right &= agree
    return right, {
        "too few test points": ~decided,
        "does not hold everywhere": decided & ~agree,
        "constant": decided & agree & constant,
    }


def _at(rows: NDArray[np.int64], n: int) -> Mask:
    mask = np.zeros(n, dtype=np.bool_)
    mask[rows] = True
    return mask


def _varies(value: Complex, usable: Mask) -> Mask:
    """Which rows take different values at their usable points, beyond rounding errors."""
    first = np.take_along_axis(value, usable.argmax(axis=1)[:, None], axis=1)
    with np.errstate(all="ignore"):
        spread = np.where(usable, np.abs(value - first), 0.0).max(axis=1, initial=0.0)
        size = np.where(usable, np.abs(value), 0.0).max(axis=1, initial=0.0)
    return np.asarray(spread > 1e-9 * size)


def verify_antiderivatives(problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
    """The outcome of each predicted primitive, its evidence, and the fraction of points at which it holds."""
    f = integrands(problems)
    comparison = compare(f, predicted)
    n = len(f)
    well_formed = comparison.well_formed & _tokens_allowed(predicted)
    with np.errstate(all="ignore"):
        finite = np.isfinite(comparison.integrand) & np.isfinite(comparison.derivative)
        error = np.where(finite, comparison.relative_error(), np.nan)
    witness = _witness_of_failure(comparison, error)
    satisfied_fraction = np.where(well_formed, 0.0, np.nan)
    outcome = np.where(well_formed, WRONG_VALUE, MALFORMED).astype(np.int8)
    evidence = np.where(well_formed, PROVEN, NONE).astype(np.int8)
    counts = {name: np.full(n, np.nan) for name in EVIDENCE_COUNTS}
    fails = _certainly_fail(f, predicted, witness, np.flatnonzero(well_formed & (witness >= 0)))
    differs_everywhere = _differ_at_all_points(
        f, predicted, np.flatnonzero(well_formed & ~fails & (witness < 0) & _differ(error))
    )
    open_rows = np.flatnonzero(well_formed & ~fails)
    agrees = np.asarray(~(error > RECHECK_BELOW).any(axis=1))
    expands = _expand(f, predicted, open_rows[agrees[open_rows]])
    for i in open_rows.tolist():
        pair = _Pair(f[i], predicted[i])
        if expands[i]:
            outcome[i], satisfied_fraction[i], counts["jumps"][i] = EQUIVALENT, 1.0, pair.jumps
            continue
        if witness[i] >= 0 and pair.fails_at(complex(POINTS[witness[i]])):
            continue
        if differs_everywhere[i] and pair.differs_at(complex(POINTS[np.isfinite(error[i])][-1])):  # off the axis
            continue
        result = pair.verify(disagrees=not agrees[i])
        outcome[i], evidence[i], satisfied_fraction[i] = result.outcome, result.evidence, result.satisfied_fraction
        for name, value in result.counts.items():
            counts[name][i] = value
    outcome[references.equals(predicted) & (outcome == EQUIVALENT)] = EXACT
    return Verification(outcome, {"satisfied_fraction": satisfied_fraction}, evidence, counts)


def _certainly_fail(f: Sequences, predicted: Sequences, witness: NDArray[np.int64], rows: NDArray[np.int64]) -> Mask:
    """Which of these rows are proven to fail at their witness, where f and F are real; False for the others."""
    points, parts = POINTS.real[witness[rows], None], []
    for left, right in _programs(f.take(rows), predicted.take(rows)):
        parts.append(primitive_fails(left, right, points[: len(left.root)]))
        points = points[len(left.root) :]
    return _at(rows[np.concatenate([np.zeros(0, dtype=bool), *parts])], len(f))


def _have_values(f: Sequences, predicted: Sequences, rows: NDArray[np.int64]) -> Mask:
    """For which of these rows f, F and F' certainly have a value at one point; False for the others."""
    parts = [have_values(*programs) for programs in _programs(f.take(rows), predicted.take(rows))]
    return _at(rows[np.concatenate([np.zeros(0, dtype=bool), *parts])], len(f))


def _differ(error: NDArray[np.float64]) -> Mask:
    """Which rows agree at no point, and have enough points."""
    with np.errstate(invalid="ignore"):
        return np.asarray(has_enough_points(np.isfinite(error)) & ~(error <= RECHECK_BELOW).any(axis=1))


def _differ_at_all_points(f: Sequences, predicted: Sequences, rows: NDArray[np.int64]) -> Mask:
    """Which of these rows agree at no point of a wide range, as far as double precision tells; False for the others."""
    parts: list[Mask] = [np.zeros(0, dtype=np.bool_)]
    for left, right in _programs(f.take(rows), predicted.take(rows)):
        comparison = _compare(left, right, WIDE)
        with np.errstate(all="ignore"):
            finite = np.isfinite(comparison.integrand) & np.isfinite(comparison.derivative)
            agrees = finite & (comparison.relative_error() <= RECHECK_BELOW)
        parts.append(np.asarray(~agrees.any(axis=1)))
    return _at(rows[np.concatenate(parts)], len(f))


def holds(f: Sequences, primitives: Sequences) -> Mask:
    """Which well-formed pairs (n,) would be right as predictions, without SymPy."""
    right = expand_to_zero(f, primitives)
    for i in np.flatnonzero(~right).tolist():
        result = _Pair(f[i], primitives[i]).verify(disagrees=False, ask_sympy=False)
        right[i] = result.outcome in (EQUIVALENT, REAL_DOMAIN)
    return right


def expand_to_zero(f: Sequences, primitives: Sequences) -> Mask:
    """Which well-formed pairs (n,) are proven by expansion alone (``expanded_identity``), f having a value somewhere."""
    rows = np.flatnonzero(_have_values(f, primitives, np.arange(len(f))))
    return _expand(f, primitives, rows)


def _expand(f: Sequences, primitives: Sequences, rows: NDArray[np.int64]) -> Mask:
    """Which of these rows, all well-formed, are proven by expansion alone, where f has a value; False for the others."""
    conditions = [expand_identity(f[i], primitives[i]) for i in rows.tolist()]
    proven = _at(rows[[condition is Condition.NONE for condition in conditions]], len(f))
    one_point = rows[[condition is Condition.ONE_POINT for condition in conditions]]
    return proven | _have_values(f, primitives, one_point)


def prove_antiderivatives(problems: Sequences, primitives: Sequences) -> Mask:
    """Which pairs (n,) are proven to be right; never a malformed one."""
    f = integrands(problems)
    proven = _tokens_allowed(primitives)
    proven &= compile_expressions(f).well_formed & compile_expressions(primitives).well_formed
    expands = _expand(f, primitives, np.flatnonzero(proven))
    for i in np.flatnonzero(proven & ~expands).tolist():
        proven[i] = _Pair(f[i], primitives[i]).is_proven_by_kernels()
    return proven


def _tokens_allowed(predicted: Sequences) -> Mask:
    owner = np.repeat(np.arange(len(predicted)), predicted.lengths)
    return np.asarray(np.bincount(owner[~_ALLOWED[predicted.values]], minlength=len(predicted)) == 0)


def _witness_of_failure(comparison: Comparison, error: NDArray[np.float64]) -> NDArray[np.int64]:
    """For rows that agree at no point, a real point where real f and F' differ; -1 for the others."""
    with np.errstate(all="ignore"):
        real = IS_REAL & _is_real(comparison.integrand) & _is_real(comparison.primitive)
        fails = real & (error > RECHECK_BELOW)
    agrees = (error <= RECHECK_BELOW).any(axis=1)
    return np.where(agrees | ~fails.any(axis=1), -1, fails.argmax(axis=1))


def _is_real(values: Complex) -> Mask:
    with np.errstate(all="ignore"):
        return np.asarray(np.isfinite(values) & (np.abs(values.imag) <= 1e-12 * np.abs(values.real)))


@dataclass(frozen=True)
class _Result:
    outcome: int
    evidence: int
    satisfied_fraction: float
    counts: dict[str, float] = field(default_factory=dict)


class _Pair:
    """One integrand and one predicted primitive."""

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

    def verify(self, *, disagrees: bool, ask_sympy: bool = True) -> _Result:
        """For pairs that expansion does not prove, or that it was not tried on because double precision ``disagrees``."""
        if not disagrees and self.is_proven_by_kernels():
            return _Result(EQUIVALENT, PROVEN, 1.0, {"jumps": self.jumps})
        point_result = check_points(partial(self._check.at, expect_zero=not disagrees), self._points)
        counts = {
            "points": float(point_result.points),
            "intervals": float(point_result.intervals),
            "untried_intervals": float(point_result.untried_intervals),
        }
        if point_result.conclusion == "unknown" and ask_sympy:
            answer = SYMBOLIC_OUTCOMES.index(shared_sympy_process().is_antiderivative(*self._ids))
            evidence = SAMPLED if answer in (EQUIVALENT, WRONG_VALUE) else NONE
            return _Result(answer, evidence, point_result.satisfied_fraction, counts)
        outcome = _OUTCOME_OF[point_result.conclusion]
        if outcome == UNDECIDED:
            return _Result(outcome, NONE, point_result.satisfied_fraction, counts)
        if outcome in (PARTIAL, WRONG_VALUE):
            return _Result(outcome, PROVEN, point_result.satisfied_fraction, counts)
        if disagrees and outcome == EQUIVALENT and (self._expands() or self.is_proven_by_kernels()):  # rounding errors
            return _Result(EQUIVALENT, PROVEN, 1.0, counts | {"jumps": self.jumps})
        evidence = ENCLOSED if point_result.enclosed else SAMPLED
        return _Result(outcome, evidence, point_result.satisfied_fraction, counts | {"jumps": self.jumps})

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

    @property
    def jumps(self) -> float:
        """The number of jumps of F where f is bounded."""
        return float(count_jumps(*self._ids))


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


def _usable(values: Complex) -> Mask:
    with np.errstate(all="ignore"):
        size = np.abs(values)
        return np.asarray(np.isfinite(values) & (size > TINY) & (size < HUGE))
