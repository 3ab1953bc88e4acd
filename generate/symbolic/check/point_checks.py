"""F' = f at points that nobody can know beforehand, by balls: on every real interval between critical points, and off the axis.

At one point the residual F' - f is *nonzero* (its ball excludes 0: a proof), *zero* (its ball contains 0 with a radius of at most
1e-40 of the terms' magnitudes), one side is *undefined*, or it is *unknown* within the limit of digits, which counts neither way.
"""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from itertools import pairwise
from random import Random
from typing import Literal

from flint import acb, arb

from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import TOKENS
from mathpipe.generate.symbolic.check.singular_points import CriticalPoints, critical_points, real_domain_ends
from mathpipe.generate.symbolic.numeric.ball_functions import Ball, CannotTell, Undefined
from mathpipe.generate.symbolic.numeric.balls import BallProgram, Jet, precision, run
from mathpipe.generate.symbolic.numeric.taylor import FIRST_DERIVATIVES

PRECISIONS = (64, 192, 512, 1536, 4608)  # bits, tried in turn
RADIUS_BITS = 133  # 1e-40
MIN_ZEROS = 5
MAX_INTERVALS = 24
ENOUGH = 5
MAX_STRADDLED = 5  # exact roots
MORE_POINTS = 12
SIDES = (1 / 16, 1 / 3, 1.3, 4.0)  # distances from them
REAL_BITS = 40  # an imaginary part this much smaller is zero


class State(IntEnum):
    """What balls say about one point."""

    ZERO = 0
    NONZERO = 1
    PROBLEM_UNDEFINED = 2
    ANSWER_UNDEFINED = 3
    UNKNOWN = 4
    ANSWER_UNKNOWN = 5


UNKNOWN_STATES = (State.UNKNOWN, State.ANSWER_UNKNOWN)


@dataclass(frozen=True)
class PointResult:
    """The state at x; whether the problem and the answer are real there; for real x the interval between critical points."""

    x: complex
    state: State
    problem_is_real: bool
    answer_is_real: bool
    interval: int = -1


def signed_terms(tree: Tree, sign: int = 1) -> list[tuple[int, Tree]]:
    """The terms of a sum with their signs."""
    if isinstance(tree, tuple) and TOKENS[tree[0]] in ("add", "sub"):
        return signed_terms(tree[1], sign) + signed_terms(tree[2], -sign if TOKENS[tree[0]] == "sub" else sign)
    return [(sign, tree)]


def is_real(value: Ball | None) -> bool:
    """Whether a value is real as far as its ball tells."""
    if value is None or value.imag.is_zero():
        return True
    if not value.imag.contains(0):
        return False
    if value.real.contains(0):  # a zero: both parts are rounding errors
        return bool(value.imag.rad() <= 64 * value.real.rad())
    return bool(value.imag.rad() < value.real.abs_lower() * arb(2) ** -REAL_BITS)


def point(x: complex) -> Ball:
    """An exact ball."""
    return acb(x.real, x.imag) if x.imag else acb(x.real)


class AntiderivativeCheck:
    """The check of one pair at points."""

    def __init__(self, f: Tree, primitive: Tree) -> None:
        problem, answer = signed_terms(f), signed_terms(primitive)
        self._program = BallProgram(tree for _, tree in (*problem, *answer))
        self._problem_signs, self._answer_signs = [s for s, _ in problem], [s for s, _ in answer]
        self._problem_nodes = self._program.roots[: len(problem)]
        self._answer_nodes = self._program.roots[len(problem) :]
        self._problem_end = self._program.ends[len(problem) - 1]
        self._with_slopes = self._program.reachable(self._answer_nodes)

    def at(self, x: complex, interval: int = -1, *, expect_zero: bool = False) -> PointResult:
        """The result at one point, with as many digits as it takes; a zero takes more than the first precision."""
        for bits in PRECISIONS[1:] if expect_zero else PRECISIONS:
            with precision(bits):
                state, problem_is_real, answer_is_real = self._at(point(x))
            if state not in UNKNOWN_STATES:
                break
        return PointResult(x, state, problem_is_real, answer_is_real, interval)

    def _at(self, x: Ball) -> tuple[State, bool, bool]:
        nodes: list[Jet] = []
        try:
            self._run(x, nodes, self._problem_end)
        except Undefined:
            return State.PROBLEM_UNDEFINED, False, False
        except CannotTell:
            return State.UNKNOWN, False, False
        f, scale = _signed_sum(self._problem_signs, [nodes[k][0] for k in self._problem_nodes])
        if f is not None and not f.is_finite():
            return State.UNKNOWN, False, False
        try:
            self._run(x, nodes)
        except Undefined:
            return State.ANSWER_UNDEFINED, is_real(f), False
        except CannotTell:
            return State.ANSWER_UNKNOWN, is_real(f), False
        derivative, more = _signed_sum(self._answer_signs, [nodes[k][1] for k in self._answer_nodes])
        primitive, _ = _signed_sum(self._answer_signs, [nodes[k][0] for k in self._answer_nodes])
        if derivative is not None and not derivative.is_finite():
            return State.ANSWER_UNKNOWN, is_real(f), False
        residual = derivative if f is None else -f if derivative is None else derivative - f
        return residual_state(residual, scale + more), is_real(f), is_real(primitive)

    def _run(self, x: Ball, nodes: list[Jet], stop: int | None = None) -> None:
        run(self._program, FIRST_DERIVATIVES, {"x": [x, _UNIT]}, nodes, stop, self._with_slopes)

    def has_values_at(self, x: complex) -> bool:
        """Whether f, F and F' certainly have values at x."""
        for bits in PRECISIONS[:2]:
            nodes: list[Jet] = []
            with precision(bits):
                try:
                    self._run(point(x), nodes)
                except Undefined:
                    return False
                except CannotTell:
                    continue
                f = [nodes[k][0] for k in self._problem_nodes]
                jets = [ball for k in self._answer_nodes for ball in nodes[k]]
                if all(ball is None or ball.is_finite() for ball in (*f, *jets)):
                    return True
        return False

    def defined_at(self, x: complex) -> bool | None:
        """Whether F' is defined at x wherever f is; None: not known."""
        for bits in PRECISIONS[:4]:
            nodes: list[Jet] = []
            with precision(bits):
                try:
                    self._run(point(x), nodes, self._problem_end)
                except Undefined:
                    return True
                except CannotTell:
                    continue
                try:
                    self._run(point(x), nodes)
                except Undefined:
                    return False
                except CannotTell:
                    continue
                values = [nodes[k][0] for k in self._problem_nodes] + [nodes[k][1] for k in self._answer_nodes]
                if all(v is None or v.is_finite() for v in values):
                    return True
        return None


_UNIT = acb(1)


def _signed_sum(signs: list[int], values: list[Ball | None]) -> tuple[Ball | None, arb]:
    """(the sum, the sum of the magnitudes) of terms with signs."""
    total: Ball | None = None
    size = arb(0)
    for sign, value in zip(signs, values, strict=True):
        if value is not None:
            signed_value = value if sign > 0 else -value
            total = signed_value if total is None else total + signed_value
            size += value.abs_lower()
    return total, size


def residual_state(residual: Ball | None, scale: arb) -> State:
    """ZERO, NONZERO or UNKNOWN, from the ball of a residual and the magnitude of its terms."""
    if residual is None or residual.is_zero():
        return State.ZERO
    if not residual.is_finite():
        return State.UNKNOWN
    if not residual.contains(0):
        return State.NONZERO
    return State.ZERO if residual.abs_upper() <= scale * arb(2) ** -RADIUS_BITS else State.UNKNOWN


class PairPoints:
    """The points of one pair, chosen by its texts (``seed``) and by where its expressions may change."""

    def __init__(self, f: Tree, primitive: Tree, seed: bytes, *, real_only: bool) -> None:
        self._f, self._primitive, self._real_only = f, primitive, real_only
        self._seed = int.from_bytes(hashlib.sha256(seed).digest()[:8], "big")

    @cached_property
    def critical(self) -> CriticalPoints:
        return critical_points([self._f, self._primitive])

    @property
    def intervals(self) -> int:
        """The number of intervals, and of functions and roots that were not looked at."""
        return len(self.critical.values) + 1 + self.critical.omitted

    @cached_property
    def one_each(self) -> list[float]:
        """One real point in each interval between critical points."""
        return interval_points(self.critical, Random(self._seed))

    @cached_property
    def complex(self) -> list[complex]:
        """Points off the axis, none where only real arguments count."""
        return [] if self._real_only else [complex(r * c, r * s) for r, c, s in _directions(Random(self._seed + 1))]

    @cached_property
    def real(self) -> list[tuple[float, int]]:
        """(x, interval between critical points)."""
        random = Random(self._seed + 2)
        xs = dict.fromkeys([*self.one_each, *seeded_points(random), *far_and_near_points(self.critical, random)])
        return [(x, bisect(self.critical.values, x)) for x in xs]

    @property
    def more(self) -> Iterator[tuple[float, int]]:
        """Many more points, for answers that are not real everywhere: in every interval, around roots, and within 50."""
        random = Random(self._seed + 3)
        roots = sorted(self.critical.exact, key=abs)[:MAX_STRADDLED]
        xs = interval_points(self.critical, random, limit=len(self.critical.values) + 1)
        xs += [root + sign * random.uniform(0, 7) for root in roots for sign in (1, -1) for _ in range(MORE_POINTS)]
        xs += [random.uniform(-50, 50) for _ in range(2 * MORE_POINTS)]
        return ((x, bisect(self.critical.values, x)) for x in xs)

    @cached_property
    def ends(self) -> tuple[float, ...]:
        """Where the problem's real domain ends or is interrupted."""
        return real_domain_ends(self._f)


def interval_points(critical: CriticalPoints, random: Random, limit: int = MAX_INTERVALS) -> list[float]:
    """One point in each interval, the nearest to zero first."""
    roots = critical.values
    inner = [a + (b - a) * random.uniform(0.35, 0.65) for a, b in pairwise(roots)]
    outer = [roots[0] - random.uniform(0.5, 2.5), roots[-1] + random.uniform(0.5, 2.5)]
    return sorted([*inner, *outer], key=abs)[:limit]


def far_and_near_points(critical: CriticalPoints, random: Random) -> list[float]:
    """Both sides of exact roots at several distances, up to the next exact root, and beyond the outermost critical points."""
    roots, exact = critical.values, critical.exact
    points = []
    for root in sorted(exact, key=abs)[:MAX_STRADDLED]:
        place = bisect(exact, root) - 1
        before = root - exact[place - 1] if place > 0 else 12.0
        after = exact[place + 1] - root if place + 1 < len(exact) else 12.0
        for distance in SIDES:
            points += [root - min(before / 3, distance), root + min(after / 3, distance)]
    points += [1.5 * roots[0] - random.uniform(4, 20), 1.5 * roots[-1] + random.uniform(4, 20)]
    return [x for x in dict.fromkeys(points) if abs(x) < 1e300]


def seeded_points(random: Random) -> list[float]:
    """Within 3, within 50, a few beyond, and near 0 on both sides."""
    return [
        *(random.uniform(-3, 3) for _ in range(2)),
        *(random.uniform(-50, 50) for _ in range(4)),
        random.choice((-1, 1)) * random.uniform(50, 400),
        random.uniform(1e-4, 2e-2),
        -random.uniform(1e-4, 2e-2),
    ]


def _directions(random: Random) -> Iterable[tuple[float, float, float]]:
    for c, s in ((1, 1), (-1, 1), (-1, -1), (1, -1)):
        yield random.uniform(0.2, 4), c * random.uniform(0.3, 1), s * random.uniform(0.3, 1)


Conclusion = Literal[
    "holds", "holds where real", "holds in part", "wrong", "perhaps undefined", "real in part, perhaps", "unknown"
]


@dataclass(frozen=True)
class PairResult:
    """``enclosed``: every interval was tried and every point decided; ``points``, ``intervals``: how many held."""

    conclusion: Conclusion
    enclosed: bool
    points: int
    intervals: int
    untried_intervals: int
    satisfied_fraction: float


def check_points(check: Callable[..., PointResult], points: PairPoints) -> PairResult:
    """What the points say together.

    Once both sides are real and differ, ``ENOUGH`` points are tried; if none holds, one in each interval and no more. An answer
    that fails where it is not real is right only if every interval could be tried.
    """
    point_results: list[PointResult] = []
    differs = holds = False
    real = [(complex(x), interval) for x, interval in points.real]
    first = max(len(points.one_each), ENOUGH)
    for x, interval in (*real, *((z, -1) for z in points.complex)):
        point_result = check(x, interval)
        point_results.append(point_result)
        holds = holds or point_result.state is State.ZERO
        differs = differs or (
            point_result.state is State.NONZERO and point_result.problem_is_real and point_result.answer_is_real
        )
        if len(point_results) >= (ENOUGH if differs else first) and (differs or not holds):
            break
    result = _conclude(point_results, points)
    if result.conclusion == "holds where real" and not result.enclosed:
        result = _conclude(point_results + [check(complex(x), interval) for x, interval in points.more], points)
        if result.conclusion == "holds where real" and result.untried_intervals:
            return replace(result, conclusion="real in part, perhaps")
    return result


def _conclude(point_results: list[PointResult], points: PairPoints) -> PairResult:
    zeros = [v for v in point_results if v.state is State.ZERO]
    failures = [v for v in point_results if v.state in (State.NONZERO, State.ANSWER_UNDEFINED)]
    decided = {v.interval for v in point_results if v.state not in UNKNOWN_STATES and v.interval >= 0}
    untried = points.intervals - len(decided)
    fraction = len(zeros) / max(len(zeros) + len(failures), 1)
    intervals = len({v.interval for v in zeros if v.interval >= 0})
    enclosed = untried == 0 and not any(v.state in UNKNOWN_STATES for v in point_results)
    return PairResult(
        _conclusion(point_results, zeros, failures, points), enclosed, len(zeros), intervals, untried, fraction
    )


def _conclusion(
    point_results: list[PointResult], zeros: list[PointResult], failures: list[PointResult], points: PairPoints
) -> Conclusion:
    if not failures:
        undefined = {v.interval for v in point_results if v.state is State.ANSWER_UNKNOWN} - {v.interval for v in zeros}
        if undefined:
            return "perhaps undefined"
        return "holds" if len(zeros) >= MIN_ZEROS else "unknown"
    if not zeros:
        return "wrong"
    if any(v.problem_is_real and v.answer_is_real and not v.x.imag for v in failures):
        return "holds in part"
    return "holds where real" if _holds_on_an_interval(point_results, points.ends) else "holds in part"


def _holds_on_an_interval(point_results: list[PointResult], ends: tuple[float, ...]) -> bool:
    """Whether, on a whole interval of the problem's real domain, the answer is real and right."""
    intervals: dict[int, list[PointResult]] = {}
    for v in point_results:
        if v.interval >= 0 and v.state not in (State.UNKNOWN, State.PROBLEM_UNDEFINED):
            intervals.setdefault(bisect(ends, v.x.real), []).append(v)
    return any(
        all(v.state is State.ZERO and v.problem_is_real and v.answer_is_real for v in group)
        for group in intervals.values()
    )
