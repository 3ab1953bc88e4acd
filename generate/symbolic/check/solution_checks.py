"""F(x, y, y'[, y'']) = 0 at points that nobody can know beforehand, by balls, and whether y depends on its constants.

Constants are real. For constants of each sign, chosen by the texts of the pair, x is tried on every interval between critical
points, far from zero and off the axis; and for some x the constants are tried on every interval between critical points of theirs.
The states of a point are those of ``point_checks``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, product, zip_longest
from random import Random

from flint import acb, arb

from mathpipe.datasets.expressions.prefix import Tree
from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.generate.symbolic.check.point_checks import (
    PRECISIONS,
    UNKNOWN_STATES,
    State,
    far_and_near_points,
    interval_points,
    is_real,
    point,
    residual_state,
)
from mathpipe.generate.symbolic.check.singular_points import CriticalPoints, X, critical_points_of_each
from mathpipe.generate.symbolic.check.solution_points import OdeOrder
from mathpipe.generate.symbolic.numeric.ball_functions import Ball, CannotTell, Undefined
from mathpipe.generate.symbolic.numeric.balls import BallProgram, Jet, precision, run, run_values
from mathpipe.generate.symbolic.numeric.taylor import Algebra

MAX_POINTS = 5  # intervals of x tried for each choice of the constants
DENOMINATOR = 64  # constants are fractions with it, so that critical points of fractions are exact


@dataclass(frozen=True)
class Place:
    """A point (x, c1[, c2]); ``region``: the index of the signs of the constants, as in ``solution_points``."""

    x: complex
    constants: tuple[float, ...]
    region: int


@dataclass(frozen=True)
class PlaceResult:
    """The state at a place; ``real``: whether x, y and its derivatives are real there."""

    place: Place
    state: State
    real: bool


class SolutionCheck:
    """The check of one solution of one equation at points."""

    def __init__(self, order: OdeOrder, equation: Tree, solution: Tree) -> None:
        self._order = order
        self._equation, self._solution = BallProgram([equation]), BallProgram([solution])
        self._terms = _nodes_of_terms(self._equation)

    def at(self, place: Place, *, expect_zero: bool = False) -> PlaceResult:
        """The result at one point, with as many digits as it takes; a zero takes more than the first precision."""
        for bits in PRECISIONS[1:] if expect_zero else PRECISIONS:
            with precision(bits):
                state, real = self._at(place)
            if state not in UNKNOWN_STATES:
                break
        return PlaceResult(place, state, real)

    def _at(self, place: Place) -> tuple[State, bool]:
        try:
            y = self._jet(place, self._order.x_algebra)
        except Undefined:
            return State.ANSWER_UNDEFINED, False
        except CannotTell:
            return State.ANSWER_UNKNOWN, False
        values = [acb(0) if c is None else c for c in y]
        if self._order.order == 2:
            values[2] = 2 * values[2]
        if not all(v.is_finite() for v in values):
            return State.ANSWER_UNKNOWN, False
        leaves = dict(zip(self._order.unknowns, values, strict=True))
        try:
            nodes = run_values(self._equation, {"x": point(place.x), **leaves})
        except Undefined:
            return State.PROBLEM_UNDEFINED, False
        except CannotTell:
            return State.UNKNOWN, False
        residual = nodes[self._equation.roots[0]]
        real = not place.x.imag and all(is_real(v) for v in values)
        return residual_state(residual, _magnitude(self._equation, self._terms, nodes)), real

    def _jet(self, place: Place, algebra: Algebra) -> Jet:
        """The jet of y in an algebra."""
        index = {monomial: k for k, monomial in enumerate(algebra.monomials)}
        leaves: dict[str, Jet] = {}
        monomials = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
        balls = (point(place.x), *(acb(c) for c in place.constants))
        for name, value, monomial in zip(("x", *self._order.constants), balls, monomials, strict=False):
            jet: Jet = [value, *[None] * (len(index) - 1)]
            if monomial in index:
                jet[index[monomial]] = acb(1)
            leaves[name] = jet
        nodes: list[Jet] = []
        run(self._solution, algebra, leaves, nodes)
        return nodes[self._solution.roots[0]]

    def depends_on_constants(self, place: Place) -> bool | None:
        """Whether dy/dc1 or det d(y, y')/d(c1, c2) is not zero at a point; None: not known.

        It is zero if a small ball says so. A large one that contains 0, as of acos u on an unknown side of the cut, says nothing.
        """
        state = State.UNKNOWN
        for bits in PRECISIONS[:4]:
            with precision(bits):
                try:
                    y = self._jet(place, self._order.solution_algebra)
                except Undefined:
                    return None
                except CannotTell:
                    continue
                determinant = self._determinant(y)
                if determinant is None:
                    return False
                sizes = _size(y) + _size(y[1:])
                state = residual_state(determinant, sizes if self._order.order == 1 else sizes**2)
                if state is State.NONZERO:
                    return True
        return False if state is State.ZERO else None

    def _determinant(self, y: Jet) -> Ball | None:
        if self._order.order == 1:
            return y[2]
        _, _, _, y1, slope1, y2, slope2 = y
        a = None if y1 is None or slope2 is None else y1 * slope2
        b = None if y2 is None or slope1 is None else y2 * slope1
        return a if b is None else -b if a is None else a - b

    def defined_at(self, place: Place) -> bool:
        """Whether F(x, y, y'[, y'']) has a value."""
        point_result = self.at(place)
        return point_result.state in (State.ZERO, State.NONZERO)


def _nodes_of_terms(program: BallProgram) -> list[int]:
    """The nodes from the root down to the terms of sums, and of sums within products; operands first."""
    reached, pending = set[int](), [program.roots[0]]
    while pending:
        node = pending.pop()
        if node not in reached:
            reached.add(node)
            step = program.steps[node]
            if step.name in ("add", "sub", "mul"):
                pending += (step.left, step.right)
            elif step.name == "div":
                pending.append(step.left)
    return sorted(reached)


def _magnitude(program: BallProgram, terms: list[int], nodes: list[Ball]) -> arb:
    """The magnitude of the terms of the last of these nodes."""
    sizes: dict[int, arb] = {}
    for node in terms:
        name, _, _, left, right = program.steps[node]
        if name in ("add", "sub"):
            sizes[node] = sizes[left] + sizes[right]
        elif name == "mul":
            sizes[node] = sizes[left] * sizes[right]
        elif name == "div":
            divisor = nodes[right].abs_lower()
            sizes[node] = sizes[left] / divisor if divisor > 0 else arb(0)
        else:
            sizes[node] = nodes[node].abs_lower()
    return sizes[terms[-1]]


def _size(jet: Jet) -> arb:
    return arb(0) if jet[0] is None else arb(jet[0].abs_lower())


def substitute_leaves(tree: Tree, values: dict[int, Tree]) -> Tree:
    """The tree with leaves (by token) replaced."""
    if isinstance(tree, int):
        return tree
    if len(tree) == 1:
        return values.get(tree[0], tree)
    return (tree[0], *(substitute_leaves(child, values) for child in tree[1:]))


def _turning(tree: Tree) -> Iterator[Tree]:
    """Expressions with poles where a function within the tree turns: asin(sin u) has another slope beyond zeros of cos u."""
    if isinstance(tree, int) or len(tree) == 1:
        return
    name, u = TOKENS[tree[0]], tree[1]
    if name in _SLOPES:
        yield (IDS["inv"], (IDS[_SLOPES[name]], u))
    if name in ("cosh", "sech"):
        yield (IDS["inv"], u)
    if name in ("tanh", "coth"):  # beyond, they differ from 1 by less than the balls may
        yield from ((IDS["inv"], (IDS[sign], u, 1)) for sign in ("add", "sub"))
    for child in tree[1:]:
        yield from _turning(child)


_SLOPES = {"sin": "cos", "csc": "cos", "cos": "sin", "sec": "sin"}


def _fraction(value: float) -> Tree:
    return (IDS["div"], round(value * DENOMINATOR), DENOMINATOR)


class SolutionPoints:
    """The points of one pair, in the order in which they are tried."""

    def __init__(self, order: OdeOrder, solution: Tree, seed: bytes, *, real_only: bool) -> None:
        self._order, self._solution, self._real_only = order, solution, real_only
        self._random = Random(int.from_bytes(hashlib.sha256(seed).digest()[:8], "big"))

    @cached_property
    def few(self) -> list[Place]:
        """A generic real point for the constants of each region."""
        random = Random(self._random.random())
        return [
            Place(complex(random.choice((-1, 1)) * random.uniform(0.3, 2)), constants, region)
            for region, constants in self._constants(random, 0.3, 3)
        ]

    def all(self) -> Iterator[Place]:
        """Every point, those of different regions in turn."""
        random = self._random
        choices = [(low, *choice) for low, high in ((0.2, 4), (4, 40)) for choice in self._constants(random, low, high)]
        critical = self._critical([self._with_constants(constants) for _, _, constants in choices])
        for size, group in groupby(zip(choices, critical, strict=True), key=lambda pair: pair[0][0]):
            groups = [
                list(self._over_x(random, constants, region, points, far=size < 1))
                for (_, region, constants), points in group
            ]
            for row in zip_longest(*groups):
                yield from (place for place in row if place is not None)
        yield from self._over_constants(random)

    def _constants(self, random: Random, low: float, high: float) -> Iterator[tuple[int, tuple[float, ...]]]:
        """(region, constants) for every choice of signs; ``ode1`` has two regions of each sign, inside and outside (-1, 1)."""
        if self._order.order == 1:
            sizes = ((max(low, 1.1), high), (low, 0.93), (low, 0.93), (max(low, 1.1), high))
            for region, (least, most) in enumerate(sizes):
                if least < most:
                    yield region, (_rounded((1 if region < 2 else -1) * random.uniform(least, most)),)
            return
        for region, (second, first) in enumerate(product((1, -1), repeat=2)):
            yield region, tuple(_rounded(sign * random.uniform(low, high)) for sign in (first, second))

    def _over_x(
        self, random: Random, constants: tuple[float, ...], region: int, critical: CriticalPoints, *, far: bool
    ) -> Iterator[Place]:
        xs = interval_points(critical, random)[:MAX_POINTS]
        if far:
            xs += far_and_near_points(critical, random)[-8:]
        xs += [random.uniform(-3, 3), random.uniform(-50, 50), random.choice((-1, 1)) * random.uniform(45, 90)]
        yield from (Place(complex(x), constants, region) for x in xs)
        if not self._real_only:
            for least, most in ((0.2, 2.5), (-2.5, -0.2), (2.5, 8), (-8, -2.5)):
                yield Place(complex(random.uniform(-3, 3), random.uniform(least, most)), constants, region)

    def _over_constants(self, random: Random) -> Iterator[Place]:
        """For fixed x and other constant, one constant on every interval between its critical points."""
        for k, name in enumerate(self._order.constants):
            x = _rounded(random.choice((-1, 1)) * random.uniform(0.5, 3))
            constants = [_rounded(random.choice((-1, 1)) * random.uniform(0.5, 4)) for _ in self._order.constants]
            values = {IDS["x"]: _fraction(x)}
            values |= {IDS[n]: _fraction(c) for n, c in zip(self._order.constants, constants, strict=True) if n != name}
            (critical,) = self._critical([substitute_leaves(self._solution, values)], (IDS[name],))
            for c in interval_points(critical, random)[:MAX_POINTS]:
                constants[k] = c
                yield Place(complex(x), tuple(constants), self._region(constants))

    def _with_constants(self, constants: tuple[float, ...]) -> Tree:
        values = {IDS[name]: _fraction(c) for name, c in zip(self._order.constants, constants, strict=True)}
        return substitute_leaves(self._solution, values)

    def _critical(self, solutions: list[Tree], variable: Tree = X) -> list[CriticalPoints]:
        """Where each of these may change, or its equation may, which takes inverse functions of it."""
        return critical_points_of_each([[tree, *_turning(tree)] for tree in solutions], variable)

    def _region(self, constants: list[float]) -> int:
        if self._order.order == 1:
            (c,) = constants
            return (0 if c > 1 else 1) if c > 0 else (2 if c > -1 else 3)
        return (constants[0] < 0) + 2 * (constants[1] < 0)


def _rounded(value: float) -> float:
    return round(value * DENOMINATOR) / DENOMINATOR


def uses(tree: Tree, names: tuple[str, ...]) -> bool:
    """Whether a tree holds one of these operators."""
    if isinstance(tree, int):
        return False
    return TOKENS[tree[0]] in names or any(uses(child, names) for child in tree[1:])


@dataclass(frozen=True)
class RegionResult:
    """The outcomes of one region of the constants, counted: that hold, that fail, and those of them where everything is real."""

    zeros: int
    failures: int
    real_zeros: int
    real_failures: int

    @property
    def holds(self) -> bool:
        return self.zeros > 0 and not self.failures

    @property
    def holds_where_real(self) -> bool:
        return self.real_zeros > 0 and not self.real_failures


def by_region(point_results: list[PlaceResult], regions: int) -> list[RegionResult]:
    """The results of each region."""
    groups = [[v for v in point_results if v.place.region == r] for r in range(regions)]
    return [
        RegionResult(
            sum(v.state is State.ZERO for v in group),
            sum(v.state is State.NONZERO for v in group),
            sum(v.state is State.ZERO and v.real for v in group),
            sum(v.state is State.NONZERO and v.real for v in group),
        )
        for group in groups
    ]
